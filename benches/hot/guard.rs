//! The guard: a device's records after proof, and a whole login before it.

use std::hint::black_box;

use bytes::Bytes;
use criterion::Throughput;
use mps_gateway::device::GuardMode;
use mps_gateway::device::guard::{Follower, Prover};
use mps_gateway::net::relay::Watch as _;
use mps_gateway::wire::apf::{AUTH_SERVICE, Message, UserauthRequest};

use crate::table::{Table, timed};

pub fn measure(table: &mut Table) {
    let data = Message::ChannelData { recipient: 1, data: &[7; 4096] }.to_bytes();
    let window = Message::ChannelWindowAdjust { recipient: 1, bytes: 4096 }.to_bytes();
    let keepalive = Message::KeepaliveRequest { cookie: 7 }.to_bytes();
    let mixed = [&*data, &window, &keepalive].concat();
    let small: Vec<u8> = std::iter::repeat_n([&*window, &keepalive].concat(), 50).flatten().collect();
    for (name, frames, record) in [("4 KiB and two small", 3, mixed), ("100 small", 100, small)] {
        follow(table, name, frames, &record);
    }
    log_in(table);
}

/// One record of so many frames.
fn follow(table: &mut Table, name: &str, frames: u64, record: &[u8]) {
    let mut follower = proven();
    let mut room = vec![0; record.len()];
    let mut ours = |times| timed(times, || follower.device_bytes(black_box(record)).expect("well-formed"));
    let mut copy = |times| timed(times, || room.copy_from_slice(black_box(record)));
    table.part(
        &format!("guard, frames: {name}"),
        Throughput::Elements(frames),
        &mut ours,
        &mut [("copying them", &mut copy)],
    );
    assert_eq!(follower.stepped_aside(), None, "it followed to the end");
}

/// The guard of a session whose login went well.
pub fn proven() -> Follower {
    let mut prover = Prover::new(GuardMode::Strict, 3);
    for (by_device, said) in login() {
        pass(&mut prover, by_device, &said);
    }
    assert!(prover.proven());
    prover.finish().follower
}

/// Who says what, until proof: `true` is the device.
fn login() -> [(bool, Bytes); 4] {
    [
        (true, Message::ServiceRequest { service: AUTH_SERVICE }.to_bytes()),
        (false, Message::ServiceAccept { service: AUTH_SERVICE }.to_bytes()),
        (true, Message::UserauthRequest(UserauthRequest::password(b"admin", b"P@ssw0rd")).to_bytes()),
        (false, Message::UserauthSuccess.to_bytes()),
    ]
}

fn pass(prover: &mut Prover, by_device: bool, said: &[u8]) {
    let verdict = if by_device { prover.device_bytes(said) } else { prover.instance_bytes(said) };
    verdict.expect("a good login");
    while let Some(message) = prover.to_instance().or_else(|| prover.to_device()) {
        black_box(message);
    }
}

fn log_in(table: &mut Table) {
    let login = login();
    let bytes = login.iter().map(|(_, said)| said.len() as u64).sum();
    let mut ours = |times| {
        timed(times, || {
            let mut prover = Prover::new(GuardMode::Strict, 3);
            for (by_device, said) in &login {
                pass(&mut prover, *by_device, black_box(said));
            }
            prover.finish()
        })
    };
    let mut copy = |times| {
        timed(times, || {
            for (_, said) in &login {
                black_box(Bytes::copy_from_slice(black_box(said)));
            }
        })
    };
    table.part("guard, a login", Throughput::Bytes(bytes), &mut ours, &mut [("copying it", &mut copy)]);
}
