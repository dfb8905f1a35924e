//! What the api plane counts, beside what every plane does.

use metrics::Gauge;

use super::course::Why;
use super::ending::Reason;
use crate::telemetry::{Counters, Metrics, label_set};

label_set! {
    /// Why a request was sent once more. Closed set: a metric label.
    pub enum Cause {
        /// The connection broke before the answer.
        Broke = "broke",
        /// No connection could be made.
        Connect = "connect",
        /// The instance said that the device is not connected there.
        NotConnected = "not-connected",
    }
}

label_set! {
    /// Which way bytes of a WebSocket flow. Closed set: a metric label.
    pub enum Way {
        /// From the caller to the instance.
        FromCaller = "from-caller",
        /// From the instance to the caller.
        FromInstance = "from-instance",
    }
}

/// Counters whose labels are this plane's own.
pub(super) struct Counts {
    pub resends: Counters<Cause>,
    pub requests: Counters<Reason>,
    pub routes: Counters<Why>,
    pub bytes: Counters<Way>,
}

impl Counts {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            resends: metrics.counters("request_resends_total"),
            requests: metrics.counters("requests_total"),
            routes: metrics.counters("request_routes_total"),
            bytes: metrics.counters("upgrade_bytes_total"),
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
        counts.requests.of(Reason::OwnerDown).increment(1);
        let line = "mps_gateway_requests_total{reason=\"owner-down\",blame=\"instance\"} 1";
        assert!(metrics.render().lines().any(|l| l == line));
    }
}
