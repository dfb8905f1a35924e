//! Who else is there: the leases of all replicas, as the last heartbeat told, on our own clock.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::directory::{Registry, ReplicaInfo, Settings, Standing};
use crate::model::{InstanceName, ReplicaId};

/// What a replica says of itself in `s:info`. Unknown members are ignored and missing ones have
/// defaults, so that replicas of different builds understand each other.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Stated {
    pub name: String,
    pub build: String,
    /// Seconds since 1970.
    pub started: u64,
    pub sessions: usize,
    pub synced: bool,
    /// Sessions by instance.
    pub instances: BTreeMap<String, usize>,
}

/// How a replica stands, including not at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stands {
    As(Standing),
    /// Its lease is over for longer than the grace, or was ended.
    Gone,
    /// Not in the last registry read; too early to say that it is gone.
    Unsure,
}

struct Replica {
    lease_ends: Instant,
    stated: Stated,
}

#[derive(Default)]
struct View {
    replicas: HashMap<ReplicaId, Replica>,
    version: u64,
    read: Option<Instant>,
    /// Until then nobody is judged gone.
    hold_until: Option<Instant>,
    /// Until then "nobody" is a guess.
    settles: Option<Instant>,
    /// Since when some live replica states not to be in sync.
    unsynced_since: Option<Instant>,
}

/// The leases of all replicas.
pub(super) struct Replicas {
    me: ReplicaId,
    grace: Duration,
    hold: Duration,
    resync_limit: Duration,
    view: RwLock<View>,
}

impl Replicas {
    pub fn new(me: ReplicaId, settings: &Settings) -> Self {
        Self {
            me,
            grace: settings.grace,
            hold: settings.hold,
            resync_limit: settings.resync_limit,
            view: RwLock::default(),
        }
    }

    /// Takes in a registry asked for at `asked`. Answers whether its version went back.
    pub fn update(&self, registry: &Registry, asked: Instant) -> bool {
        let lease_ends = |ends: u64| {
            let left = i128::from(ends) - i128::from(registry.now);
            let span = Duration::from_millis(left.unsigned_abs().min(u64::MAX.into()) as u64);
            if left >= 0 { asked + span } else { asked.checked_sub(span).unwrap_or(asked) }
        };
        let mut view = self.view.write();
        if view.read.is_some_and(|read| read > asked) {
            return false; // an answer that was overtaken
        }
        let went_back = registry.version < view.version;
        view.version = registry.version;
        view.read = Some(asked);
        let replica = |lease: &crate::directory::Lease| {
            let stated = serde_json::from_str(&lease.info).unwrap_or_default();
            (lease.replica, Replica { lease_ends: lease_ends(lease.ends), stated })
        };
        view.replicas = registry.leases.iter().map(replica).collect();
        let unsynced = view
            .replicas
            .iter()
            .any(|(id, replica)| *id != self.me && replica.lease_ends > asked && !replica.stated.synced);
        view.unsynced_since = if unsynced { view.unsynced_since.or(Some(asked)) } else { None };
        went_back
    }

    /// The store is back: for a while nobody is judged gone. With `emptied`, "nobody" is a guess as
    /// well, since others have not had the time to say that they are there.
    pub fn returned(&self, emptied: bool) {
        let until = Instant::now() + self.hold;
        let mut view = self.view.write();
        view.hold_until = Some(until);
        if emptied {
            view.settles = Some(until);
        }
    }

    /// When the registry was last read.
    pub fn read(&self) -> Option<Instant> {
        self.view.read().read
    }

    /// How `replica` stands now.
    pub fn stands(&self, replica: ReplicaId) -> Stands {
        if replica == self.me {
            return Stands::As(Standing::Live);
        }
        self.stands_in(&self.view.read(), replica)
    }

    fn stands_in(&self, view: &View, replica: ReplicaId) -> Stands {
        let now = Instant::now();
        let held = view.hold_until.is_some_and(|until| now < until);
        match view.replicas.get(&replica) {
            Some(known) if known.lease_ends > now => Stands::As(Standing::Live),
            Some(known) if held || known.lease_ends + self.grace > now => Stands::As(Standing::Suspect),
            None if held || view.read.is_none() => Stands::Unsure,
            Some(_) | None => Stands::Gone,
        }
    }

    /// Whether some of the others have yet to write their claims again (or may have).
    pub fn resyncing(&self) -> bool {
        let now = Instant::now();
        let view = self.view.read();
        view.settles.is_some_and(|until| now < until)
            || view.unsynced_since.is_some_and(|since| now < since + self.resync_limit)
    }

    /// The others, without those that are gone.
    pub fn others(&self) -> Vec<ReplicaInfo> {
        let view = self.view.read();
        let others = view.replicas.iter().filter(|(id, _)| **id != self.me);
        let info = |(id, replica): (&ReplicaId, &Replica)| {
            let Stands::As(standing) = self.stands_in(&view, *id) else { return None };
            Some(ReplicaInfo {
                replica: id.to_string(),
                name: replica.stated.name.clone(),
                build: replica.stated.build.clone(),
                started: replica.stated.started,
                sessions: replica.stated.sessions,
                synced: replica.stated.synced,
                standing,
                this: false,
            })
        };
        others.filter_map(info).collect()
    }

    /// Sessions of the other live replicas at `instance`, as they last stated.
    pub fn sessions_at(&self, instance: &InstanceName) -> usize {
        let now = Instant::now();
        let view = self.view.read();
        let live = view.replicas.iter().filter(|(id, replica)| **id != self.me && replica.lease_ends > now);
        live.filter_map(|(_, replica)| replica.stated.instances.get(instance.as_str())).sum()
    }
}
