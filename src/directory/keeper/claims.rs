//! Settling claims: what the store's answer means for the session that asked.

use std::sync::Arc;
use std::time::Duration;

use super::Keeper;
use super::replicas::Stands;
use crate::directory::{Claimed, Claiming, DirectoryError, FRESH, Outcome};
use crate::model::{Claim, DeviceId, Epoch};
use crate::sessions::{CloseReason, Session};
use crate::telemetry::ClaimOutcome;

/// Claims in one pipeline.
pub(super) const BATCH: usize = 500;

/// How often a claim is raised above a dead record before it waits.
const ROUNDS: u32 = 3;

/// What is to be done about a refusal.
enum Refusal {
    /// The record's session is gone: its record gives way.
    Gone,
    /// The record's session lives: ours ends.
    Superseded,
    /// Too early to say; ask again later.
    Unsure,
}

impl Keeper {
    /// Claims for one session and settles the answer.
    pub(super) async fn settle(&self, session: &Session) -> Claimed {
        self.settled(session, self.claiming(session)).await.unwrap_or_else(|_| {
            self.metrics.directory_errors.increment(1);
            Claimed::Pending
        })
    }

    async fn settled(&self, session: &Session, claiming: Claiming) -> Result<Claimed, DirectoryError> {
        match self.store.claim(&claiming).await? {
            Outcome::Granted { epoch, .. } => Ok(self.granted(session, epoch)),
            // No store refuses what is young, unless its clock was set forward since the last beat: ask
            // again without it.
            Outcome::Refused(_) if session.proven.elapsed() < FRESH && claiming.proven_at.is_some() => {
                self.wake.beat.notify_one(); // which learns the clock
                let young = Claiming { proven_at: None, age: session.proven.elapsed(), ..claiming };
                match self.store.claim(&young).await? {
                    Outcome::Granted { epoch, .. } => Ok(self.granted(session, epoch)),
                    Outcome::Refused(newer) => self.refused(session, newer).await,
                }
            }
            Outcome::Refused(newer) => self.refused(session, newer).await,
        }
    }

    /// Asserts many sessions at once: written again if absent, closed if a newer one stands.
    /// Answers how many now stand.
    pub(super) async fn assert(&self, sessions: &[Arc<Session>]) -> Result<usize, DirectoryError> {
        let sessions: Vec<_> = sessions.iter().filter(|session| self.may_claim(session)).collect();
        if sessions.is_empty() {
            return Ok(0);
        }
        if self.confirmed.lock().is_none() {
            return Err(DirectoryError::Unreachable("no heartbeat yet".to_owned())); // nor its clock
        }
        let claimings: Vec<_> = sessions.iter().map(|session| self.claiming_again(session)).collect();
        let outcomes = self.store.claim_many(&claimings).await?;
        let mut stand = 0;
        for (session, outcome) in sessions.into_iter().zip(outcomes) {
            let was_pending = session.epoch().is_none() && self.owed.owes(session.device, session.id);
            let claimed = match outcome {
                Outcome::Granted { epoch, .. } => self.granted(session, epoch),
                Outcome::Refused(newer) => self.refused(session, newer).await.unwrap_or_else(|_| {
                    self.owed.claim(session.device, session.id);
                    Claimed::Pending
                }),
            };
            if was_pending && claimed != Claimed::Pending {
                self.count(&claimed);
            }
            stand += usize::from(matches!(claimed, Claimed::Granted(_)));
        }
        Ok(stand)
    }

    /// Counts what became of a claim: at once, and again where that was to be seen later.
    pub(super) fn count(&self, claimed: &Claimed) {
        let outcome = match claimed {
            Claimed::Granted(_) => ClaimOutcome::Granted,
            Claimed::Pending => ClaimOutcome::Pending,
            Claimed::Superseded(_) => ClaimOutcome::Superseded,
        };
        self.metrics.claims.of(outcome).increment(1);
    }

    /// A session told to close is not claimed (again): somebody newer may be there already.
    pub(super) fn may_claim(&self, session: &Session) -> bool {
        !session.released() && session.closing() != Some(CloseReason::Superseded)
    }

    pub(super) fn claiming(&self, session: &Session) -> Claiming {
        Claiming {
            device: session.device,
            key: self.key(session),
            instance: session.instance.clone(),
            epoch: session.epoch(),
            age: session.proven.elapsed(),
            proven_at: self.proven_at(session),
        }
    }

    /// A claim that was made before, granted or not: in order of proof, with no privilege of the young,
    /// since somebody proven later may have been faster.
    fn claiming_again(&self, session: &Session) -> Claiming {
        Claiming { epoch: session.epoch().or_else(|| self.proven_at(session)), ..self.claiming(session) }
    }

    /// When `session` was proven, by the store's clock as of the last beat.
    fn proven_at(&self, session: &Session) -> Option<Epoch> {
        let (asked, then) = (*self.confirmed.lock())?;
        let (then, micros) = (then * 1000, |span: Duration| span.as_micros() as u64);
        let at = match session.proven.checked_duration_since(asked) {
            Some(after) => then + micros(after),
            None => then.saturating_sub(micros(asked - session.proven)),
        };
        Epoch::new(at)
    }

    pub(super) fn granted(&self, session: &Session, epoch: Epoch) -> Claimed {
        session.granted(epoch);
        self.owed.settled(session.device, session.id);
        self.owed.granted(session.device);
        if session.released() {
            // It ended while this claim was under way, perhaps after its release was carried out.
            self.owed.release(session.device, self.key(session));
            self.wake.mend.notify_one();
        }
        if session.closing() == Some(CloseReason::Superseded) {
            self.reclaim(session.device, session);
        }
        Claimed::Granted(epoch)
    }

    /// A claim of a displaced session may have come in after that of the newer one here: the newer
    /// one claims again.
    fn reclaim(&self, device: DeviceId, displaced: &Session) {
        if let Some(newer) = self.sessions.get(device).filter(|newer| newer.id != displaced.id) {
            self.owed.claim(device, newer.id);
            self.wake.mend.notify_one();
        }
    }

    /// A record that refused may be of a session that is gone: then ours is raised just above that
    /// very record, so that whoever claimed meanwhile refuses us in turn, and is judged anew.
    async fn refused(&self, session: &Session, mut newer: Claim) -> Result<Claimed, DirectoryError> {
        for _ in 0..ROUNDS {
            match self.refusal(session, &newer).await {
                Refusal::Unsure => break,
                Refusal::Superseded => {
                    self.owed.settled(session.device, session.id);
                    self.supersede(session);
                    return Ok(Claimed::Superseded(newer));
                }
                Refusal::Gone => {}
            }
            let above = Epoch::new(newer.epoch.micros() + 1);
            match self.store.claim(&Claiming { epoch: above, ..self.claiming(session) }).await? {
                Outcome::Granted { epoch, .. } => return Ok(self.granted(session, epoch)),
                Outcome::Refused(newest) => newer = newest,
            }
        }
        self.owed.claim(session.device, session.id);
        Ok(Claimed::Pending)
    }

    async fn refusal(&self, session: &Session, newer: &Claim) -> Refusal {
        if newer.key.replica == self.replica {
            let listed = self.sessions.get(session.device);
            let stands = listed.is_some_and(|listed| listed.id == newer.key.session);
            return if stands { Refusal::Superseded } else { Refusal::Gone };
        }
        match self.judged(newer.key.replica).await {
            Stands::As(_) => Refusal::Superseded,
            Stands::Gone => Refusal::Gone,
            Stands::Unsure => Refusal::Unsure,
        }
    }

    /// Tells a session that a newer one is proven elsewhere.
    pub(super) fn supersede(&self, session: &Session) {
        if session.closing().is_none() {
            self.metrics.superseded.increment(1);
        }
        session.close(CloseReason::Superseded);
        self.seen.forget(session.device);
    }
}
