//! The directory: one conformance suite for all stores, scripts against their model, and what
//! happens when Redis misbehaves.

mod conformance;
mod differential;
mod edges;
mod faults;
mod order;
mod outages;
mod replica;
mod slow;

use mps_gateway::model::{DeviceId, InstanceName, ReplicaId, SessionId, SessionKey};

fn device(n: u64) -> DeviceId {
    let mut bytes = [0x5a; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

fn key(replica: u64, session: u64) -> SessionKey {
    SessionKey { replica: ReplicaId::new(replica), session: SessionId(session) }
}

fn named(name: &str) -> InstanceName {
    name.parse().expect("an instance name")
}
