//! Instances: who is there, where, and who is best avoided for a moment. One immutable snapshot.
//!
//! Feeders replace the snapshot, nobody else; connects are let through a gate for each instance,
//! whose state outlives a replacement. Nothing here dials anybody.

mod gate;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::model::{Endpoint, InstanceName, Pool};

pub use gate::ConnectPermit;
use gate::{Bounds, Gate};

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

impl Instance {
    /// An MPS as most are: up, of weight 1, without zone or limit.
    pub fn mps(name: InstanceName, cira: Endpoint, http: Endpoint) -> Self {
        let (pool, weight, state) = (Pool::mps(), 1.0, State::Up);
        Self { name, pool, cira, http, weight, zone: None, max_sessions: None, state }
    }
}

/// Everyone known at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By name.
    pub instances: Vec<Arc<Instance>>,
}

impl Snapshot {
    /// Everyone of `list`, by name. Of two with one name the first counts.
    pub fn new(mut list: Vec<Instance>) -> Self {
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list.dedup_by(|a, b| a.name == b.name);
        Self { instances: list.into_iter().map(Arc::new).collect() }
    }

    /// The instance called `name`.
    pub fn get(&self, name: &InstanceName) -> Option<&Arc<Instance>> {
        let place = self.instances.binary_search_by(|i| i.name.cmp(name)).ok()?;
        Some(&self.instances[place])
    }
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
    /// As many connects this second as allowed, or others wait for theirs.
    Rate,
    /// Its last connect failed a moment ago.
    Avoided,
    /// No such instance any more.
    Unknown,
}

/// Known instances and how their connects go.
pub struct Instances {
    current: watch::Sender<Arc<Snapshot>>,
    gates: Mutex<Gates>,
}

struct Gates {
    avoid: Duration,
    by_name: HashMap<InstanceName, Arc<Gate>>,
}

impl Instances {
    /// The instances of the static list.
    pub fn new(settings: Settings) -> Self {
        let instances = Self {
            current: watch::Sender::default(),
            gates: Mutex::new(Gates { avoid: settings.avoid, by_name: HashMap::new() }),
        };
        instances.replace(settings);
        instances
    }

    /// Everyone known now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.borrow())
    }

    /// Replaces the static list (a reload). What is known of instances that stay is kept.
    pub fn replace(&self, settings: Settings) {
        let bounds =
            Bounds { in_flight: settings.connects_in_flight, per_second: settings.connects_per_second };
        let snapshot = Arc::new(Snapshot::new(settings.list));
        let mut gates = self.gates.lock();
        let kept = |name: &InstanceName, old: &HashMap<InstanceName, Arc<Gate>>| match old.get(name) {
            Some(gate) if gate.bounds() == bounds => Arc::clone(gate),
            other => Arc::new(Gate::new(bounds, other.and_then(|gate| gate.avoided_until()))),
        };
        let names = snapshot.instances.iter().map(|i| &i.name);
        gates.by_name = names.map(|name| (name.clone(), kept(name, &gates.by_name))).collect();
        gates.avoid = settings.avoid;
        self.current.send_replace(snapshot); // still under the lock: two writers must not cross
    }

    fn gate(&self, name: &InstanceName) -> Option<Arc<Gate>> {
        self.gates.lock().by_name.get(name).cloned()
    }

    /// A permit to connect to `name` now, or why not. Nobody overtakes those in [`Instances::turn`].
    pub fn connect_permit(&self, name: &InstanceName) -> Result<ConnectPermit, Busy> {
        self.gate(name).ok_or(Busy::Unknown)?.permit()
    }

    /// A permit to connect to `name` as soon as its bounds allow, first come, first served, and what
    /// came of `prepare`, which is awaited when first in line, before anything is spent. `Err` when
    /// `name` turns out to be avoided or gone. Not bounded in time. Safe to cancel: the place in line
    /// is lost.
    pub async fn turn<T>(
        &self,
        name: &InstanceName,
        prepare: impl Future<Output = T>,
    ) -> Result<(ConnectPermit, T), Busy> {
        self.gate(name).ok_or(Busy::Unknown)?.turn(prepare).await
    }

    /// A connect to `name` failed: avoid it for some seconds.
    pub fn connect_failed(&self, name: &InstanceName) {
        let gates = self.gates.lock();
        if let Some(gate) = gates.by_name.get(name) {
            gate.avoid(gates.avoid);
        }
    }

    /// A connect to `name` succeeded.
    pub fn connect_succeeded(&self, name: &InstanceName) {
        if self.gate(name).is_some_and(|gate| gate.welcome()) {
            self.current.send_modify(|_| {}); // wakes those who wait for somebody to be usable
        }
    }

    /// Whether `name` is avoided now, because a connect to it failed a moment ago.
    pub fn avoided(&self, name: &InstanceName) -> bool {
        self.gate(name).is_some_and(|gate| gate.avoided_until().is_some())
    }

    /// Ready when somebody of `pool` is up, has weight and is not avoided: at once, if so now. Safe to
    /// cancel.
    pub async fn somebody(&self, pool: &Pool) {
        let mut changes = self.current.subscribe();
        loop {
            changes.mark_unchanged(); // before the look, so that no change in between is missed
            let Err(until) = self.usable(pool) else { return };
            let expiry = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = changes.changed() => {} // never closed while `self` lives
                () = expiry => {}
            }
        }
    }

    /// `Err`: nobody is usable, and when the first of those avoided no longer will be.
    fn usable(&self, pool: &Pool) -> Result<(), Option<Instant>> {
        let snapshot = self.snapshot();
        let mut first = None;
        let takes = |i: &&Arc<Instance>| i.pool == *pool && i.state == State::Up && i.weight > 0.0;
        for instance in snapshot.instances.iter().filter(takes) {
            match self.gate(&instance.name).and_then(|gate| gate.avoided_until()) {
                None => return Ok(()),
                Some(until) => first = Some(first.map_or(until, |first: Instant| first.min(until))),
            }
        }
        Err(first)
    }
}

#[cfg(test)]
mod tests;
