//! Instances: who is there, where, and who is best avoided for a moment. One immutable snapshot.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::model::{Endpoint, InstanceName, Pool};

/// Whether an instance may be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Keeps its devices, gets no new ones.
    Draining,
    /// Not to be used.
    Down,
    /// Well.
    Up,
}

/// One instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// What MPS calls `instance_name`.
    pub name: InstanceName,
    /// Its kind.
    pub pool: Pool,
    /// Where devices' sessions end.
    pub cira: Endpoint,
    /// Where requests end.
    pub http: Endpoint,
    /// Its share of new devices.
    pub weight: f64,
    /// Where it stands, for people.
    pub zone: Option<String>,
    /// Hard limit of sessions.
    pub max_sessions: Option<usize>,
    /// Whether it may be used.
    pub state: State,
}

/// Everyone known at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By name.
    pub instances: Vec<Arc<Instance>>,
}

/// Bounds per instance.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The static list.
    pub list: Vec<Instance>,
    /// An instance whose connect failed is avoided for so long.
    pub avoid: Duration,
    /// Connects to one instance at once.
    pub connects_in_flight: usize,
    /// Connects to one instance per second.
    pub connects_per_second: u32,
}

/// Why no connect to an instance may begin now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Busy {
    /// As many connects in flight as allowed.
    InFlight,
    /// As many connects this second as allowed.
    Rate,
    /// Its last connect failed a moment ago.
    Avoided,
}

/// A permit to connect to an instance once; returned when the connect is over.
pub struct ConnectPermit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// Known instances and how their connects go.
pub struct Instances {}

impl Instances {
    /// The instances of the static list.
    pub fn new(_settings: Settings) -> Self {
        todo!()
    }

    /// Everyone known now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        todo!()
    }

    /// Replaces the static list (a reload). What is known of instances that stay is kept.
    pub fn replace(&self, _settings: Settings) {
        todo!()
    }

    /// A permit to connect to `name` now, or why not.
    pub fn connect_permit(&self, _name: &InstanceName) -> Result<ConnectPermit, Busy> {
        todo!()
    }

    /// A connect to `name` failed: avoid it for some seconds.
    pub fn connect_failed(&self, _name: &InstanceName) {
        todo!()
    }

    /// A connect to `name` succeeded.
    pub fn connect_succeeded(&self, _name: &InstanceName) {
        todo!()
    }
}
