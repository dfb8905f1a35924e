//! Bytes between sockets: accept, TLS on both sides, bounded reads, relay. Knows no device.

mod append;
pub mod batch;
pub mod connect;
pub mod head;
pub mod identity;
pub mod instance_tls;
pub mod listener;
pub mod network;
pub mod records;
pub mod relay;
pub mod rewind;
pub mod server_tls;
pub mod socket;
mod tls_records;
pub mod tls_stream;
pub mod traffic;
pub mod verifier;

#[cfg(test)]
mod fixtures;
