//! The directory of a single replica, and the model that the Redis scripts are tested against.

mod model;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::store::{
    Beat, Beaten, Claiming, Directory, DirectoryError, Lookup, Notice, Outcome, Page, Registry, SCHEMA,
};
use crate::model::{Claim, DeviceId, ReplicaId, SessionKey};

pub use model::Model;

#[cfg(test)]
mod tests;

/// Notices that may wait for one listener.
const NOTICES: usize = 1024;
/// Records looked at by each heartbeat for litter: 5,000 records a second.
const SWEPT: usize = 10_000;

/// Microseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A directory in this process: for a single replica, for tests, and shared by several gateways of
/// one process (demo).
pub struct Memory {
    state: Mutex<State>,
    clock: Clock,
}

#[derive(Default)]
struct State {
    model: Model,
    listeners: HashMap<ReplicaId, mpsc::Sender<Notice>>,
    away: bool,
}

impl Default for Memory {
    /// An empty directory on the wall clock (as of now, moved on by tokio's clock).
    fn default() -> Self {
        let (began, wall) = (Instant::now(), SystemTime::now());
        Self::with_clock(Arc::new(move || {
            let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + began.elapsed();
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        }))
    }
}

impl Memory {
    /// An empty directory whose time is `clock`.
    pub fn with_clock(clock: Clock) -> Self {
        Self { state: Mutex::default(), clock }
    }

    /// Looks at, or changes, the model itself.
    pub fn model<T>(&self, see: impl FnOnce(&mut Model) -> T) -> T {
        see(&mut self.state.lock().model)
    }

    /// Whether it answers: `false` makes every call fail as if nobody were there.
    pub fn set_away(&self, away: bool) {
        let mut state = self.state.lock();
        let back = state.away && !away;
        state.away = away;
        if back {
            for listener in state.listeners.values() {
                let _ = listener.try_send(Notice::Connected { failover: false });
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State, u64) -> T) -> Result<T, DirectoryError> {
        let mut state = self.state.lock();
        if state.away {
            return Err(DirectoryError::Unreachable("memory: set away".to_owned()));
        }
        Ok(act(&mut state, (self.clock)()))
    }
}

impl State {
    fn claim(&mut self, claiming: &Claiming, now: u64) -> Outcome {
        let (outcome, told) = self.model.claim(claiming, now);
        if let Some((replica, notice)) = told
            && let Some(listener) = self.listeners.get(&replica)
        {
            let _ = listener.try_send(notice); // full: asserting again repairs it
        }
        outcome
    }
}

#[async_trait]
impl Lookup for Memory {
    async fn owner(&self, device: DeviceId) -> Result<Option<Claim>, DirectoryError> {
        self.with(|state, now| state.model.record(device, now))
    }
}

#[async_trait]
impl Directory for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn reachable(&self) -> bool {
        !self.state.lock().away
    }

    async fn check_schema(&self) -> Result<(), DirectoryError> {
        self.with(|state, _| match state.model.schema() {
            SCHEMA => Ok(()),
            other => Err(DirectoryError::Schema(other.to_owned())),
        })?
    }

    async fn claim(&self, claiming: &Claiming) -> Result<Outcome, DirectoryError> {
        self.with(|state, now| state.claim(claiming, now))
    }

    async fn claim_many(&self, claimings: &[Claiming]) -> Result<Vec<Outcome>, DirectoryError> {
        self.with(|state, now| claimings.iter().map(|claiming| state.claim(claiming, now)).collect())
    }

    async fn release_many(&self, claims: &[(DeviceId, SessionKey)]) -> Result<Vec<bool>, DirectoryError> {
        self.with(|state, now| {
            claims.iter().map(|(device, key)| state.model.release(*device, *key, now)).collect()
        })
    }

    async fn owners(&self, devices: &[DeviceId]) -> Result<Vec<Option<Claim>>, DirectoryError> {
        self.with(|state, now| devices.iter().map(|device| state.model.record(*device, now)).collect())
    }

    async fn scan(&self, cursor: Option<&str>, keys: usize) -> Result<Page, DirectoryError> {
        let after = cursor.map(str::parse).transpose().map_err(|_| DirectoryError::Cursor)?;
        self.with(|state, now| state.model.scan(after, keys, now))
    }

    async fn beat(&self, beat: &Beat) -> Result<Beaten, DirectoryError> {
        self.with(|state, now| {
            let was_known = state.model.beat(beat, now);
            state.model.sweep(SWEPT, now);
            Beaten { was_known, registry: state.model.registry(now) }
        })
    }

    async fn leave(&self, replica: ReplicaId) -> Result<(), DirectoryError> {
        self.with(|state, now| state.model.leave(replica, now))
    }

    async fn registry(&self) -> Result<Registry, DirectoryError> {
        self.with(|state, now| state.model.registry(now))
    }

    fn notices(&self, replica: ReplicaId) -> mpsc::Receiver<Notice> {
        let (tell, listen) = mpsc::channel(NOTICES);
        let mut state = self.state.lock();
        let _ = tell.try_send(Notice::Connected { failover: false });
        state.listeners.insert(replica, tell);
        listen
    }
}
