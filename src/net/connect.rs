//! Dials an instance: TCP, then TLS unless told otherwise.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::client;

use super::instance_tls::InstanceTls;
use crate::model::Endpoint;

/// A connection to an instance.
pub enum Leg {
    /// In clear (MeshCentral's `mpsTlsOffload`).
    Plain(TcpStream),
    /// In TLS.
    Tls(Box<client::TlsStream<TcpStream>>),
}

/// Why an instance could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host's name has no address.
    #[error("resolve {0}")]
    Resolve(String, #[source] io::Error),
    /// TCP was refused or failed.
    #[error("connect")]
    Tcp(#[source] io::Error),
    /// Not within the time allowed.
    #[error("timed out")]
    Timeout,
    /// The TLS handshake failed: most often a certificate that is not trusted.
    #[error("tls")]
    Tls(#[source] io::Error),
}

/// Connects to `endpoint` within `limit` in all. TCP_NODELAY, keep-alive and TCP_USER_TIMEOUT set.
pub async fn connect(
    _endpoint: &Endpoint,
    _tls: Option<&InstanceTls>,
    _limit: Duration,
) -> Result<Leg, ConnectError> {
    todo!()
}
