//! Placement: arithmetic that chooses an instance for a device without an owner.
//!
//! Weighted rendezvous hashing with a load cap. Pure and the same on every machine and build: the
//! hash (XXH3 over the 16 bytes of the GUID, seeded by XXH3 of the instance's name) and the
//! logarithm (`libm`) are part of the contract, so that replicas without a directory still agree.

use crate::model::{DeviceId, InstanceName};

/// An instance that may be chosen.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name.
    pub name: InstanceName,
    /// Its share, relative to the others; 0 gets nothing.
    pub weight: f64,
    /// Sessions it has now.
    pub sessions: usize,
    /// Hard limit of sessions, if it has one.
    pub max_sessions: Option<usize>,
}

/// The rendezvous score of a device at an instance: higher is better.
pub fn score(_device: DeviceId, _name: &InstanceName, _weight: f64) -> f64 {
    todo!()
}

/// Candidates by preference, best first (indices into `candidates`); the order of input is
/// irrelevant, ties break by name.
pub fn rank(_device: DeviceId, _candidates: &[Candidate]) -> Vec<usize> {
    todo!()
}
