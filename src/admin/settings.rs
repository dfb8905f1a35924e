//! Settings of the admin listener.

use std::net::SocketAddr;

/// Settings of the admin listener, checked by `config`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Addresses to listen on. Off loopback only probes and metrics are served.
    pub listen: Vec<SocketAddr>,
    /// Whether a taken port is a warning rather than the end: nobody asked for this listener.
    pub optional: bool,
}
