//! Placement: arithmetic that chooses an instance for a device without an owner.
//!
//! Weighted rendezvous hashing with a load cap. Pure and the same on every machine and build: the
//! hash (XXH3 over the 16 bytes of the GUID, seeded by XXH3 of the instance's name) and the
//! logarithm (`libm`) are part of the contract, so that replicas without a directory still agree.

use std::cmp::Ordering;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::model::{DeviceId, InstanceName};

/// How far above its fair share an instance may go before new devices go elsewhere.
const SLACK: f64 = 1.25;

/// What the cap leaves beyond that, in sessions: a fleet of a few devices needs no balance.
const HEADROOM: usize = 8;

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

impl Candidate {
    /// Whether it gets anything at all.
    fn counts(&self) -> bool {
        self.weight.is_finite() && self.weight > 0.0
    }
}

/// The rendezvous score of a device at an instance: higher is better. A weight that is not above
/// zero scores negative infinity.
///
/// `-weight / ln(u)`, where u is in the middle of one of 2^52 equal parts of (0, 1): the part that
/// the upper 52 bits of the hash number. Both ends are out of reach, so the score is finite.
pub fn score(device: DeviceId, name: &InstanceName, weight: f64) -> f64 {
    score_of(device.as_bytes(), name, weight)
}

/// The same of whatever has 16 bytes of its own: a source, where no device is known.
pub fn score_of(key: &[u8; 16], name: &InstanceName, weight: f64) -> f64 {
    if !(weight.is_finite() && weight > 0.0) {
        return f64::NEG_INFINITY;
    }
    let hash = xxh3_64_with_seed(key, xxh3_64(name.as_str().as_bytes()));
    const PARTS: f64 = (1u64 << 52) as f64;
    let u = ((hash >> 12) as f64 + 0.5) / PARTS;
    -weight / libm::log(u)
}

/// The order of preference of two instances, each with its score: the better one first, ties by name.
pub fn preference(a: (f64, &InstanceName), b: (f64, &InstanceName)) -> Ordering {
    b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1))
}

/// How many sessions each candidate may have before new devices go elsewhere, in the order of
/// `candidates`: 1.25 times its share by weight of all sessions and the one to come, and 8 more, but
/// never above its hard limit. Without weight: 0.
pub fn caps(candidates: &[Candidate]) -> Vec<usize> {
    let counted = || candidates.iter().filter(|c| c.counts());
    let weight: f64 = counted().map(|c| c.weight).sum();
    let sessions: usize = counted().map(|c| c.sessions).sum();
    let cap = |c: &Candidate| {
        if !c.counts() {
            return 0;
        }
        let fair = (sessions + 1) as f64 * c.weight / weight;
        let soft = (SLACK * fair).ceil() as usize + HEADROOM;
        c.max_sessions.map_or(soft, |hard| soft.min(hard))
    };
    candidates.iter().map(cap).collect()
}

#[cfg(test)]
mod tests;
