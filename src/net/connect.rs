//! Dials an instance: TCP, then TLS unless told otherwise.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use super::instance_tls::{InstanceTls, Verify};
use super::socket;
use super::tls_stream::ClientStream;
use crate::model::Endpoint;

/// A connection to an instance.
pub enum Leg {
    /// In clear (MeshCentral's `mpsTlsOffload`).
    Plain(TcpStream),
    /// In TLS.
    Tls(Box<ClientStream<TcpStream>>),
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

impl ConnectError {
    /// Whether we lack a file, a port or memory, so that it says nothing about the instance.
    pub fn is_ours(&self) -> bool {
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        const ENOBUFS: i32 = 105;
        match self {
            Self::Resolve(_, error) | Self::Tcp(error) | Self::Tls(error) => {
                matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::AddrNotAvailable)
                    || matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
            }
            Self::Timeout => false,
        }
    }

    /// Metric label and log field: a closed set.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Resolve(..) => "resolve",
            Self::Tcp(_) => "tcp",
            Self::Timeout => "timeout",
            Self::Tls(_) => "tls",
        }
    }
}

/// Connects to `endpoint` within `limit` in all. TCP_NODELAY, keep-alive and TCP_USER_TIMEOUT set.
///
/// Of a name with several addresses each is tried in turn, with a fair share of the time left.
pub async fn connect(
    endpoint: &Endpoint,
    tls: Option<&InstanceTls>,
    limit: Duration,
) -> Result<Leg, ConnectError> {
    let until = Instant::now() + limit;
    let tcp = dial(endpoint, until).await?;
    let Some(tls) = tls else { return Ok(Leg::Plain(tcp)) };
    let name = server_name(endpoint.host()).map_err(ConnectError::Tls)?;
    let session = tls.session(name).map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
    // Boxed: the caller's task would carry the handshake's room for life.
    let handshake = Box::pin(async { ClientStream::handshake(tcp, session).await.map(Box::new) });
    match timeout_at(until, handshake).await {
        Ok(Ok(stream)) => Ok(Leg::Tls(stream)),
        Ok(Err(error)) => Err(ConnectError::Tls(error)),
        Err(_) => Err(ConnectError::Timeout),
    }
}

/// The leaf an instance shows, unverified: what `mps-gateway pin` prints the pins of.
pub async fn peer_certificate(
    endpoint: &Endpoint,
    limit: Duration,
) -> Result<CertificateDer<'static>, ConnectError> {
    let trusting =
        InstanceTls::new(&Verify::None).map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
    let leg = connect(endpoint, Some(&trusting), limit).await?;
    let leaf = match &leg {
        Leg::Plain(_) => None,
        Leg::Tls(stream) => stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()),
    };
    leaf.cloned().ok_or_else(|| ConnectError::Tls(io::Error::other("no certificate was shown")))
}

async fn dial(endpoint: &Endpoint, until: Instant) -> Result<TcpStream, ConnectError> {
    let addresses = resolve(endpoint, until).await?;
    let mut last = ConnectError::Timeout;
    for (tried, &address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let waiting = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(left / waiting, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                socket::tune(&tcp).map_err(ConnectError::Tcp)?;
                return Ok(tcp);
            }
            Ok(Err(error)) => last = ConnectError::Tcp(error),
            Err(_) => last = ConnectError::Timeout,
        }
    }
    Err(last)
}

async fn resolve(endpoint: &Endpoint, until: Instant) -> Result<Vec<SocketAddr>, ConnectError> {
    let (host, port) = (endpoint.host(), endpoint.port());
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let failed = |error| ConnectError::Resolve(host.to_owned(), error);
    let found: Vec<_> = match timeout_at(until, lookup_host((host, port))).await {
        Ok(found) => found.map_err(failed)?.collect(),
        Err(_) => return Err(ConnectError::Timeout),
    };
    if found.is_empty() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    Ok(found)
}

fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

impl AsyncRead for Leg {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Leg {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
