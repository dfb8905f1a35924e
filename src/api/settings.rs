//! Settings of the api plane: every bound of a request's trip.

use std::net::SocketAddr;
use std::time::Duration;

use crate::http::routes::{Route, Routes};
use crate::http::{body, client, server};
use crate::model::Pool;
use crate::net::network::Network;
use crate::net::relay;

/// Settings of the api plane, checked by `config`. Defaults: `Settings::default()`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Which pool answers which path.
    pub routes: Routes,
    /// Networks whose word on who asked is believed.
    pub trusted_proxies: Vec<Network>,
    /// Whether a device's GUID is sent on in lower case.
    pub canonical_guid: bool,
    /// Connections at once, WebSockets included.
    pub max_connections: usize,
    /// The longest head, in bytes: 16 KiB.
    pub max_head: usize,
    /// The longest body of a request, in bytes: 10 MiB.
    pub max_body: u64,
    /// The longest body that is kept to be sent again, in bytes: 64 KiB.
    pub replay_limit: usize,
    /// From the first byte of a head to its last: 10 s.
    pub head_timeout: Duration,
    /// Silence of a caller in the middle of a body: 30 s.
    pub body_timeout: Duration,
    /// Silence of a caller between two requests: 75 s.
    pub idle_timeout: Duration,
    /// A write without progress: 60 s.
    pub stall: Duration,
    /// Time for one connect to an instance: 3 s.
    pub connect_timeout: Duration,
    /// Silence of an instance before its answer and within it: 120 s.
    pub response_timeout: Duration,
    /// How long a connection to an instance waits for its next request: 3.5 s.
    pub instance_idle: Duration,
    /// Connections to one instance that wait.
    pub instance_connections: usize,
    /// Silence of both sides that ends a WebSocket: 1 h.
    pub upgrade_idle: Duration,
    /// How long a close may take: 2 s.
    pub grace: Duration,
    /// Where an instance takes requests when only its name is known.
    pub http_port: u16,
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 8003))],
            routes: Routes::new(vec![Route { prefix: String::new(), pool: Pool::mps(), strip: false }]),
            trusted_proxies: vec![],
            canonical_guid: true,
            max_connections: 20_000,
            max_head: 16 * 1024,
            max_body: 10 * 1024 * 1024,
            replay_limit: 64 * 1024,
            head_timeout: seconds(10),
            body_timeout: seconds(30),
            idle_timeout: seconds(75),
            stall: seconds(60),
            connect_timeout: seconds(3),
            response_timeout: seconds(120),
            instance_idle: Duration::from_millis(3_500),
            instance_connections: 256,
            upgrade_idle: seconds(3_600),
            grace: seconds(2),
            http_port: 3000,
        }
    }
}

impl Settings {
    /// Whether what `address` says about who asked is believed.
    pub fn trusts(&self, address: std::net::IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(address))
    }

    pub(super) const fn connection(&self) -> server::Limits {
        let patience =
            server::Patience { head: self.head_timeout, idle: self.idle_timeout, stall: self.stall };
        server::Limits { head: self.max_head, patience }
    }

    pub(super) const fn body(&self) -> body::Limits {
        body::Limits { longest: self.max_body, kept: self.replay_limit, silence: self.body_timeout }
    }

    pub(super) const fn client(&self) -> client::Settings {
        client::Settings {
            connect: self.connect_timeout,
            silence: self.response_timeout,
            idle: self.instance_idle,
            most_idle: self.instance_connections,
        }
    }

    pub(super) const fn pipe(&self) -> relay::Limits {
        relay::Limits { silence: self.upgrade_idle, stall: self.stall, grace: self.grace }
    }
}
