//! Simulated AMT devices: one that behaves, and one that is driven by hand.

mod raw;
mod tls;

pub use raw::{Closed, RawDevice};
pub use tls::{DeviceTls, TlsSettings, Trust, Versions};
