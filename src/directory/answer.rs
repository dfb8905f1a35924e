//! What a replica's directory answers.

use serde::Serialize;

use crate::model::{Claim, Epoch, InstanceName, SessionId};

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
        /// The record.
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
    Resyncing {
        /// The last record seen, at most 10 min old.
        stale: Option<Claim>,
    },
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
    /// The directory did not answer in time; it will be claimed as soon as it does. Also said of a
    /// session that was told to close before it could be claimed: it never will be.
    Pending,
    /// A newer session of the device is proven elsewhere: this one must end, and was told so.
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
    /// The last heartbeat was not refused: false while it answers but takes no writes (no replica in
    /// reach, disk or memory full).
    pub takes_writes: bool,
    /// Every live replica has re-published since the last loss of data.
    pub synced: bool,
    /// Claims the directory has not granted yet.
    pub pending: usize,
}

/// Why a directory cannot be opened. A Redis that is away is not among them: we start without it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The layout in Redis is of a version this program does not know.
    #[error("the directory's schema is version {0:?}, this program knows version 1")]
    Schema(String),
    /// The URL, or a file it needs, cannot be used.
    #[error("directory.url: {0}")]
    Url(String),
}
