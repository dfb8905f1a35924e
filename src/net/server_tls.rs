//! TLS towards devices and clients: rustls with an identity that can be replaced while running.

use std::io;
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;

use super::identity::{Identity, IdentityError};
use crate::wire::client_hello::LeafKey;

/// A TLS server. Cheap to share; replacing its identity leaves live connections alone.
pub struct ServerTls {}

impl ServerTls {
    /// A server that shows `identity`: TLS 1.2 and 1.3, aws-lc-rs, resumption by ticket and by
    /// session id (a cache of fleet size is not needed: tickets carry the state).
    pub fn new(_identity: Identity) -> Result<Self, IdentityError> {
        todo!()
    }

    /// Shows `identity` from the next handshake on.
    pub fn replace(&self, _identity: Identity) -> Result<(), IdentityError> {
        todo!()
    }

    /// The kind of key shown now: the hello judge needs it.
    pub fn leaf_key(&self) -> LeafKey {
        todo!()
    }

    /// When the leaf shown now ends to be valid.
    pub fn not_after(&self) -> SystemTime {
        todo!()
    }

    /// Shakes hands over `io`. Not bounded in time: callers put a timeout around it.
    pub async fn handshake<S>(&self, _io: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        todo!()
    }
}
