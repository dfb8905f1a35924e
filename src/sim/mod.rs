//! Simulated devices and MPS instances: shipped, because `demo`, tests and benches use them.
//!
//! They behave as the real ones do, slips included, where that matters to a gateway: a simulated MPS
//! refuses a split login, believes any DISCONNECT, and writes over another instance's row in the
//! database. They share the words of `wire` with the gateway, never its decisions.

pub mod device;
mod digest;
pub mod load;
pub mod mps;
pub mod pki;
pub mod transfer;
