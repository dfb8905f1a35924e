//! The metrics of one gateway.

use metrics::{Counter, Gauge, Histogram};

use crate::model::InstanceName;

/// A closed set of label values.
pub trait Label: Copy + 'static {
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];
    /// Its place in [`Label::ALL`].
    fn index(self) -> usize;
    /// The label's text.
    fn label(self) -> &'static str;
}

/// One counter for each value of a closed set.
pub struct Counters<L> {
    counters: Vec<Counter>,
    of: std::marker::PhantomData<fn(L)>,
}

impl<L: Label> Counters<L> {
    /// The counter of `label`.
    pub fn of(&self, label: L) -> &Counter {
        &self.counters[label.index()]
    }
}

/// Every metric of this gateway, registered when it starts.
///
/// Fields are public handles: a plane counts with `metrics.handshakes.of(outcome).increment(1)`.
/// Who adds a metric adds a row to the table here, with its unit and help.
pub struct Metrics {
    /// Sessions now, from accept to the end.
    pub device_connections: Gauge,
    /// Sessions now that are proven and relayed.
    pub sessions: Gauge,
    /// Seconds of a device handshake, hello to finished.
    pub handshake_seconds: Histogram,
    // .. one field a metric
}

impl Metrics {
    /// A fresh set, all zero.
    pub fn new() -> Self {
        todo!()
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        todo!()
    }

    /// Sessions now at one instance: a gauge by name (as many series as instances).
    pub fn sessions_at(&self, _instance: &InstanceName) -> Gauge {
        todo!()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
