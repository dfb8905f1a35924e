//! Binds all, wires all, runs, drains: the only place that names every plane.

mod settings;

pub use settings::{Certificate, Device, Drain, Log, RestartKeys, Settings, Source};
