//! What a replica does with a directory.
//!
//! Public calls are here; `claims` settles claims, `lookup` answers who owns a device, `tasks` are
//! the loops that keep both true. A fault of the store never ends a session: what could not be
//! written stays owed ([`owed::Owed`]), and what was lost is written again.

mod claims;
mod lookup;
mod owed;
mod replicas;
mod seen;
mod tasks;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::memory::Memory;
use super::{
    Answer, Claimed, Directory, DirectoryError, Freshness, OpenError, ReplicaInfo, Settings, Standing, Status,
};
use crate::lifecycle::Drain;
use crate::model::{Claim, DeviceId, Epoch, InstanceName, ReplicaId, SessionKey};
use crate::sessions::{Session, Sessions};
use crate::telemetry::{Metrics, build};
use owed::Owed;
use replicas::{Replicas, Stated};
use seen::Seen;

/// Keys looked at by one call of [`Keeper::devices`].
const LOOKED_AT: usize = 10_000;

/// What a replica does with its directory: keeps its claims true and answers who owns a device.
pub struct Keeper {
    replica: ReplicaId,
    /// Seconds since 1970.
    started: u64,
    settings: Settings,
    store: Arc<dyn Directory>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    replicas: Replicas,
    seen: Seen,
    owed: Owed,
    /// The last beat was refused, by a store that can be reached: it takes no writes.
    refusing: AtomicBool,
    /// When the last beat that succeeded was sent, and what time it was then by the store's clock (ms).
    confirmed: Mutex<Option<(Instant, u64)>>,
    wake: Wake,
    left: AtomicBool,
    /// How often data was lost ..
    losses: AtomicU64,
    /// .. and after which loss our claims were last all written again.
    written: AtomicU64,
    /// One reads the registry for all who want it read.
    reading: tokio::sync::Mutex<()>,
    /// Ends the tasks.
    halt: CancellationToken,
    /// Ends the connections, after the last command.
    stop: CancellationToken,
}

/// What the tasks wait for.
#[derive(Default)]
struct Wake {
    beat: Notify,
    mend: Notify,
    republish: Notify,
    reassert: Notify,
}

/// A claim under way: owed if it is given up before it is settled.
struct Unsettled<'a> {
    keeper: &'a Keeper,
    session: &'a Session,
    owed: bool,
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if self.owed {
            self.keeper.owed.claim(self.session.device, self.session.id);
            self.keeper.wake.mend.notify_one();
        }
    }
}

impl Keeper {
    /// Opens the directory that `settings.url` names and starts the tasks that keep it (beat,
    /// re-publish, notices). They end, and the lease with them, when [`Keeper::leave`] is called,
    /// and not before: `drain` only counts them.
    pub async fn open(
        settings: Settings,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
        drain: Drain,
    ) -> Result<Arc<Self>, OpenError> {
        let stop = CancellationToken::new();
        let store = open_store(&settings, &drain, &stop).await?;
        Self::with_parts(settings, store, sessions, metrics, drain, stop).await
    }

    /// Like [`Keeper::open`], over a store that is already there: several gateways in one process
    /// share a [`Memory`].
    pub async fn with_store(
        settings: Settings,
        store: Arc<dyn Directory>,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
        drain: Drain,
    ) -> Result<Arc<Self>, OpenError> {
        Self::with_parts(settings, store, sessions, metrics, drain, CancellationToken::new()).await
    }

    async fn with_parts(
        settings: Settings,
        store: Arc<dyn Directory>,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
        drain: Drain,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, OpenError> {
        match store.check_schema().await {
            Err(DirectoryError::Schema(version)) => {
                stop.cancel();
                return Err(OpenError::Schema(version));
            }
            Err(error) => warn!(%error, "directory away at start: claims will follow"),
            Ok(()) => {}
        }
        let replica = ReplicaId::new(rand::random());
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let keeper = Arc::new(Self {
            replica,
            started: started.as_secs(),
            replicas: Replicas::new(replica, &settings, store.kind() != "memory"),
            seen: Seen::new(&settings),
            owed: Owed::default(),
            refusing: AtomicBool::new(false),
            confirmed: Mutex::default(),
            wake: Wake::default(),
            left: AtomicBool::new(false),
            losses: AtomicU64::new(0),
            written: AtomicU64::new(0),
            reading: tokio::sync::Mutex::default(),
            halt: CancellationToken::new(),
            settings,
            store,
            sessions,
            metrics,
            stop,
        });
        keeper.start(&drain).await;
        Ok(keeper)
    }

    /// This replica.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Who owns `device`, within the budget. Safe to cancel.
    pub async fn owner(&self, device: DeviceId, freshness: Freshness) -> Answer {
        match freshness {
            Freshness::Cached => self.owner_cached(device).await,
            Freshness::Fresh => self.owner_fresh(device).await,
        }
    }

    /// Drops what the cache holds about `device`: its instance did not know it.
    pub fn forget(&self, device: DeviceId) {
        self.seen.forget(device);
    }

    /// Claims the device of a session just proven, within the budget; on success the session is
    /// granted its epoch. Call it after [`Sessions::insert`] and before byte 52 is passed on.
    /// Safe to cancel: what was not settled is settled later.
    pub async fn claim(&self, session: &Session) -> Claimed {
        if !self.may_claim(session) {
            return Claimed::Pending;
        }
        let began = Instant::now();
        let mut unsettled = Unsettled { keeper: self, session, owed: true };
        let settled = timeout(self.settings.budget, self.settle(session)).await;
        let claimed = settled.unwrap_or(Claimed::Pending);
        unsettled.owed = claimed == Claimed::Pending;
        drop(unsettled);
        self.metrics.claim_seconds.record(began.elapsed().as_secs_f64());
        self.count(&claimed);
        claimed
    }

    /// Releases exactly this session's claim, now or as soon as the directory answers. Never waits.
    pub fn release(&self, session: &Session) {
        session.release(); // first: a claim of it under way then undoes itself
        let unsettled = self.owed.settled(session.device, session.id);
        self.owed.release(session.device, self.key(session));
        if unsettled {
            // Its claim may still be on its way, by another connection.
            self.owed.release_again(session.device, self.key(session));
        }
        self.seen.forget(session.device);
        self.wake.mend.notify_one();
    }

    /// Ends this replica's lease, last thing of a drain: what records remain die with it. The tasks
    /// end. A second call does nothing.
    pub async fn leave(&self) {
        if self.left.swap(true, Ordering::SeqCst) {
            return;
        }
        self.halt.cancel(); // first: a beat after this would begin another lease
        if let Err(error) = self.store.leave(self.replica).await {
            warn!(%error, lease = ?self.settings.lease, "cannot end the lease: it runs out by itself");
        }
        self.stop.cancel();
    }

    /// How the directory is.
    pub fn status(&self) -> Status {
        Status {
            kind: self.store.kind(),
            reachable: self.store.reachable(),
            takes_writes: !self.refusing.load(Ordering::Acquire),
            synced: !self.resyncing(),
            pending: self.owed.pending(),
        }
    }

    /// All replicas with a lease, this one included.
    pub fn replicas(&self) -> Vec<ReplicaInfo> {
        let stated = self.stated();
        let mut replicas = vec![ReplicaInfo {
            replica: self.replica.to_string(),
            name: stated.name,
            build: stated.build,
            started: stated.started,
            sessions: stated.sessions,
            synced: stated.synced,
            standing: Standing::Live,
            this: true,
        }];
        replicas.extend(self.replicas.others());
        replicas
    }

    /// Proven sessions at `instance` over all live replicas, as they last stated; for placement's cap.
    pub fn sessions_at(&self, instance: &InstanceName) -> usize {
        self.sessions.at(instance) + self.replicas.sessions_at(instance)
    }

    /// A page of devices: by SCAN and MGET, at most 10,000 keys looked at a call. A page may be
    /// short or empty and still have a cursor; a step of the walk cannot be cut, so it may also be
    /// a few longer than `limit`. Devices that stay put come at least once in a walk.
    pub async fn devices(
        &self,
        instance: Option<&InstanceName>,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<(Vec<(DeviceId, Claim)>, Option<String>), DirectoryError> {
        let (mut found, mut looked_at) = (Vec::new(), 0);
        let mut cursor = cursor.map(str::to_owned);
        loop {
            // Most keys pass over a filter, so ask for more of them at once.
            let wanted = (limit.max(1) - found.len()) * if instance.is_some() { 4 } else { 1 };
            let step = self.store.scan(cursor.as_deref(), wanted.clamp(10, 1000)).await?;
            looked_at += step.looked_at.max(1);
            let here = |claim: &Claim| instance.is_none_or(|instance| claim.instance == *instance);
            let lives = |device, claim: &Claim| self.stands(device, claim) != replicas::Stands::Gone;
            found.extend(
                step.records.into_iter().filter(|(device, claim)| here(claim) && lives(*device, claim)),
            );
            cursor = step.next;
            if cursor.is_none() || found.len() >= limit.max(1) || looked_at >= LOOKED_AT {
                return Ok((found, cursor));
            }
        }
    }

    /// The time of `epoch` as wall clock.
    pub fn since(epoch: Epoch) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(epoch.micros())
    }

    fn key(&self, session: &Session) -> SessionKey {
        SessionKey { replica: self.replica, session: session.id }
    }

    /// Whether "nobody" would be a guess: we or others have yet to write claims again.
    fn resyncing(&self) -> bool {
        !self.synced() || self.replicas.resyncing()
    }

    /// Whether our claims were all written since the last loss of data.
    fn synced(&self) -> bool {
        self.written.load(Ordering::Acquire) == self.losses.load(Ordering::Acquire)
    }

    /// Whether a beat has succeeded over the connection that answers look-ups: before, an empty
    /// store and a well one look alike. And not too long ago: a store that takes no beats lets every
    /// lease run out.
    fn store_confirmed(&self) -> bool {
        match self.store.connected_since() {
            Some(since) => self.confirmed.lock().is_some_and(|(confirmed, _)| {
                confirmed >= since && confirmed.elapsed() < self.settings.lease
            }),
            None => true,
        }
    }

    fn stated(&self) -> Stated {
        let instances = self.sessions.by_instance();
        let data = self.replicas.data();
        // Before the first beat nothing was lost, and yet something may be owed.
        let synced = self.synced() && (data.is_some() || self.owed.pending() == 0);
        Stated {
            name: self.settings.replica_name.clone(),
            build: build::describe(),
            started: self.started,
            sessions: self.sessions.len(),
            synced,
            data: data.unwrap_or_default(),
            instances: instances.into_iter().map(|(name, count)| (name.to_string(), count)).collect(),
        }
    }
}

async fn open_store(
    settings: &Settings,
    drain: &Drain,
    stop: &CancellationToken,
) -> Result<Arc<dyn Directory>, OpenError> {
    if settings.url == "memory:" {
        return Ok(Arc::new(Memory::default()));
    }
    open_shared(settings, drain, stop).await
}

#[cfg(feature = "redis")]
async fn open_shared(
    settings: &Settings,
    drain: &Drain,
    stop: &CancellationToken,
) -> Result<Arc<dyn Directory>, OpenError> {
    Ok(Arc::new(super::redis::Redis::open(settings, drain, stop).await?))
}

#[cfg(not(feature = "redis"))]
async fn open_shared(
    settings: &Settings,
    _: &Drain,
    _: &CancellationToken,
) -> Result<Arc<dyn Directory>, OpenError> {
    Err(OpenError::Url(format!("{}: this build knows memory: only", settings.url_for_logs())))
}
