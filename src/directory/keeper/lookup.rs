//! Who owns a device: own sessions, then the cache, then the store, within the budget.

use std::sync::Arc;

use tokio::time::{Instant, timeout};

use super::Keeper;
use super::replicas::Stands;
use super::seen::Found;
use crate::directory::{Answer, DirectoryError, Standing};
use crate::model::{Claim, DeviceId, ReplicaId};
use crate::sessions::{CloseReason, Session};
use crate::telemetry::{LookupOutcome, LookupSource};

/// A registry younger than this is not read again for the sake of one unknown replica.
const REGISTRY_AGE: std::time::Duration = std::time::Duration::from_millis(250);

impl Keeper {
    pub(super) async fn owner_cached(&self, device: DeviceId) -> Answer {
        if let Some(session) = self.listed(device) {
            return self.counted(LookupSource::Own, self.own(&session));
        }
        match self.seen.fresh(device) {
            Some(None) if !self.resyncing() => return self.counted(LookupSource::Cache, Answer::Nobody),
            Some(Some(claim)) => {
                if let Stands::As(standing) = self.stands(device, &claim) {
                    let answer = Answer::Owned { claim: (*claim).clone(), standing };
                    return self.counted(LookupSource::Cache, answer);
                }
            }
            _ => {}
        }
        let answer = self.within_budget(device, self.seen.share(device, self.ask(device))).await;
        self.counted(LookupSource::Directory, answer)
    }

    pub(super) async fn owner_fresh(&self, device: DeviceId) -> Answer {
        let answer = self.within_budget(device, self.ask(device)).await;
        self.counted(LookupSource::Directory, answer)
    }

    async fn within_budget(&self, device: DeviceId, found: impl Future<Output = Found>) -> Answer {
        let began = Instant::now();
        let judged = async { self.judge(device, found.await).await };
        let answer = timeout(self.settings.budget, judged).await;
        self.metrics.lookup_seconds.record(began.elapsed().as_secs_f64());
        answer.unwrap_or_else(|_| self.unreachable(device))
    }

    /// Asks the store, and remembers what it said.
    async fn ask(&self, device: DeviceId) -> Found {
        let asked = Instant::now();
        let found = self.store.owner(device).await.map(|claim| claim.map(Arc::new));
        match &found {
            Ok(claim) => self.seen.saw(device, claim.clone(), asked),
            Err(DirectoryError::Lost) => self.wake.beat.notify_one(), // the beat sees what is lost
            Err(_) => self.metrics.directory_errors.increment(1),
        }
        found
    }

    /// What a record, or its absence, means.
    async fn judge(&self, device: DeviceId, found: Found) -> Answer {
        let record = match found {
            Ok(record) => record,
            Err(DirectoryError::Lost) => None,
            Err(_) => return self.unreachable(device),
        };
        if let Some(claim) = record {
            self.read_registry_for(claim.key.replica).await;
            match self.stands(device, &claim) {
                Stands::As(standing) => return Answer::Owned { claim: (*claim).clone(), standing },
                Stands::Unsure => {
                    return Answer::Owned { claim: (*claim).clone(), standing: Standing::Suspect };
                }
                Stands::Gone => {}
            }
        }
        match self.listed(device) {
            Some(session) => self.own(&session), // the directory has lost it; we have not
            None if self.resyncing() || !self.store_confirmed() => Answer::Resyncing,
            None => Answer::Nobody,
        }
    }

    /// How the session of `claim` stands: of our own sessions we know better than any lease.
    fn stands(&self, device: DeviceId, claim: &Claim) -> Stands {
        if claim.key.replica != self.replica {
            return self.replicas.stands(claim.key.replica);
        }
        let ours = self.sessions.get(device);
        match ours.is_some_and(|session| session.id == claim.key.session) {
            true => Stands::As(Standing::Live),
            false => Stands::Gone,
        }
    }

    /// A replica that is not known may have started since the last beat.
    async fn read_registry_for(&self, replica: ReplicaId) {
        let recent = self.replicas.read().is_some_and(|read| read.elapsed() < REGISTRY_AGE);
        if recent || matches!(self.replicas.stands(replica), Stands::As(_)) {
            return;
        }
        let asked = Instant::now();
        if let Ok(registry) = self.store.registry().await {
            self.replicas.update(&registry, asked);
        }
    }

    /// Our session of `device`, unless it is about to end because a newer one is proven elsewhere.
    fn listed(&self, device: DeviceId) -> Option<Arc<Session>> {
        let superseded = |session: &Arc<Session>| session.closing() == Some(CloseReason::Superseded);
        self.sessions.get(device).filter(|session| !superseded(session))
    }

    fn own(&self, session: &Session) -> Answer {
        let instance = session.instance.clone();
        match session.epoch() {
            Some(epoch) => Answer::Owned {
                claim: Claim { epoch, key: self.key(session), instance },
                standing: Standing::Live,
            },
            None => Answer::Pending { session: session.id, instance },
        }
    }

    fn unreachable(&self, device: DeviceId) -> Answer {
        match self.listed(device) {
            Some(session) => self.own(&session),
            None => Answer::Unreachable { stale: self.seen.stale(device) },
        }
    }

    fn counted(&self, source: LookupSource, answer: Answer) -> Answer {
        let outcome = match &answer {
            Answer::Owned { .. } | Answer::Pending { .. } => LookupOutcome::Owned,
            Answer::Nobody => LookupOutcome::Nobody,
            Answer::Resyncing => LookupOutcome::Resyncing,
            Answer::Unreachable { .. } => LookupOutcome::Unreachable,
        };
        self.metrics.lookups.of((source, outcome)).increment(1);
        answer
    }
}
