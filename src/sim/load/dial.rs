//! TCP and TLS, each measured.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::client::UnbufferedClientConnection;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::LoadSettings;
use super::failure::{Failure, Stage};
use crate::net::connect::Leg;
use crate::net::tls_stream::ClientStream;

/// A connection, and how long its parts took.
pub(super) struct Dialled {
    pub link: Leg,
    pub tcp: Duration,
    /// `None`: in clear.
    pub tls: Option<Duration>,
}

/// Connects to `target` from `source`, and shakes hands.
pub(super) async fn dial(
    settings: &LoadSettings,
    target: SocketAddr,
    source: Option<IpAddr>,
) -> Result<Dialled, Failure> {
    let began = Instant::now();
    let tcp = match timeout(settings.answer, connect(target, source)).await {
        Ok(connected) => connected.map_err(|error| Failure::of_connect(&error))?,
        Err(_) => return Err(Failure::TimedOut(Stage::Tcp)),
    };
    let connected = began.elapsed();
    let Some(tls) = &settings.tls else {
        return Ok(Dialled { link: Leg::Plain(tcp), tcp: connected, tls: None });
    };
    let began = Instant::now();
    let session = tls.session().map_err(|_| Failure::Tls)?;
    let link = match timeout(settings.answer, shake_hands(tcp, session)).await {
        Ok(link) => link.map_err(|error| Failure::of_handshake(&error))?,
        Err(_) => return Err(Failure::TimedOut(Stage::Tls)),
    };
    Ok(Dialled { link, tcp: connected, tls: Some(began.elapsed()) })
}

async fn shake_hands(tcp: TcpStream, session: UnbufferedClientConnection) -> io::Result<Leg> {
    Ok(Leg::Tls(Box::new(ClientStream::handshake(tcp, session).await?)))
}

async fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        // Ports whose last connection is in TIME_WAIT may serve again.
        socket.set_reuseaddr(true)?;
        socket.bind((source, 0).into())?;
    }
    let tcp = socket.connect(target).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}
