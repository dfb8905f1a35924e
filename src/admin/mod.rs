//! Probes, metrics and the admin API, on a thread of their own.

mod settings;

pub use settings::Settings;
