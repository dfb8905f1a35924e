//! A device driven by hand: for whoever wants to say what no device says.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::tls::DeviceTls;
use crate::model::{DeviceId, Secret};
use crate::net::records::{next_record, write_record};
use crate::wire::apf::{
    AUTH_SERVICE, Extent, GlobalRequest, Message, PFWD_SERVICE, Preamble, UserauthRequest, extent,
};

/// How the other side closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Closed {
    /// close_notify, then FIN.
    Notified,
    /// FIN without close_notify.
    Silently,
    /// RST.
    Reset,
}

/// A TLS connection that says exactly what it is told to. Every wait is bounded by its limit.
pub struct RawDevice {
    stream: TlsStream<TcpStream>,
    heard: BytesMut,
    limit: Duration,
}

impl RawDevice {
    /// Connects to `addr` and shakes hands, trusting anything.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        Self::connect_tls(addr, &DeviceTls::trusting_anything()).await
    }

    /// Connects to `addr` and shakes hands.
    pub async fn connect_tls(addr: SocketAddr, tls: &DeviceTls) -> io::Result<Self> {
        let tcp = TcpStream::connect(addr).await?;
        tcp.set_nodelay(true)?;
        Self::over(tcp, tls).await
    }

    /// Shakes hands over a connection on which something may have been said already.
    pub async fn over(tcp: TcpStream, tls: &DeviceTls) -> io::Result<Self> {
        let limit = Duration::from_secs(10);
        let stream = within(limit, tls.handshake(tcp)).await?;
        Ok(Self { stream, heard: BytesMut::new(), limit })
    }

    /// Every wait ends after `limit` from now on (10 s at first), with [`io::ErrorKind::TimedOut`].
    pub const fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The connection beneath.
    pub fn tcp(&self) -> &TcpStream {
        self.stream.get_ref().0
    }

    /// Gives the TLS stream away. What was heard and not taken is lost.
    pub fn into_stream(self) -> TlsStream<TcpStream> {
        self.stream
    }

    /// Sends `bytes` as one TLS record (up to 16 KiB).
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(self.limit, write_record(&mut self.stream, bytes)).await
    }

    /// Sends each byte as a TLS record of its own.
    pub async fn send_bytewise(&mut self, bytes: &[u8]) -> io::Result<()> {
        for byte in bytes.chunks(1) {
            self.send(byte).await?;
        }
        Ok(())
    }

    /// Sends one message as one TLS record.
    pub async fn say(&mut self, message: &Message<'_>) -> io::Result<()> {
        self.send(&message.to_bytes()).await
    }

    /// The next TLS record, whole. What was heard before and not taken is left out.
    pub async fn record(&mut self) -> io::Result<Bytes> {
        let record = within(self.limit, next_record(&mut self.stream)).await?;
        record.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// The next `n` bytes.
    pub async fn expect(&mut self, n: usize) -> io::Result<Bytes> {
        while self.heard.len() < n {
            let record = self.record().await?;
            self.heard.extend_from_slice(&record);
        }
        Ok(self.heard.split_to(n).freeze())
    }

    /// The bytes of the next whole message. A USERAUTH_FAILURE is 14 bytes here, whoever pads it.
    pub async fn message(&mut self) -> io::Result<Bytes> {
        loop {
            match extent(&self.heard) {
                Ok(Extent::Whole(n)) => return Ok(self.heard.split_to(n).freeze()),
                Ok(Extent::Partial) => {
                    let record = self.record().await?;
                    self.heard.extend_from_slice(&record);
                }
                Ok(Extent::Unknown(_)) | Err(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// Waits for exactly `message`; anything else is an error that says what came instead.
    pub async fn expect_message(&mut self, message: &Message<'_>) -> io::Result<()> {
        let wanted = message.to_bytes();
        let came = self.expect(wanted.len()).await?;
        if came == wanted {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("expected {message:?}, came {came:02x?}")))
    }

    /// Says PROTOCOL_VERSION and asks for the first service.
    pub async fn greet(&mut self, device: DeviceId) -> io::Result<()> {
        self.say(&Message::ProtocolVersion(preamble(device))).await?;
        self.say(&Message::ServiceRequest { service: AUTH_SERVICE }).await
    }

    /// From PROTOCOL_VERSION to USERAUTH_SUCCESS.
    pub async fn log_in(&mut self, device: DeviceId, user: &str, password: &Secret) -> io::Result<()> {
        self.greet(device).await?;
        self.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE }).await?;
        let login = UserauthRequest::password(user.as_bytes(), password.expose().as_bytes());
        self.say(&Message::UserauthRequest(login)).await?;
        self.expect_message(&Message::UserauthSuccess).await
    }

    /// From USERAUTH_SUCCESS on: the second service, and `ports` offered one by one.
    pub async fn offer(&mut self, ports: &[u32]) -> io::Result<()> {
        self.say(&Message::ServiceRequest { service: PFWD_SERVICE }).await?;
        self.expect_message(&Message::ServiceAccept { service: PFWD_SERVICE }).await?;
        for &port in ports {
            self.say(&Message::GlobalRequest(GlobalRequest::Forward { address: b"", port })).await?;
            self.expect_message(&Message::ForwardSuccess { port }).await?;
        }
        Ok(())
    }

    /// Waits for the other side to close, throwing away what it still says. Error: it did not.
    pub async fn closed(&mut self) -> io::Result<Closed> {
        let closing = async {
            let mut waste = [0; 4096];
            loop {
                match self.stream.read(&mut waste).await {
                    Ok(0) => return Ok(Closed::Notified),
                    Ok(_) => {}
                    Err(error) => return how(&error).ok_or(error),
                }
            }
        };
        within(self.limit, closing).await
    }
}

/// What a simulated device says first.
pub(in crate::sim) const fn preamble(device: DeviceId) -> Preamble {
    Preamble { major: 1, minor: 0, trigger: 4, device }
}

fn how(error: &io::Error) -> Option<Closed> {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Some(Closed::Silently),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Some(Closed::Reset),
        _ => None,
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
