//! The accept loop's one happy path: a permit first, then a connection, never an error.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bound socket that hands out connections while there is room for them.
pub struct Listener {}

/// A connection and its place among those allowed at once.
pub struct Accepted {
    /// The connection, TCP_NODELAY and keep-alive set.
    pub tcp: TcpStream,
    /// Who connected (a load balancer, perhaps).
    pub peer: SocketAddr,
    /// The place taken; dropping it frees the place.
    pub room: OwnedSemaphorePermit,
}

impl Listener {
    /// Binds `addr` (`[::]` is dual-stack). The caller shares `room` among listeners of one plane.
    pub fn bind(_addr: SocketAddr, _room: Arc<Semaphore>) -> io::Result<Self> {
        todo!()
    }

    /// The address bound, with the port the kernel chose if it was 0.
    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }

    /// The next connection, once there is room for it. Never fails, safe to cancel.
    pub async fn accept(&self) -> Accepted {
        todo!()
    }
}
