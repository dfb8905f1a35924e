//! Bytes <-> values, pure: no I/O, no clock, no randomness.
//!
//! Whatever can be read can also be built, so that the simulators speak with the same words.

pub mod apf;
pub mod client_hello;
pub mod proxy_protocol;
