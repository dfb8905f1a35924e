//! The accept loop's one happy path: a permit first, then a connection, never an error.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::socket;

/// Connections the kernel queues for us (it may cap this: `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Pause after an error of ours, such as too many open files: never spin, never give up.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound socket that hands out connections while there is room for them.
pub struct Listener {
    tcp: TcpListener,
    local: SocketAddr,
    room: Arc<Semaphore>,
}

/// A connection and its place among those allowed at once.
pub struct Accepted {
    /// The connection, TCP_NODELAY and keep-alive set.
    pub tcp: TcpStream,
    /// Who connected (a load balancer, perhaps). An IPv4 peer is one on a dual-stack socket, too.
    pub peer: SocketAddr,
    /// The place taken; dropping it frees the place.
    pub room: OwnedSemaphorePermit,
}

impl Listener {
    /// Binds `addr` (`[::]` is dual-stack). The caller shares `room` among listeners of one plane.
    ///
    /// Must be called within a Tokio runtime.
    pub fn bind(addr: SocketAddr, room: Arc<Semaphore>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if let SocketAddr::V6(v6) = addr {
            socket.set_only_v6(*v6.ip() != Ipv6Addr::UNSPECIFIED)?;
        }
        // A restart must not wait for the last session's TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let tcp = TcpListener::from_std(socket.into())?;
        let local = tcp.local_addr()?;
        Ok(Self { tcp, local, room })
    }

    /// The address bound, with the port the kernel chose if it was 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next connection, once there is room for it. Never fails, safe to cancel.
    pub async fn accept(&self) -> Accepted {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.expect("nobody closes the semaphore of a plane");
        let mut troubled = false;
        loop {
            match self.tcp.accept().await {
                Ok((tcp, peer)) => {
                    if troubled {
                        info!(listener = %self.local, "accepting again");
                    }
                    if let Err(error) = socket::tune(&tcp) {
                        debug!(%error, %peer, "peer left before its socket was tuned");
                    }
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    return Accepted { tcp, peer, room };
                }
                Err(error) if hung_up(&error) => debug!(%error, "peer left before accept"),
                Err(error) => {
                    if !troubled {
                        warn!(%error, listener = %self.local, "cannot accept");
                    }
                    troubled = true;
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Whether an error of `accept` is about one connection only: the next may be accepted at once.
///
/// Linux also passes on errors that are already pending on the new socket (see accept(2)).
fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::Interrupted
            | Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use socket2::SockRef;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn listener(addr: &str, room: usize) -> Listener {
        let addr = addr.parse().expect("an address");
        Listener::bind(addr, Arc::new(Semaphore::new(room))).expect("a free port")
    }

    #[tokio::test]
    async fn a_connection_is_accepted_only_when_there_is_room() {
        let listener = listener("127.0.0.1:0", 1);
        let first = TcpStream::connect(listener.local_addr()).await.expect("the first connects");
        let second = TcpStream::connect(listener.local_addr()).await.expect("the backlog takes it");
        let accepted = timeout(LIMIT, listener.accept()).await.expect("room for one");
        assert_eq!(accepted.peer, first.local_addr().expect("a local address"));
        timeout(Duration::from_millis(50), listener.accept()).await.map(|_| ()).expect_err("no room");
        drop(accepted.room);
        let accepted = timeout(LIMIT, listener.accept()).await.expect("room again");
        assert_eq!(accepted.peer, second.local_addr().expect("a local address"));
    }

    #[tokio::test]
    async fn an_accepted_socket_is_tuned() {
        let listener = listener("127.0.0.1:0", 1);
        let _peer = TcpStream::connect(listener.local_addr()).await.expect("connects");
        let Accepted { tcp, .. } = timeout(LIMIT, listener.accept()).await.expect("accepts");
        let socket = SockRef::from(&tcp);
        assert!(tcp.nodelay().expect("readable"));
        assert!(socket.keepalive().expect("readable"));
        assert_eq!(socket.tcp_keepalive_time().expect("readable"), socket::KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_user_timeout().expect("readable"), Some(socket::USER_TIMEOUT));
    }

    #[tokio::test]
    async fn the_unspecified_v6_address_takes_both_families() {
        let Ok(listener) = Listener::bind((Ipv6Addr::UNSPECIFIED, 0).into(), Arc::new(Semaphore::new(2)))
        else {
            eprintln!("NOT RUN: this host has no IPv6");
            return;
        };
        let port = listener.local_addr().port();
        for host in ["127.0.0.1", "::1"] {
            let peer = TcpStream::connect((host, port)).await.expect(host);
            let accepted = timeout(LIMIT, listener.accept()).await.expect("accepts");
            assert_eq!(accepted.peer, peer.local_addr().expect("a local address"), "{host}");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let first = listener("127.0.0.1:0", 1);
        let second = Listener::bind(first.local_addr(), Arc::new(Semaphore::new(1)));
        assert_eq!(second.map(|_| ()).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn only_errors_of_one_connection_are_passed_over_without_a_pause() {
        assert!(hung_up(&io::ErrorKind::ConnectionAborted.into()));
        let (emfile, enfile, enobufs, enomem) = (24, 23, 105, 12);
        for ours in [emfile, enfile, enobufs, enomem] {
            assert!(!hung_up(&io::Error::from_raw_os_error(ours)), "{ours}");
        }
    }
}
