//! Whether a balancer should send new work here, and everything that is not as it should be.

use serde::Serialize;

use crate::directory::Keeper;
use crate::instances::{Instances, State};
use crate::lifecycle::Phase;

/// One thing that is not as it should be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Concern {
    /// A word for programs, from a closed set.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// What a probe is told.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness {
    /// Whether new connections are welcome: false only while starting or leaving. An outage of the
    /// directory must not take every replica out of the balancer.
    pub ready: bool,
    /// Where the gateway is in its life.
    pub phase: &'static str,
    /// What is not as it should be, ready or not.
    pub reasons: Vec<Concern>,
}

/// How things stand. `serving`: a plane is open that needs instances.
pub fn readiness(phase: Phase, keeper: &Keeper, instances: &Instances, serving: bool) -> Readiness {
    let mut reasons = vec![];
    let mut concern = |reason, message: String| reasons.push(Concern { reason, message });
    if !phase.ready() {
        concern(phase.name(), "new connections should go to another replica".to_owned());
    }
    let directory = keeper.status();
    let (kind, pending) = (directory.kind, directory.pending);
    if !directory.reachable {
        concern("directory-unreachable", format!("{kind} does not answer; {pending} claims wait for it"));
    } else if !directory.takes_writes {
        concern("directory-takes-no-writes", format!("{kind} refuses writes; {pending} claims wait for it"));
    } else if !directory.synced {
        concern("directory-resyncing", "its data was lost and is being written again".to_owned());
    }
    if serving && !instances.snapshot().instances.iter().any(|instance| instance.state == State::Up) {
        concern("no-instance", "no instance is up: devices are held, requests refused".to_owned());
    }
    Readiness { ready: phase.ready(), phase: phase.name(), reasons }
}
