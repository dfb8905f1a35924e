//! Who owns which device: the one thing every replica must agree on.
//!
//! A fenced hint, not a lock: the instance's own table is the authority; a wrong answer costs one
//! "not connected". What must never happen: an older session's release or re-publish erases or
//! overwrites a newer claim.
//!
//! [`Directory`] is what a store can do (memory, Redis); [`Keeper`] is what a replica does with it:
//! leases, look-ups within a budget, claims kept through outages, re-publish after data loss.

mod answer;
mod keeper;
pub mod memory;
pub mod record;
#[cfg(feature = "redis")]
pub mod redis;
mod settings;
mod store;

pub use answer::{Answer, Claimed, Freshness, OpenError, ReplicaInfo, Standing, Status};
pub use keeper::Keeper;
pub use settings::{Secret, Settings};
pub use store::{
    Beat, Beaten, Claiming, Directory, DirectoryError, FRESH, Lease, Lookup, Notice, Outcome, Page,
    RECORD_TTL, Registry, SCHEMA,
};
