//! Settings of the device plane: every bound of a session's itinerary.

use std::net::SocketAddr;
use std::time::Duration;

use crate::net::network::Network;

/// What happens to a hello that rustls cannot serve.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LegacyTls {
    /// It is counted, answered with an alert and closed.
    #[default]
    Refuse,
    /// It is relayed as it is to an instance that terminates TLS itself. Around the guard: no GUID, no
    /// claim.
    Splice,
}

/// How long the guard follows a device.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum GuardMode {
    /// Until proof.
    Preamble,
    /// For the whole session.
    #[default]
    Strict,
}

/// Whom failed logins keep away for a while.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LoginBackoff {
    /// Nobody: sources cannot be told apart.
    Off,
    /// The GUID that failed, from the network that failed.
    #[default]
    Source,
}

/// Settings of the device plane, checked by `config`. Defaults: `Settings::default()`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Legacy hellos.
    pub legacy_tls: LegacyTls,
    /// The guard.
    pub guard: GuardMode,
    /// How long a device waits for an instance when nobody can take it.
    pub hold: Duration,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once that have not proven themselves.
    pub max_preauth: usize,
    /// Connections at once that are spliced, those that wait for an instance included: 2,000.
    pub max_spliced: usize,
    /// Networks whose connections begin with a PROXY header.
    pub proxy_from: Vec<Network>,
    /// Time for the PROXY header: 5 s.
    pub proxy_timeout: Duration,
    /// Time for the hello: 10 s.
    pub hello_timeout: Duration,
    /// Time for the handshake, waiting for its turn included: 10 s.
    pub handshake_timeout: Duration,
    /// Handshakes at once: 4 for each core.
    pub max_handshakes: usize,
    /// Time for the preamble: 10 s.
    pub preamble_timeout: Duration,
    /// Time for one connect to an instance: 3 s.
    pub connect_timeout: Duration,
    /// Time for all connects of one device: 10 s.
    pub connect_total: Duration,
    /// Candidates tried: 3.
    pub connect_candidates: usize,
    /// Before proof, silence of the device ends the session: 30 s.
    pub proof_device_silence: Duration,
    /// Before proof, time for the instance to answer: 85 s.
    pub proof_timeout: Duration,
    /// Login failures that end a session: 3.
    pub max_login_failures: u32,
    /// Whom failed logins keep away.
    pub login_backoff: LoginBackoff,
    /// How long proof waits for the claim: 250 ms.
    pub claim_wait: Duration,
    /// Silence of both sides that ends a session: 120 s.
    pub silence: Duration,
    /// A write stalled for so long ends a session: 60 s.
    pub stall: Duration,
    /// How long a close may take: 2 s.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 4433))],
            legacy_tls: LegacyTls::default(),
            guard: GuardMode::default(),
            hold: seconds(30),
            max_connections: 100_000,
            max_preauth: 2_000,
            max_spliced: 2_000,
            proxy_from: vec![],
            proxy_timeout: seconds(5),
            hello_timeout: seconds(10),
            handshake_timeout: seconds(10),
            max_handshakes: 4 * cores,
            preamble_timeout: seconds(10),
            connect_timeout: seconds(3),
            connect_total: seconds(10),
            connect_candidates: 3,
            proof_device_silence: seconds(30),
            proof_timeout: seconds(85),
            max_login_failures: 3,
            login_backoff: LoginBackoff::default(),
            claim_wait: Duration::from_millis(250),
            silence: seconds(120),
            stall: seconds(60),
            grace: seconds(2),
        }
    }
}
