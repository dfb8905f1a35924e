//! The loops of a keeper: beat, notices, debts, re-publish, anti-entropy, and the end of all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Keeper;
use super::claims::BATCH;
use crate::directory::{Beat, DirectoryError, Notice};
use crate::lifecycle::Drain;
use crate::model::DeviceId;
use crate::sessions::{Session, Sessions};

/// How often debts are tried again while there are some.
const RETRY: Duration = Duration::from_millis(500);
/// After notices were lost all sessions are asserted within about this: well inside the 40 s in which
/// the older of two sessions must have ended.
const REASSERTED: Duration = Duration::from_secs(15);
/// Steps in which one part of the table is asserted again.
const STEPS: u32 = 32;

/// What the beat remembers.
#[derive(Default)]
struct Pulse {
    failing: bool,
}

impl Keeper {
    /// Beats once, then starts the tasks.
    pub(super) async fn start(self: &Arc<Self>, drain: &Drain) {
        let notices = self.store.notices(self.replica);
        let mut pulse = Pulse::default();
        self.beat(&mut pulse).await;
        let run = |task: fn(Arc<Self>) -> futures_util::future::BoxFuture<'static, ()>| {
            let (task, halt) = (task(Arc::clone(self)), self.halt.clone());
            drain.spawn(async move { halt.run_until_cancelled(task).await });
        };
        run(|keeper| Box::pin(async move { keeper.mend_for_ever().await }));
        run(|keeper| Box::pin(async move { keeper.republish_when_lost().await }));
        run(|keeper| Box::pin(async move { keeper.assert_for_ever().await }));
        run(|keeper| Box::pin(async move { keeper.reassert_when_told().await }));
        let (keeper, halt) = (Arc::clone(self), self.halt.clone());
        drain.spawn(async move { halt.run_until_cancelled(keeper.beat_for_ever(pulse)).await });
        let (keeper, halt) = (Arc::clone(self), self.halt.clone());
        drain.spawn(async move { halt.run_until_cancelled(keeper.hear(notices)).await });
    }

    async fn beat_for_ever(&self, mut pulse: Pulse) {
        loop {
            let jitter = rand::random_range(0.9..1.1);
            tokio::select! {
                () = sleep(self.settings.beat.mul_f64(jitter)) => {}
                () = self.wake.beat.notified() => {}
            }
            self.beat(&mut pulse).await;
        }
    }

    async fn beat(&self, pulse: &mut Pulse) {
        let stated = self.stated();
        let beat = Beat {
            replica: self.replica,
            lease: self.settings.lease,
            grace: self.settings.grace,
            info: serde_json::to_string(&stated).expect("texts and numbers are JSON"),
        };
        let asked = Instant::now();
        let beaten = self.store.beat(&beat).await;
        self.metrics.breaker_open.set(if self.store.reachable() { 0.0 } else { 1.0 });
        self.metrics.claims_pending.set(self.owed.pending() as f64);
        let beaten = match beaten {
            Ok(beaten) => beaten,
            Err(error) => {
                self.metrics.directory_errors.increment(1);
                self.refusing.store(matches!(error, DirectoryError::Refused(_)), Ordering::Release);
                if !pulse.failing {
                    warn!(%error, "directory away: sessions go on, claims wait");
                }
                pulse.failing = true;
                return;
            }
        };
        self.refusing.store(false, Ordering::Release);
        let lost = self.replicas.beaten(&beaten, asked, pulse.failing);
        if lost {
            self.losses.fetch_add(1, Ordering::AcqRel);
        }
        // From here on "no record" is believed again, so all the above comes first.
        self.store.adopt(&beaten.registry.data);
        *self.confirmed.lock() = Some((asked, beaten.registry.now));
        if self.store.overflowed(self.replica) {
            self.wake.reassert.notify_one();
        }
        if pulse.failing {
            info!(lost, "directory back");
        }
        if lost {
            self.lost().await; // first, since it looks at the schema: nobody may write under another
        }
        if pulse.failing || lost {
            self.wake.mend.notify_one();
        }
        pulse.failing = false;
    }

    /// The directory lost data: everything of ours is written again.
    async fn lost(&self) {
        warn!(sessions = self.sessions.len(), "the directory lost data: claims are written again");
        self.metrics.lost_data.increment(1);
        if let Err(error) = self.store.check_schema().await {
            warn!(%error, "schema"); // checked again at the next loss or connect
        }
        self.wake.republish.notify_one();
        self.wake.beat.notify_one(); // the others shall know that we are not in sync
    }

    async fn republish_when_lost(&self) {
        loop {
            self.wake.republish.notified().await;
            let losses = self.losses.load(Ordering::Acquire);
            let share = rand::random_range(0.0..1.0);
            sleep(self.settings.republish_spread.mul_f64(share)).await;
            let began = Instant::now();
            let mut written = 0;
            for part in 0..Sessions::PARTS {
                written += self.republish(&self.sessions.part(part)).await;
            }
            info!(written, seconds = began.elapsed().as_secs_f64(), "claims written again");
            self.written.store(losses, Ordering::Release); // lost again meanwhile: another round is on its way
            self.wake.beat.notify_one();
        }
    }

    async fn republish(&self, sessions: &[Arc<Session>]) -> usize {
        let mut written = 0;
        for batch in sessions.chunks(BATCH) {
            let turn = Duration::from_secs(1)
                .mul_f64(batch.len() as f64 / self.settings.republish_rate.max(1) as f64);
            let next = Instant::now() + turn;
            written += loop {
                match self.assert(batch).await {
                    Ok(stand) => break stand,
                    Err(_) => sleep(RETRY).await,
                }
            };
            tokio::time::sleep_until(next).await;
        }
        self.metrics.republished.increment(written as u64);
        written
    }

    /// Pays what is owed, as soon as there is something and the store answers.
    async fn mend_for_ever(&self) {
        loop {
            let paid = self.mend().await;
            self.metrics.claims_pending.set(self.owed.pending() as f64);
            let pause = if paid.is_ok_and(|all| all) { self.settings.beat } else { RETRY };
            let _ = tokio::time::timeout(pause, self.wake.mend.notified()).await;
        }
    }

    /// One round of releases and claims; answers whether nothing is owed any more.
    async fn mend(&self) -> Result<bool, DirectoryError> {
        loop {
            let releases = self.owed.releases(BATCH);
            if releases.is_empty() {
                break;
            }
            let released = self.store.release_many(&releases).await?;
            self.owed.released(&releases);
            // A displaced session's claim may have come in last: its record was that of the newer one.
            for ((device, key), _) in releases.iter().zip(released).filter(|(_, released)| *released) {
                if let Some(newer) = self.sessions.get(*device).filter(|newer| newer.id != key.session) {
                    self.owed.claim(*device, newer.id);
                }
            }
        }
        let owed = self.owed.claims(BATCH);
        let (mut sessions, all) = (Vec::with_capacity(owed.len()), owed.len());
        for (device, id) in owed {
            match self.sessions.get(device).filter(|session| session.id == id) {
                Some(session) => sessions.push(session),
                None => drop(self.owed.settled(device, id)), // it is over
            }
        }
        self.assert(&sessions).await?;
        if all == BATCH {
            self.wake.mend.notify_one();
        }
        Ok(self.owed.pending() == 0)
    }

    /// Asserts every record once in `assert_every`, evenly spread.
    async fn assert_for_ever(&self) {
        let step = self.settings.assert_every / (Sessions::PARTS as u32 * STEPS);
        for part in (0..Sessions::PARTS).cycle() {
            let sessions = self.sessions.part(part);
            let each = sessions.len().div_ceil(STEPS as usize).max(1);
            let mut batches = sessions.chunks(each);
            for _ in 0..STEPS {
                sleep(step).await;
                let batch = batches.next().unwrap_or_default();
                self.assert_or_owe(batch).await;
            }
        }
    }

    /// Asserts every record soon: somebody may have displaced sessions of ours, and we were not told.
    async fn reassert_when_told(&self) {
        loop {
            self.wake.reassert.notified().await;
            for part in 0..Sessions::PARTS {
                sleep(REASSERTED / Sessions::PARTS as u32).await;
                self.assert_or_owe(&self.sessions.part(part)).await;
            }
        }
    }

    async fn assert_or_owe(&self, sessions: &[Arc<Session>]) {
        for batch in sessions.chunks(BATCH) {
            if self.assert(batch).await.is_err() {
                batch.iter().for_each(|session| self.owed.claim(session.device, session.id));
            }
        }
    }

    async fn hear(&self, mut notices: mpsc::Receiver<Notice>) {
        while let Some(notice) = notices.recv().await {
            match notice {
                Notice::Superseded { device, session } => {
                    if let Some(ours) = self.sessions.get(device).filter(|ours| ours.id == session) {
                        self.supersede(&ours);
                    }
                }
                Notice::Resubscribed => self.wake.reassert.notify_one(),
                Notice::Connected { failover } => {
                    if failover {
                        self.replay().await;
                    }
                    self.wake.beat.notify_one();
                    self.wake.mend.notify_one();
                }
            }
        }
    }

    /// After a failover: what was acknowledged in the last minute may be lost.
    async fn replay(&self) {
        let devices: Vec<DeviceId> = self.owed.replay();
        info!(claims = devices.len(), "directory failed over: the last minute is written again");
        for device in devices {
            if let Some(session) = self.sessions.get(device) {
                self.owed.claim(device, session.id);
            }
        }
    }
}
