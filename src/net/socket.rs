//! What every socket of a session gets, on both legs: no delay, and no waiting for the dead.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Silence after which the kernel probes the other side. Longer than the 30 s of most devices' own
/// keep-alive, so that a healthy session costs no probes.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(45);
/// Time between probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Probes without an answer that end a connection: with the idle time, 60 s in all.
pub const KEEPALIVE_PROBES: u32 = 3;
/// How long sent bytes (or a full window) may stay unacknowledged before the kernel gives up.
pub const USER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes the kernel takes from us beyond those on their way. Without it a slow reader costs megabytes
/// of kernel memory, and its progress shows only once a third of them has drained.
pub const UNSENT: u32 = 128 * 1024;

/// Sets TCP_NODELAY, keep-alive, TCP_USER_TIMEOUT and TCP_NOTSENT_LOWAT.
pub fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        socket.set_tcp_notsent_lowat(UNSENT)?;
    }
    Ok(())
}
