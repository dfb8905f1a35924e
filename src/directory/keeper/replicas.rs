//! Who else is there: the leases of all replicas, as the last heartbeat told, on our own clock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::directory::{Beaten, Lease, Registry, ReplicaInfo, Settings, Standing};
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
    /// The data as of which it says so: nobody is in sync with data it has not seen yet. Empty: unsaid.
    pub data: String,
    /// Sessions by instance.
    pub instances: BTreeMap<String, usize>,
}

/// How a replica stands, including not at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stands {
    As(Standing),
    /// Its lease is over for longer than the grace, or was ended.
    Gone,
    /// Not in the registry as far as we know it; too early to say that it is gone.
    Unsure,
}

struct Replica {
    lease_ends: Instant,
    stated: Stated,
}

impl Replica {
    fn in_sync(&self, data: &str) -> bool {
        self.stated.synced && (self.stated.data.is_empty() || self.stated.data == data)
    }
}

#[derive(Default)]
struct View {
    replicas: HashMap<ReplicaId, Replica>,
    /// What the data is called, and the registry's version, as the last beat told.
    data: Option<String>,
    version: u64,
    read: Option<Instant>,
    /// When the last beat of ours that succeeded was sent. Reading alone does not count: a store that
    /// takes no beats lets every lease run out.
    beaten: Option<Instant>,
    /// Not known even to a registry read on their account, since the last beat.
    missed: HashSet<ReplicaId>,
    /// Until then nobody is judged gone.
    hold_until: Option<Instant>,
    /// Until then "nobody" is a guess.
    settles: Option<Instant>,
    /// Who was there before the last loss of data and has not written its claims again.
    awaited: HashSet<ReplicaId>,
    /// Since when some of the others have yet to write their claims again.
    resync_since: Option<Instant>,
}

/// The leases of all replicas.
pub(super) struct Replicas {
    me: ReplicaId,
    lease: Duration,
    grace: Duration,
    hold: Duration,
    resync_limit: Duration,
    /// The store can lose its data.
    can_lose: bool,
    view: RwLock<View>,
}

impl Replicas {
    pub fn new(me: ReplicaId, settings: &Settings, can_lose: bool) -> Self {
        Self {
            me,
            lease: settings.lease,
            grace: settings.grace,
            hold: settings.hold,
            resync_limit: settings.resync_limit,
            can_lose,
            view: RwLock::default(),
        }
    }

    /// Takes in what a beat sent at `asked` brought; `failing`: the one before failed. Answers whether
    /// data was lost since the last. All at once, so that no look-up sees the one and not the other.
    pub fn beaten(&self, beaten: &Beaten, asked: Instant, failing: bool) -> bool {
        let (registry, now) = (&beaten.registry, Instant::now());
        let mut view = self.view.write();
        let went_back = registry.version < view.version;
        let lost = match &view.data {
            Some(data) => !beaten.was_known || went_back || *data != registry.data,
            None => false,
        };
        // What we see first may have lost its data a moment ago, unless it can lose none.
        let emptied = lost || (view.data.is_none() && self.can_lose);
        let paused = view.beaten.is_some_and(|last| asked > last + self.lease);
        if failing || paused || emptied {
            view.hold_until = Some(now + self.hold);
        }
        if emptied {
            view.settles = Some(now + self.hold);
        }
        if lost {
            view.awaited = view.replicas.keys().copied().filter(|id| *id != self.me).collect();
            view.resync_since = Some(asked);
        }
        view.data = Some(registry.data.clone());
        view.version = registry.version;
        view.beaten = Some(asked);
        view.missed.clear();
        if lost || view.read.is_none_or(|read| read <= asked) {
            self.take(&mut view, registry, asked);
        }
        lost
    }

    /// Takes in a registry that was only read, at `asked`; not one that has lost data: that is for the
    /// next beat to find. Answers whether what is known now is as of `asked` or later.
    pub fn read(&self, registry: &Registry, asked: Instant) -> bool {
        let mut view = self.view.write();
        let ours = registry.leases.iter().any(|lease| lease.replica == self.me);
        if !ours || registry.version < view.version || view.data.as_ref() != Some(&registry.data) {
            return false;
        }
        if view.read.is_none_or(|read| read <= asked) {
            self.take(&mut view, registry, asked);
        }
        true
    }

    fn take(&self, view: &mut View, registry: &Registry, asked: Instant) {
        let lease_ends = |ends: u64| {
            let left = i128::from(ends) - i128::from(registry.now);
            let span = Duration::from_millis(left.unsigned_abs().min(u64::MAX.into()) as u64);
            if left >= 0 { asked + span } else { asked.checked_sub(span).unwrap_or(asked) }
        };
        let replica = |lease: &Lease| {
            let stated = serde_json::from_str(&lease.info).unwrap_or_default();
            (lease.replica, Replica { lease_ends: lease_ends(lease.ends), stated })
        };
        let replicas = registry.leases.iter().map(replica).collect();
        let before = std::mem::replace(&mut view.replicas, replicas);
        let data = &registry.data;
        if view.resync_since.is_some_and(|since| asked > since + self.resync_limit) {
            view.awaited.clear();
        }
        view.awaited.retain(|id| view.replicas.get(id).is_none_or(|there| !there.in_sync(data)));
        // Who was there before the loss and has not come back yet stands as it stood.
        let kept = before.into_iter().filter(|(id, _)| view.awaited.contains(id));
        for (id, replica) in kept {
            view.replicas.entry(id).or_insert(replica);
        }
        let mut others =
            view.replicas.iter().filter(|(id, there)| **id != self.me && there.lease_ends > asked);
        let resyncs = !view.awaited.is_empty() || others.any(|(_, there)| !there.in_sync(data));
        view.resync_since = if resyncs { view.resync_since.or(Some(asked)) } else { None };
        view.read = Some(asked);
    }

    /// Whether the registry was read after `since`.
    pub fn read_since(&self, since: Instant) -> bool {
        self.view.read().read.is_some_and(|read| read > since)
    }

    /// What the data was called at the last beat; `None` before the first.
    pub fn data(&self) -> Option<String> {
        self.view.read().data.clone()
    }

    /// A registry was read on account of `replica`, which is gone.
    pub fn missed(&self, replica: ReplicaId) {
        self.view.write().missed.insert(replica);
    }

    /// Whether that was so since the last beat.
    pub fn is_missed(&self, replica: ReplicaId) -> bool {
        self.view.read().missed.contains(&replica)
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
        // While our own beats fail, others' may as well, without any of them being gone.
        let unconfirmed = view.beaten.is_none_or(|beaten| now > beaten + self.lease);
        let held = unconfirmed || view.hold_until.is_some_and(|until| now < until);
        match view.replicas.get(&replica) {
            Some(known) if known.lease_ends > now => Stands::As(Standing::Live),
            Some(known) if held || known.lease_ends + self.grace > now => Stands::As(Standing::Suspect),
            None if held => Stands::Unsure,
            Some(_) | None => Stands::Gone,
        }
    }

    /// Whether some of the others have yet to write their claims again (or may have).
    pub fn resyncing(&self) -> bool {
        let now = Instant::now();
        let view = self.view.read();
        view.settles.is_some_and(|until| now < until)
            || view.resync_since.is_some_and(|since| now < since + self.resync_limit)
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
