//! What a store of claims can do. Meanings and scripts: one conformance suite runs against all.

use std::time::Duration;

use async_trait::async_trait;

use crate::model::{Claim, DeviceId, Epoch, InstanceName, SessionKey};

/// The directory could not answer: refused, timed out, or answered with an error. Never "no owner".
#[derive(Debug, thiserror::Error)]
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

/// Who owns a device. Legacy databases are only this.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// The record as it stands, whether or not its replica still lives.
    async fn owner(&self, device: DeviceId) -> Result<Option<Claim>, DirectoryError>;
}

/// A store of claims and of replicas' leases.
#[async_trait]
pub trait Directory: Lookup {
    /// Claims; idempotent for one [`SessionKey`].
    async fn claim(&self, claiming: &Claiming) -> Result<Outcome, DirectoryError>;
    /// Ends exactly this claim: a newer one is left alone, so a late release can do no harm.
    async fn release(&self, device: DeviceId, key: SessionKey) -> Result<bool, DirectoryError>;
    // + claim_many (pipelined), beat, registry, scan, subscribe to `sup`, check_schema: see module
}
