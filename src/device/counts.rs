//! What the device plane counts, beside what every plane does.

use metrics::Gauge;

use super::ending::{Reason, Stage};
use super::guard::Refusal;
use crate::net::connect::ConnectError;
use crate::route::Why;
use crate::telemetry::{Counters, Label, Metrics, label_set};
use crate::wire::client_hello::{Hello, KeyExchange, Legacy, Version};

label_set! {
    /// What became of one connect to an instance. Closed set: a metric label.
    pub enum ConnectOutcome {
        /// It stands.
        Connected = "connected",
        /// We lack a file, a port or memory for it.
        Ours = "ours",
        /// The host's name has no address.
        Resolve = "resolve",
        /// TCP was refused or failed.
        Tcp = "tcp",
        /// Not in time.
        Timeout = "timeout",
        /// The TLS handshake failed.
        Tls = "tls",
    }
}

impl From<&ConnectError> for ConnectOutcome {
    fn from(error: &ConnectError) -> Self {
        match error {
            error if error.is_ours() => Self::Ours,
            ConnectError::Resolve(..) => Self::Resolve,
            ConnectError::Tcp(_) => Self::Tcp,
            ConnectError::Timeout => Self::Timeout,
            ConnectError::Tls(_) => Self::Tls,
        }
    }
}

label_set! {
    /// Whether a hello can be served, else why not. Closed set: a metric label.
    pub enum HelloOutcome {
        /// No null compression, or no uncompressed points.
        Format = "format",
        /// No common key-exchange group.
        Group = "group",
        /// It can.
        Served = "served",
        /// No common signature scheme.
        Signature = "signature",
        /// No common cipher suite.
        Suite = "suite",
        /// Older than TLS 1.2.
        Version = "version",
    }
}

impl From<&Hello> for HelloOutcome {
    fn from(hello: &Hello) -> Self {
        match hello.verdict {
            Ok(()) => Self::Served,
            Err(Legacy::Format) => Self::Format,
            Err(Legacy::Group) => Self::Group,
            Err(Legacy::Signature) => Self::Signature,
            Err(Legacy::Suite) => Self::Suite,
            Err(Legacy::Version) => Self::Version,
        }
    }
}

impl Label for Version {
    const ALL: &'static [Self] = &Version::ALL;

    fn index(self) -> usize {
        Version::index(self)
    }

    fn label(self) -> &'static str {
        Version::label(self)
    }
}

impl Label for KeyExchange {
    const ALL: &'static [Self] = &KeyExchange::ALL;

    fn index(self) -> usize {
        KeyExchange::index(self)
    }

    fn label(self) -> &'static str {
        KeyExchange::label(self)
    }
}

/// Counters whose labels are this plane's own.
pub(super) struct Counts {
    pub accepts: Counters<Stage>,
    pub connects: Counters<ConnectOutcome>,
    pub ends: Counters<Reason>,
    pub hellos: Counters<(Version, KeyExchange, HelloOutcome)>,
    pub placements: Counters<Why>,
    pub refusals: Counters<Refusal>,
    pub splice_ends: Counters<Reason>,
}

impl Counts {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            accepts: metrics.counters("accepts_total"),
            connects: metrics.counters("instance_connects_total"),
            ends: metrics.counters("session_ends_total"),
            hellos: metrics.counters("hellos_total"),
            placements: metrics.counters("placements_total"),
            refusals: metrics.counters("guard_refusals_total"),
            splice_ends: metrics.counters("splice_ends_total"),
        }
    }
}

/// One of those that a gauge counts, until dropped.
pub(super) struct Counted(Gauge);

impl Counted {
    pub fn by(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_of_this_plane_is_in_the_table() {
        let metrics = Metrics::new();
        let counts = Counts::new(&metrics);
        counts.ends.of(Reason::InstanceClosed).increment(1);
        let line = "mps_gateway_session_ends_total{reason=\"closed\",blame=\"instance\"} 1";
        assert!(metrics.render().lines().any(|l| l == line));
    }
}
