//! The admin listener: its sockets, its thread, its bounds.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::error::Refused;
use super::{Parts, Settings, routes};

/// Connections at once, of all listeners.
const CONNECTIONS: usize = 256;
/// Time for the head of a request, and between two of them.
const HEAD: Duration = Duration::from_secs(30);
/// The longest a connection may live, whatever it asks.
const LIFE: Duration = Duration::from_secs(600);
/// After an error of our own, such as too many open files: wait, never spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Bound sockets that nobody serves yet.
#[derive(Debug)]
pub struct Bound {
    sockets: Vec<std::net::TcpListener>,
}

impl Bound {
    /// Binds every address; on failure says which.
    pub fn bind(settings: &Settings) -> Result<Self, (SocketAddr, io::Error)> {
        let bind = |address: &SocketAddr| {
            let socket = std::net::TcpListener::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let sockets = settings.listen.iter().map(|address| bind(address).map_err(|error| (*address, error)));
        Ok(Self { sockets: sockets.collect::<Result<_, _>>()? })
    }

    /// The addresses bound, with the ports the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Serves on a thread of its own until what is returned is dropped.
    pub fn start(self, parts: Parts) -> io::Result<Running> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let parts = Arc::new(parts);
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(serve(self.sockets, parts)));
        })?;
        Ok(Running { stop, thread: Some(thread) })
    }
}

/// The admin thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Running {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!("the admin thread panicked");
        }
    }
}

async fn serve(sockets: Vec<std::net::TcpListener>, parts: Arc<Parts>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut listeners = JoinSet::new();
    for socket in sockets {
        let loopback = socket.local_addr().is_ok_and(|address| address.ip().is_loopback());
        match TcpListener::from_std(socket) {
            Ok(socket) => {
                listeners.spawn(accept(socket, routes(Arc::clone(&parts), loopback), Arc::clone(&room)));
            }
            Err(error) => warn!(%error, "an admin socket cannot be used"),
        }
    }
    listeners.join_all().await;
}

async fn accept(socket: TcpListener, routes: axum::Router, room: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&room).acquire_owned().await.expect("never closed");
        while connections.try_join_next().is_some() {}
        match socket.accept().await {
            Ok((tcp, _)) => {
                let routes = routes.clone();
                connections.spawn(async move {
                    connection(tcp, routes).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept an admin connection");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(tcp: TcpStream, routes: axum::Router) {
    let service = TowerToHyperService::new(routes);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(tcp), service);
    match timeout(LIFE, served).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => debug!(%error, "admin connection"),
    }
}

/// A browser on this machine is not its user: a page from elsewhere must neither read the API under a
/// name it made point here, nor make us reload.
pub async fn only_from_here(request: Request, next: Next) -> Result<Response, Refused> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !names_loopback(request.headers()) || (!reads && request.headers().contains_key(header::ORIGIN)) {
        let message = "ask by a loopback address or localhost, and not from a web page";
        return Err(Refused::new(StatusCode::FORBIDDEN, "loopback-only", message));
    }
    Ok(next.run(request).await)
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true }; // HTTP/1.0: no browser
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
