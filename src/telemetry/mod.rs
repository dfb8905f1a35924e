//! Metric names in one table, the handles that count, log set-up, build info.
//!
//! No global recorder: whoever counts is handed [`Metrics`], so that several gateways can run in
//! one process (tests, demo) and each reports its own.

pub mod build;
mod label;
mod log;
mod metrics;
pub mod table;

pub(crate) use label::label_set;
pub use label::{Counters, Label, Labels};
pub use log::{Format, init as init_log};
pub use metrics::{ClaimOutcome, Direction, LookupOutcome, LookupSource, Metrics, ReloadOutcome};
