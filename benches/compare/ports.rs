//! Ports for programs that cannot be given port 0 and asked.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;

/// Below the ports that the kernel gives to outgoing connections (32768 and up unless told otherwise),
/// or one of the thousands that the load opens might sit on ours before the program does.
const RANGE: Range<u16> = 20_000..32_000;

/// Hands out free ports of loopback, none twice.
#[derive(Default)]
pub struct Ports(BTreeSet<u16>);

impl Ports {
    /// An address nobody listens on.
    pub fn take(&mut self) -> Result<SocketAddr, String> {
        for _ in 0..1000 {
            let port = rand::random_range(RANGE);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if !self.0.contains(&port) && TcpListener::bind(address).is_ok() {
                self.0.insert(port);
                return Ok(address);
            }
        }
        Err(format!("no free port among {RANGE:?}"))
    }
}
