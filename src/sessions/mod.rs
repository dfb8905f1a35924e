//! Live sessions of this replica: list, count, close one.
//!
//! Only proven sessions are in the table: the owner of a device is whoever proved itself. A session
//! stands here from the sight of byte 52 until its guard is dropped, and there is at most one for a
//! device. Spliced ones, which prove nothing, have a table of their own.

mod session;
mod spliced;
mod table;

pub use session::{CloseReason, Session};
pub use spliced::{Full, Splice, Spliced, Splices};
pub use table::{Listed, Sessions};

#[cfg(test)]
mod tests;
