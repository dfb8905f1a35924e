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
        answer.unwrap_or_else(|_| {
            // No failure of the connection, and so none for the store's breaker: each command has a limit
            // of its own below the budget. What ends here are several, each answered, if slowly.
            self.metrics.directory_errors.increment(1);
            self.unanswered(device, &DirectoryError::Timeout)
        })
    }

    /// Asks the store, and remembers what it said.
    async fn ask(&self, device: DeviceId) -> Found {
        let asked = Instant::now();
        let found = self.store.owner(device).await.map(|claim| claim.map(Arc::new));
        if let (Ok(record), Some(ours)) = (&found, self.listed(device))
            && record.as_ref().is_none_or(|record| record.key != self.key(&ours))
        {
            // Nobody told us, or our claim was lost: the answer to another settles which.
            self.owed.claim(device, ours.id);
            self.wake.mend.notify_one();
        }
        match &found {
            Ok(None) if self.guesses() => {} // what was seen before is worth more
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
            Err(error) => return self.unanswered(device, &error),
        };
        if let Some(claim) = record {
            match self.stands_now(device, &claim).await {
                Stands::As(standing) => return Answer::Owned { claim: (*claim).clone(), standing },
                Stands::Unsure => {
                    return Answer::Owned { claim: (*claim).clone(), standing: Standing::Suspect };
                }
                Stands::Gone => {}
            }
        }
        match self.listed(device) {
            Some(session) => self.own(&session), // the directory has lost it; we have not
            None if self.guesses() => Answer::Resyncing { stale: self.seen.stale(device) },
            None => Answer::Nobody,
        }
    }

    /// Whether "no record" says nothing.
    fn guesses(&self) -> bool {
        self.resyncing() || !self.store_confirmed()
    }

    /// How the session of `claim` stands: of our own sessions we know better than any lease.
    pub(super) fn stands(&self, device: DeviceId, claim: &Claim) -> Stands {
        if claim.key.replica != self.replica {
            return self.replicas.stands(claim.key.replica);
        }
        let ours = self.listed(device);
        match ours.is_some_and(|session| session.id == claim.key.session) {
            true => Stands::As(Standing::Live),
            false => Stands::Gone,
        }
    }

    /// The same, with nobody judged gone before the registry was read on its account, once a beat.
    async fn stands_now(&self, device: DeviceId, claim: &Claim) -> Stands {
        match self.stands(device, claim) {
            live @ Stands::As(_) => live,
            Stands::Gone if claim.key.replica == self.replica => Stands::Gone,
            Stands::Gone if self.replicas.is_missed(claim.key.replica) => Stands::Gone,
            Stands::Gone | Stands::Unsure => {
                let judged = self.judged(claim.key.replica).await;
                if judged == Stands::Gone {
                    self.replicas.missed(claim.key.replica);
                }
                judged
            }
        }
    }

    /// How `replica` stands, by a registry read from now on unless it is known to live: it may have
    /// started, or come back, since the last beat.
    pub(super) async fn judged(&self, replica: ReplicaId) -> Stands {
        let known = self.replicas.stands(replica);
        if matches!(known, Stands::As(_)) {
            return known;
        }
        if !self.store_confirmed() {
            return Stands::Unsure;
        }
        let wanted = Instant::now();
        let _reading = self.reading.lock().await;
        if !self.replicas.read_since(wanted) {
            let asked = Instant::now();
            match self.store.registry().await {
                Ok(registry) if self.replicas.read(&registry, asked) => {}
                Ok(_) => {
                    self.wake.beat.notify_one(); // which sees what is lost
                    return Stands::Unsure;
                }
                Err(_) => return Stands::Unsure,
            }
        }
        self.replicas.stands(replica)
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

    /// No answer, or none to believe: our own session if there is one.
    fn unanswered(&self, device: DeviceId, error: &DirectoryError) -> Answer {
        match self.listed(device) {
            Some(session) => self.own(&session),
            None if matches!(error, DirectoryError::Lost) => {
                Answer::Resyncing { stale: self.seen.stale(device) }
            }
            None => Answer::Unreachable { stale: self.seen.stale(device) },
        }
    }

    fn counted(&self, source: LookupSource, answer: Answer) -> Answer {
        let outcome = match &answer {
            Answer::Owned { .. } | Answer::Pending { .. } => LookupOutcome::Owned,
            Answer::Nobody => LookupOutcome::Nobody,
            Answer::Resyncing { .. } => LookupOutcome::Resyncing,
            Answer::Unreachable { .. } => LookupOutcome::Unreachable,
        };
        self.metrics.lookups.of((source, outcome)).increment(1);
        answer
    }
}
