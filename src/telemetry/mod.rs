//! Metric names in one table, the handles that count, log set-up, build info.
//!
//! No global recorder: whoever counts is handed [`Metrics`], so that several gateways can run in
//! one process (tests, demo) and each reports its own.

mod log;
mod metrics;

pub use log::{Format, init as init_log};
pub use metrics::{Counters, Label, Metrics};
