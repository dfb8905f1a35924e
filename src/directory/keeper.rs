//! What a replica does with a directory.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::lifecycle::Drain;
use crate::model::{Claim, DeviceId, Epoch, InstanceName, ReplicaId, SessionId};
use crate::sessions::{Session, Sessions};
use crate::telemetry::Metrics;

/// Settings of the directory, checked by `config`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `memory:` or `redis://`, `rediss://`.
    pub url: String,
    /// First part of every key.
    pub prefix: String,
    /// What this replica is called in `s:info` (host name), for people.
    pub replica_name: String,
    /// Look-ups and claims wait at most so long.
    pub budget: Duration,
    // helper may add: lease, beat, cache ttl, ca file, password file, ...
}

/// Whether an answer from the cache or from our own sessions will do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// Own sessions, then cache (3 s), then the directory.
    Cached,
    /// The directory itself, past cache and own sessions.
    Fresh,
}

/// How a claim's replica stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Its lease runs.
    Live,
    /// Its lease is over for less than the grace: probably only its path to the directory is broken.
    Suspect,
}

/// What is known of a device's owner. *Unreachable* and *no owner* are different answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A replica that lives (or did until a moment ago) holds it.
    Owned {
        /// The record; for an own session not yet granted an epoch, `None`.
        claim: Claim,
        /// How its replica stands.
        standing: Standing,
    },
    /// Our own session, whose claim the directory has not granted yet.
    Pending {
        /// Its number here.
        session: SessionId,
        /// Where it ends.
        instance: InstanceName,
    },
    /// The directory is well and knows of no live session.
    Nobody,
    /// The directory answers but is being filled again after data loss: "nobody" would be a guess.
    Resyncing,
    /// The directory does not answer. `stale` is the last record seen, at most 10 min old.
    Unreachable {
        /// The last record seen.
        stale: Option<Claim>,
    },
}

/// What became of a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Claimed {
    /// It stands.
    Granted(Epoch),
    /// The directory did not answer in time; it will be claimed as soon as it does.
    Pending,
    /// A newer session of the device is proven elsewhere: this one must end.
    Superseded(Claim),
}

/// One replica as all see it.
#[derive(Clone, Debug, Serialize)]
pub struct ReplicaInfo {
    /// Its identity.
    pub replica: String,
    /// Its host name.
    pub name: String,
    /// Version and commit.
    pub build: String,
    /// When it started, seconds since 1970.
    pub started: u64,
    /// Proven sessions.
    pub sessions: usize,
    /// Whether it has re-published its claims since the last loss of data.
    pub synced: bool,
    /// How it stands: live or suspect.
    pub standing: Standing,
    /// Whether it is the replica that answers.
    pub this: bool,
}

/// How the directory is, for readiness reasons and metrics.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// `memory` or `redis`.
    pub kind: &'static str,
    /// The breaker is closed: commands are sent.
    pub reachable: bool,
    /// Every live replica has re-published since the last loss of data.
    pub synced: bool,
    /// Claims the directory has not granted yet.
    pub pending: usize,
}

/// Why a directory cannot be opened. A Redis that is away is not among them: we start without it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The layout in Redis is of a version this program does not know.
    #[error("the directory's schema is version {0}, this program knows version 1")]
    Schema(String),
    /// The URL cannot be used.
    #[error("directory.url: {0}")]
    Url(String),
}

/// What a replica does with its directory: keeps its claims true and answers who owns a device.
pub struct Keeper {}

impl Keeper {
    /// Opens the directory and starts the tasks that keep it (beat, re-publish, notices).
    pub async fn open(
        _settings: Settings,
        _sessions: Arc<Sessions>,
        _metrics: Arc<Metrics>,
        _drain: Drain,
    ) -> Result<Arc<Self>, OpenError> {
        todo!()
    }

    /// This replica.
    pub fn replica(&self) -> ReplicaId {
        todo!()
    }

    /// Who owns `device`, within the budget.
    pub async fn owner(&self, _device: DeviceId, _freshness: Freshness) -> Answer {
        todo!()
    }

    /// Claims the device of a session just proven, within the budget; on success the session is
    /// granted its epoch. Call it after [`Sessions::insert`] and before byte 52 is passed on.
    pub async fn claim(&self, _session: &Session) -> Claimed {
        todo!()
    }

    /// Releases exactly this session's claim, now or as soon as the directory answers. Never waits.
    pub fn release(&self, _session: &Session) {
        todo!()
    }

    /// Ends this replica's lease, last thing of a drain: what records remain die with it.
    pub async fn leave(&self) {
        todo!()
    }

    /// How the directory is.
    pub fn status(&self) -> Status {
        todo!()
    }

    /// All replicas with a lease, this one included.
    pub fn replicas(&self) -> Vec<ReplicaInfo> {
        todo!()
    }

    /// Proven sessions at `instance` over all live replicas, as they last stated; for placement's cap.
    pub fn sessions_at(&self, _instance: &InstanceName) -> usize {
        todo!()
    }

    /// A page of devices: by SCAN and MGET, at most 10,000 keys looked at a call. A page may be
    /// short or empty and still have a cursor.
    pub async fn devices(
        &self,
        _instance: Option<&InstanceName>,
        _limit: usize,
        _cursor: Option<&str>,
    ) -> Result<(Vec<(DeviceId, Claim)>, Option<String>), super::DirectoryError> {
        todo!()
    }

    /// The time of `epoch` as wall clock.
    pub fn since(epoch: Epoch) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(epoch.micros())
    }
}
