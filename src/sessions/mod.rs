//! Live sessions of this replica: list, count, close one.
//!
//! Only proven sessions are here: the owner of a device is whoever proved itself. A session stands
//! here from the sight of byte 52 until its guard is dropped, and there is at most one for a device.

mod session;
mod table;

pub use session::{CloseReason, Session};
pub use table::{Listed, Sessions};

#[cfg(test)]
mod tests;
