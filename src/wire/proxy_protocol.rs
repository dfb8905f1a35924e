//! PROXY protocol v1 and v2: who is behind the load balancer.

use std::net::SocketAddr;

/// A PROXY header: the address of who connected to the load balancer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyHeader {
    /// v2 LOCAL (or v1 UNKNOWN): the balancer itself speaks, such as a health check.
    Local,
    /// Somebody behind the balancer.
    Proxied {
        /// Who connected.
        source: SocketAddr,
        /// What they connected to.
        destination: SocketAddr,
    },
}

/// The bytes are no PROXY header, or one we do not take (not TCP, too long).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a PROXY protocol header")]
pub struct NotProxy;

/// Reads a header at the head of `buf`: the header and its length in bytes.
/// `Ok(None)` means "so far so good, need more bytes". No header is longer than [`MAX_LEN`].
pub fn parse(_buf: &[u8]) -> Result<Option<(ProxyHeader, usize)>, NotProxy> {
    todo!()
}

/// Longest header taken, in bytes: v2 with room for TLVs.
pub const MAX_LEN: usize = 2048;
