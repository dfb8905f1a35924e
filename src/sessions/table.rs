//! The table of live sessions: sharded, with guards that take their entry out.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::session::{CloseReason, Session};
use super::spliced::Splices;
use crate::model::{DeviceId, InstanceName, SessionId};

const SHARDS: usize = 64;

type Shard = HashMap<DeviceId, Arc<Session>>;

/// The table. Sharded; no lock is held across an await.
pub struct Sessions {
    shards: [Mutex<Shard>; SHARDS],
    /// Picks the shard. Random, since devices choose their identities themselves.
    hash: RandomState,
    /// Sessions in the table by instance, so that nobody walks the table to count.
    at: Mutex<HashMap<InstanceName, usize>>,
    listed: AtomicUsize,
    last_id: AtomicU64,
    spliced: Arc<Splices>,
}

/// Takes the session out of the table when dropped, unless a newer one has taken its place there.
pub struct Listed {
    /// The session.
    pub session: Arc<Session>,
    table: Arc<Sessions>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.table.remove(&self.session);
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hash: RandomState::new(),
            at: Mutex::default(),
            listed: AtomicUsize::new(0),
            last_id: AtomicU64::new(0),
            spliced: Arc::default(),
        }
    }
}

impl Sessions {
    /// How many parts the table has: what [`Sessions::part`] takes.
    pub const PARTS: usize = SHARDS;

    /// The next session number of this replica.
    pub fn next_id(&self) -> SessionId {
        SessionId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Sessions of legacy devices: of them neither device nor proof is known.
    pub const fn spliced(&self) -> &Arc<Splices> {
        &self.spliced
    }

    /// Lists `session`. An older session of the same device here is told to close (superseded) and
    /// is returned.
    pub fn insert(self: &Arc<Self>, session: Session) -> (Listed, Option<Arc<Session>>) {
        let session = Arc::new(session);
        let older = {
            let mut shard = self.shard(session.device).lock();
            let older = shard.insert(session.device, Arc::clone(&session));
            self.counted(&session.instance, older.as_deref().map(|older| &older.instance));
            older
        };
        if let Some(older) = &older {
            older.close(CloseReason::Superseded);
        }
        (Listed { session, table: Arc::clone(self) }, older)
    }

    /// The live session of `device` at this replica.
    pub fn get(&self, device: DeviceId) -> Option<Arc<Session>> {
        self.shard(device).lock().get(&device).cloned()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.listed.load(Ordering::Acquire)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many end at each instance.
    pub fn by_instance(&self) -> Vec<(InstanceName, usize)> {
        self.at.lock().iter().map(|(instance, count)| (instance.clone(), *count)).collect()
    }

    /// How many end at `instance`.
    pub fn at(&self, instance: &InstanceName) -> usize {
        self.at.lock().get(instance).copied().unwrap_or(0)
    }

    /// One part of the table, `index` below [`Sessions::PARTS`]: who walks all parts sees every
    /// session that stood throughout, and no lock for longer than one part.
    pub fn part(&self, index: usize) -> Vec<Arc<Session>> {
        self.shards[index].lock().values().cloned().collect()
    }

    fn shard(&self, device: DeviceId) -> &Mutex<Shard> {
        &self.shards[self.hash.hash_one(device) as usize % SHARDS]
    }

    fn remove(&self, session: &Arc<Session>) {
        let mut shard = self.shard(session.device).lock();
        if shard.get(&session.device).is_some_and(|listed| Arc::ptr_eq(listed, session)) {
            shard.remove(&session.device);
            self.uncounted(&session.instance);
            if shard.capacity() > 64 && shard.len() * 4 < shard.capacity() {
                let room = shard.len() * 2; // give back what a storm needed
                shard.shrink_to(room);
            }
        }
    }

    /// One more at `instance`, in place of one at `instead_of`.
    fn counted(&self, instance: &InstanceName, instead_of: Option<&InstanceName>) {
        *self.at.lock().entry(instance.clone()).or_default() += 1;
        self.listed.fetch_add(1, Ordering::AcqRel);
        if let Some(older) = instead_of {
            self.uncounted(older);
        }
    }

    fn uncounted(&self, instance: &InstanceName) {
        self.listed.fetch_sub(1, Ordering::AcqRel);
        let mut at = self.at.lock();
        if let Some(count) = at.get_mut(instance) {
            *count -= 1;
            if *count == 0 {
                at.remove(instance);
            }
        }
    }
}
