//! What a store of claims and leases can do. One conformance suite runs against all of them.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::model::{Claim, DeviceId, Epoch, InstanceName, ReplicaId, SessionId, SessionKey};

/// The layout of keys and values this program reads and writes.
pub const SCHEMA: &str = "1";

/// How long a device's record is kept without being asserted again: litter is collected so, not
/// ownership decided (that is the replica's lease).
pub const RECORD_TTL: Duration = Duration::from_secs(1800);

/// A claim younger than this wins whatever the clocks say: a clock that stepped back must not lock
/// a device out.
pub const FRESH: Duration = Duration::from_secs(3);

/// The directory could not answer: refused, timed out, or answered with an error. Never "no owner".
#[derive(Clone, Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The store answered with an error of its own.
    #[error("directory: {0}")]
    Refused(String),
    /// Not within its time.
    #[error("directory timed out")]
    Timeout,
    /// No connection.
    #[error("directory unreachable: {0}")]
    Unreachable(String),
    /// It answers, and does not know us although it should: it lost its data.
    #[error("directory lost its data")]
    Lost,
    /// A page's cursor that was never given out.
    #[error("not a cursor of this directory")]
    Cursor,
    /// The layout in the store is of another version: nothing is read or written.
    #[error("the directory's schema is version {0:?}, this program knows version {SCHEMA}")]
    Schema(String),
}

impl DirectoryError {
    /// Metric label and log field.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Lost => "lost",
            Self::Cursor => "cursor",
            Self::Schema(_) => "schema",
        }
    }
}

/// A claim to be made, restored or asserted again.
#[derive(Clone, Debug)]
pub struct Claiming {
    /// The device.
    pub device: DeviceId,
    /// The session that proved itself.
    pub key: SessionKey,
    /// The instance it ends at.
    pub instance: InstanceName,
    /// The epoch it was granted before; `None` for a session never claimed.
    pub epoch: Option<Epoch>,
    /// Time since proof.
    pub age: Duration,
    /// When it was proven by the store's clock, as far as that is known: a claim carried out late is
    /// as old as it is then.
    pub proven_at: Option<Epoch>,
}

/// What the store said to a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The claim stands, with this epoch; `displaced` is what stood there before, if it was another.
    Granted {
        /// The epoch that orders it.
        epoch: Epoch,
        /// The claim it displaced.
        displaced: Option<Claim>,
    },
    /// A newer claim stands.
    Refused(Claim),
}

/// One replica's lease as the store keeps it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// Whose it is.
    pub replica: ReplicaId,
    /// When it ends: milliseconds of the store's clock since 1970.
    pub ends: u64,
    /// What the replica says of itself, as it wrote it (JSON).
    pub info: String,
}

/// All leases at one moment of the store's clock.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registry {
    /// What the data is called: another name after any loss of all of it.
    pub data: String,
    /// Rises with every change; also after a loss of data, since it follows the clock.
    pub version: u64,
    /// The store's clock: milliseconds since 1970.
    pub now: u64,
    /// Every lease that runs or ended less than the grace ago, in no order.
    pub leases: Vec<Lease>,
}

/// What a replica's heartbeat says.
#[derive(Clone, Debug)]
pub struct Beat {
    /// Whose it is.
    pub replica: ReplicaId,
    /// How long the lease shall run from now.
    pub lease: Duration,
    /// Leases over for longer than this are removed.
    pub grace: Duration,
    /// What the replica says of itself (JSON).
    pub info: String,
}

/// What the store answers to a heartbeat.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Beaten {
    /// Whether the store still knew this replica: if it should have, data was lost.
    pub was_known: bool,
    /// All leases, this one included.
    pub registry: Registry,
}

/// Some records, as one step of a walk over all of them found them.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Keys looked at: more than there are records, when some expired meanwhile.
    pub looked_at: usize,
    /// Records, whether or not their replicas live. A record may come twice in one walk.
    pub records: Vec<(DeviceId, Claim)>,
    /// Where the next step begins; `None` at the end.
    pub next: Option<String>,
}

/// What a store tells without being asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// A newer claim displaced this session of the replica that listens.
    Superseded {
        /// Whose session.
        device: DeviceId,
        /// Which one.
        session: SessionId,
    },
    /// Listening has begun (again): what was told before is lost.
    Resubscribed,
    /// The store can be reached (again).
    Connected {
        /// It is not the one we spoke to before: acknowledged writes may be lost.
        failover: bool,
    },
}

/// Who owns a device. Legacy databases are only this.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// The record as it stands, whether or not its replica still lives.
    async fn owner(&self, device: DeviceId) -> Result<Option<Claim>, DirectoryError>;
}

/// A store of claims and of replicas' leases.
///
/// Every call ends within the store's own time limits, also when the store is gone. A call that
/// timed out may have been carried out: all of them may be repeated.
#[async_trait]
pub trait Directory: Lookup {
    /// `memory` or `redis`.
    fn kind(&self) -> &'static str;

    /// From now on the data is known by this name ([`Registry::data`]): by any other, "no record" is
    /// [`DirectoryError::Lost`].
    fn adopt(&self, _data: &str) {}

    /// Whether commands are sent at all: false while the breaker is open.
    fn reachable(&self) -> bool;

    /// Since when the connection that answers look-ups stands; `None` where there is none to lose.
    fn connected_since(&self) -> Option<Instant> {
        None
    }

    /// Writes the schema where there is none; fails with [`DirectoryError::Schema`] where there is
    /// another than [`SCHEMA`].
    async fn check_schema(&self) -> Result<(), DirectoryError>;

    /// Claims; idempotent for one [`SessionKey`].
    async fn claim(&self, claiming: &Claiming) -> Result<Outcome, DirectoryError>;

    /// Claims many at once, outcomes in the same order: for bulk, not for speed of one.
    async fn claim_many(&self, claimings: &[Claiming]) -> Result<Vec<Outcome>, DirectoryError>;

    /// Ends exactly this claim: a newer one is left alone, so a late release can do no harm.
    async fn release(&self, device: DeviceId, key: SessionKey) -> Result<bool, DirectoryError> {
        Ok(self.release_many(&[(device, key)]).await?.first().copied().unwrap_or(false))
    }

    /// Releases many at once, outcomes in the same order.
    async fn release_many(&self, claims: &[(DeviceId, SessionKey)]) -> Result<Vec<bool>, DirectoryError>;

    /// The records of many devices, in the same order.
    async fn owners(&self, devices: &[DeviceId]) -> Result<Vec<Option<Claim>>, DirectoryError>;

    /// One step of a walk over all records, from `cursor` (`None`: the beginning), looking at about
    /// `keys` keys.
    async fn scan(&self, cursor: Option<&str>, keys: usize) -> Result<Page, DirectoryError>;

    /// Renews a replica's lease and reads everybody's.
    async fn beat(&self, beat: &Beat) -> Result<Beaten, DirectoryError>;

    /// Ends a replica's lease now.
    async fn leave(&self, replica: ReplicaId) -> Result<(), DirectoryError>;

    /// Everybody's leases.
    async fn registry(&self) -> Result<Registry, DirectoryError>;

    /// Whether a notice for `replica` did not fit since the last call.
    fn overflowed(&self, _replica: ReplicaId) -> bool {
        false
    }

    /// What the store tells `replica` from now on. Bounded: what does not fit is lost, and repaired
    /// by asserting records again ([`Directory::overflowed`]). One listener for each replica; a second takes its place.
    fn notices(&self, replica: ReplicaId) -> mpsc::Receiver<Notice>;
}
