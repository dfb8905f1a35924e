//! The scripts' semantics as a pure value: text in, text out, the clock handed in.
//!
//! The Lua scripts are tested against this, stored text included, so nothing here is cleverer than
//! they are.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::directory::record;
use crate::directory::store::{
    Beat, Claiming, FRESH, Lease, Notice, Outcome, Page, RECORD_TTL, Registry, SCHEMA,
};
use crate::model::{Claim, DeviceId, Epoch, ReplicaId, SessionKey};

/// A record's text and when it expires (microseconds).
struct Record {
    text: Box<str>,
    expires: u64,
}

/// A lease's end (milliseconds) and what its replica says of itself.
struct Held {
    ends: u64,
    info: String,
}

/// The whole directory as a value. `now` is microseconds since 1970 everywhere.
#[derive(Default)]
pub struct Model {
    records: BTreeMap<DeviceId, Record>,
    leases: HashMap<ReplicaId, Held>,
    version: u64,
    schema: Option<String>,
    data: Option<String>,
    swept: Option<DeviceId>,
}

/// What a command has to tell to whom.
pub type Told = Option<(ReplicaId, Notice)>;

impl Model {
    /// Claims, restores or asserts; the second value is who must be told that it was displaced.
    pub fn claim(&mut self, claiming: &Claiming, now: u64) -> (Outcome, Told) {
        let stands = self.record(claiming.device, now);
        let stored = stands.as_ref().map_or(0, |claim| claim.epoch.micros());
        let same = stands.as_ref().is_some_and(|claim| claim.key == claiming.key);
        let epoch = if same { Some(stored) } else { raised(claiming, stored, now) };
        let Some(epoch) = epoch.and_then(Epoch::new) else {
            let newer = stands.expect("only a standing claim refuses");
            return (Outcome::Refused(newer), None);
        };
        let claim = Claim { epoch, key: claiming.key, instance: claiming.instance.clone() };
        self.put(claiming.device, &claim.to_string(), now);
        let displaced = stands.filter(|_| !same);
        let told = displaced.as_ref().filter(|older| older.key.replica != claiming.key.replica);
        let told = told.map(|older| {
            let superseded = Notice::Superseded { device: claiming.device, session: older.key.session };
            (older.key.replica, superseded)
        });
        (Outcome::Granted { epoch, displaced }, told)
    }

    /// Ends exactly this claim.
    pub fn release(&mut self, device: DeviceId, key: SessionKey, now: u64) -> bool {
        let ours = self.record(device, now).is_some_and(|claim| claim.key == key);
        if ours {
            self.records.remove(&device);
        }
        ours
    }

    /// The record as a claim; garbage counts as absent.
    pub fn record(&self, device: DeviceId, now: u64) -> Option<Claim> {
        record::parse(self.text(device, now)?)
    }

    /// The record's text, garbage or not.
    pub fn text(&self, device: DeviceId, now: u64) -> Option<&str> {
        self.records.get(&device).filter(|record| record.expires > now).map(|record| &*record.text)
    }

    /// Writes any text, as another program might.
    pub fn put(&mut self, device: DeviceId, text: &str, now: u64) {
        let expires = now + micros(RECORD_TTL);
        self.records.insert(device, Record { text: text.into(), expires });
    }

    /// One step of a walk, in the order of devices.
    pub fn scan(&self, after: Option<DeviceId>, keys: usize, now: u64) -> Page {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let mut page = Page::default();
        let mut walk = self.records.range((from, std::ops::Bound::Unbounded));
        for (device, _) in walk.by_ref().take(keys.max(1)) {
            page.looked_at += 1;
            page.records.extend(self.record(*device, now).map(|claim| (*device, claim)));
            page.next = Some(device.to_string());
        }
        if walk.next().is_none() {
            page.next = None;
        }
        page
    }

    /// Renews a lease, removes those long over; answers whether this one was known.
    pub fn beat(&mut self, beat: &Beat, now: u64) -> bool {
        let now = now / 1000;
        let mut changed = self.remove_gone(now, beat.grace);
        self.data.get_or_insert_with(|| format!("{:016x}", rand::random::<u64>()));
        let ends = now + beat.lease.as_millis() as u64;
        let held = self.leases.insert(beat.replica, Held { ends, info: beat.info.clone() });
        changed |= held.as_ref().is_none_or(|held| held.info != beat.info);
        if changed {
            self.changed(now);
        }
        held.is_some()
    }

    /// Ends a lease.
    pub fn leave(&mut self, replica: ReplicaId, now: u64) {
        if self.leases.remove(&replica).is_some() {
            self.changed(now / 1000);
        }
    }

    /// All leases.
    pub fn registry(&self, now: u64) -> Registry {
        let lease = |(replica, held): (&ReplicaId, &Held)| Lease {
            replica: *replica,
            ends: held.ends,
            info: held.info.clone(),
        };
        Registry {
            data: self.data.clone().unwrap_or_default(),
            version: self.version,
            now: now / 1000,
            leases: self.leases.iter().map(lease).collect(),
        }
    }

    /// The schema, written if there was none.
    pub fn schema(&mut self) -> &str {
        self.schema.get_or_insert_with(|| SCHEMA.to_owned())
    }

    /// Another schema, as another program might write it.
    pub fn set_schema(&mut self, schema: &str) {
        self.schema = Some(schema.to_owned());
    }

    /// Removes expired records among the next `keys`, so that litter never grows past a walk.
    pub fn sweep(&mut self, keys: usize, now: u64) {
        let from = self.swept.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let step: Vec<_> = self
            .records
            .range((from, std::ops::Bound::Unbounded))
            .take(keys)
            .map(|(d, r)| (*d, r.expires))
            .collect();
        self.swept = if step.len() < keys { None } else { step.last().map(|(device, _)| *device) };
        for (device, _) in step.iter().filter(|(_, expires)| *expires <= now) {
            self.records.remove(device);
        }
    }

    /// Everything is gone, as after a restart without persistence.
    pub fn flush(&mut self) {
        *self = Self::default();
    }

    fn remove_gone(&mut self, now: u64, grace: Duration) -> bool {
        let before = self.leases.len();
        let grace = grace.as_millis() as u64;
        self.leases.retain(|_, held| held.ends > now.saturating_sub(grace));
        self.leases.len() != before
    }

    fn changed(&mut self, now: u64) {
        self.version = if self.version >= now { self.version + 1 } else { now };
    }
}

/// The epoch of a claim that is not the one that stands; `None` when that one is newer.
fn raised(claiming: &Claiming, stored: u64, now: u64) -> Option<u64> {
    if let Some(epoch) = claiming.epoch {
        return Some(epoch.micros()).filter(|epoch| *epoch > stored);
    }
    let late = claiming.proven_at.map_or(0, |proven| now.saturating_sub(proven.micros()));
    let age = micros(claiming.age).max(late);
    let proven = now.saturating_sub(age).max(1);
    if proven > stored {
        Some(proven)
    } else if age < micros(FRESH) {
        Some(stored + 1)
    } else {
        None
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
