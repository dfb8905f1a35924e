//! Route: a device's destination. Owner, else placement. Decides only: claims nothing, dials nobody.

use std::sync::Arc;

use serde::Serialize;

use crate::directory::Keeper;
use crate::instances::{Instance, Instances};
use crate::model::{DeviceId, InstanceName};

/// Why a device goes where it goes. Closed set: a metric label, and `/explain`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The directory is away: first of the rendezvous order that is up.
    DirectoryAway,
    /// Its unreleased live owner.
    Owner,
    /// First of the rendezvous order below its cap.
    Placed,
    /// Everyone is at the cap: first of the rendezvous order that is up.
    OverCap,
}

/// Where to go, best first: at most one is the owner, the rest are what placement would choose.
#[derive(Clone, Debug)]
pub struct Itinerary {
    /// Candidates, best first. Empty: nobody is up.
    pub stops: Vec<(Arc<Instance>, Why)>,
}

/// One line of `/explain`.
#[derive(Clone, Debug, Serialize)]
pub struct Considered {
    /// Which instance.
    pub instance: String,
    /// Its rendezvous score.
    pub score: f64,
    /// Its sessions, over all replicas.
    pub sessions: usize,
    /// The cap it is held to.
    pub cap: usize,
    /// Why it was not taken, if it was not.
    pub passed_over: Option<&'static str>,
}

/// The routing decision.
pub struct Router {}

impl Router {
    /// A router over what is known.
    pub fn new(_keeper: Arc<Keeper>, _instances: Arc<Instances>) -> Self {
        todo!()
    }

    /// Where `device` should go now, at most `route` 250 ms (the keeper's budget).
    pub async fn route(&self, _device: DeviceId) -> Itinerary {
        todo!()
    }

    /// Why `device` would go where it would go now.
    pub async fn explain(&self, _device: DeviceId) -> (Option<InstanceName>, Option<Why>, Vec<Considered>) {
        todo!()
    }
}
