//! Who owns which device: the one thing every replica must agree on.
//!
//! A fenced hint, not a lock: the instance's own table is the authority; a wrong answer costs one
//! "not connected". What must never happen: an older session's release or re-publish erases or
//! overwrites a newer claim.
//!
//! [`Directory`] is what a store can do (memory, Redis); [`Keeper`] is what a replica does with it:
//! leases, look-ups within a budget, claims kept through outages, re-publish after data loss.

mod keeper;
pub mod memory;
mod store;

pub use keeper::{Answer, Claimed, Freshness, Keeper, OpenError, ReplicaInfo, Settings, Standing, Status};
pub use store::{Claiming, Directory, DirectoryError, Lookup, Outcome};
