//! TCP and TLS, each measured.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustls::client::UnbufferedClientConnection;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::LoadSettings;
use super::failure::{Failure, Stage};
use super::tally::{Metric, Tally};
use crate::net::connect::Leg;
use crate::net::tls_stream::ClientStream;

/// Connects to `target` from `source`, and shakes hands.
pub(super) async fn dial(
    settings: &LoadSettings,
    tally: &Tally,
    target: SocketAddr,
    source: Option<IpAddr>,
) -> Result<Leg, Failure> {
    let began = Instant::now();
    let tcp = match timeout(settings.answer, connect(target, source)).await {
        Ok(connected) => connected.map_err(|error| Failure::of_connect(&error))?,
        Err(_) => return Err(Failure::TimedOut(Stage::Tcp)),
    };
    tally.took(Metric::Tcp, began.elapsed());
    let Some(tls) = &settings.tls else { return Ok(Leg::Plain(tcp)) };
    let began = Instant::now();
    let session = tls.session().map_err(|_| Failure::Tls)?;
    let link = match timeout(settings.answer, shake_hands(tcp, session)).await {
        Ok(link) => link.map_err(|error| Failure::of_handshake(&error))?,
        Err(_) => return Err(Failure::TimedOut(Stage::Tls)),
    };
    tally.took(Metric::Tls, began.elapsed());
    Ok(link)
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
