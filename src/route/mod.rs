//! Route: a device's destination. Owner, else placement. Decides only: claims nothing, dials nobody.

mod decide;
mod readiness;

use std::sync::Arc;

use serde::Serialize;

use crate::directory::{Answer, Freshness, Keeper};
use crate::instances::{Instance, Instances};
use crate::model::{DeviceId, InstanceName, Pool, Source};
use crate::telemetry::label_set;
use decide::{Known, Ownership, Weighed, weigh};

pub use readiness::{Concern, Readiness, readiness};

label_set! {
    /// Why a device goes where it goes. Closed set: a metric label, and `/explain`.
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Why {
        /// The directory is away: first of the rendezvous order that is up.
        DirectoryAway = "directory-away",
        /// Its unreleased live owner.
        Owner = "owner",
        /// First of the rendezvous order below its cap.
        Placed = "placed",
        /// Everyone is at the cap: first of the rendezvous order that is up.
        OverCap = "over-cap",
        /// No device is known: first of the rendezvous order of its source that is up.
        Source = "source",
    }
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
    /// Why it was not taken, if it was not: `down`, `draining`, `avoided`, `full`, `no-weight`,
    /// `at-cap` or `outranked`.
    pub passed_over: Option<&'static str>,
}

/// The routing decision.
pub struct Router {
    keeper: Arc<Keeper>,
    instances: Arc<Instances>,
    pool: Pool,
}

impl Router {
    /// A router over what is known.
    pub fn new(keeper: Arc<Keeper>, instances: Arc<Instances>) -> Self {
        Self { keeper, instances, pool: Pool::mps() }
    }

    /// Where `device` should go now, at most `route` 250 ms (the keeper's budget).
    pub async fn route(&self, device: DeviceId) -> Itinerary {
        itinerary(self.weigh(device).await)
    }

    /// Where somebody of whom only the source is known should go now: the same as long as the first is
    /// up, whatever comes and goes beside it. Sessions that prove nothing count for nobody's cap, or
    /// they would crowd out devices that do; an instance that is full gets none.
    pub fn route_source(&self, source: Source) -> Itinerary {
        itinerary(weigh(source.as_bytes(), &Ownership::Unasked, self.known()))
    }

    /// Who of those up should have `device`, best first, whatever the directory says: what all replicas
    /// agree on while it is away.
    pub fn preferred(&self, device: DeviceId) -> Vec<Arc<Instance>> {
        let weighed = weigh(device.as_bytes(), &Ownership::Away, self.known()).into_iter();
        weighed.filter(|w| w.verdict.is_ok()).map(|w| w.instance).collect()
    }

    /// Why `device` would go where it would go now.
    pub async fn explain(&self, device: DeviceId) -> (Option<InstanceName>, Option<Why>, Vec<Considered>) {
        let weighed = self.weigh(device).await;
        let taken = weighed.first().and_then(|w| Some((w.instance.name.clone(), w.verdict.ok()?)));
        let considered = weighed.into_iter().enumerate().map(|(place, w)| considered(place, w)).collect();
        let (instance, why) = taken.unzip();
        (instance, why, considered)
    }

    async fn weigh(&self, device: DeviceId) -> Vec<Weighed> {
        // An own session answers first: who is proven here and not superseded is the newest there is.
        // A cached record may be 3 s old, which costs a device at most its stickiness.
        let owner = match self.keeper.owner(device, Freshness::Cached).await {
            Answer::Owned { claim, .. } => Ownership::Owner(claim.instance),
            Answer::Pending { instance, .. } => Ownership::Owner(instance),
            Answer::Nobody => Ownership::Nobody,
            Answer::Resyncing { .. } | Answer::Unreachable { .. } => Ownership::Away,
        };
        weigh(device.as_bytes(), &owner, self.known())
    }

    /// The instances a device can go to. An owner that is none of them is ignored.
    fn known(&self) -> Vec<Known> {
        let snapshot = self.instances.snapshot();
        let of_pool = snapshot.instances.iter().filter(|i| i.pool == self.pool);
        of_pool
            .map(|instance| Known {
                sessions: self.keeper.sessions_at(&instance.name),
                avoided: self.instances.avoided(&instance.name),
                instance: Arc::clone(instance),
            })
            .collect()
    }
}

fn itinerary(weighed: Vec<Weighed>) -> Itinerary {
    let stop = |w: Weighed| w.verdict.ok().map(|why| (w.instance, why));
    Itinerary { stops: weighed.into_iter().filter_map(stop).collect() }
}

fn considered(place: usize, weighed: Weighed) -> Considered {
    let passed_over = match weighed.verdict {
        Err(why_not) => Some(why_not),
        Ok(_) if place == 0 => None,
        Ok(Why::OverCap) => Some("at-cap"),
        Ok(Why::DirectoryAway | Why::Owner | Why::Placed | Why::Source) => Some("outranked"),
    };
    Considered {
        instance: weighed.instance.name.to_string(),
        // JSON has no infinity, which is what an instance without weight scores.
        score: if weighed.score.is_finite() { weighed.score } else { 0.0 },
        sessions: weighed.sessions,
        cap: weighed.cap,
        passed_over,
    }
}

#[cfg(test)]
mod tests;
