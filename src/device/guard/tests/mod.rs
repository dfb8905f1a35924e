mod follower;
mod properties;
mod prover;

use bytes::Bytes;

use super::*;
use crate::device::settings::GuardMode;
use crate::wire::apf::{
    AUTH_SERVICE, GlobalRequest, Message, PASSWORD_METHOD, PFWD_SERVICE, Preamble, UserauthRequest,
};

fn service(service: &'static [u8]) -> Bytes {
    Message::ServiceRequest { service }.to_bytes()
}

fn accept(service: &'static [u8]) -> Bytes {
    Message::ServiceAccept { service }.to_bytes()
}

fn login() -> Bytes {
    Message::UserauthRequest(UserauthRequest::password(b"admin", b"Passw0rd!")).to_bytes()
}

fn failure(padded: bool) -> Bytes {
    Message::UserauthFailure { methods: PASSWORD_METHOD, padded }.to_bytes()
}

fn success() -> Bytes {
    Message::UserauthSuccess.to_bytes()
}

fn keepalive(cookie: u32) -> Bytes {
    Message::KeepaliveRequest { cookie }.to_bytes()
}

fn forward(port: u32) -> Bytes {
    Message::GlobalRequest(GlobalRequest::Forward { address: b"", port }).to_bytes()
}

fn disconnect() -> Bytes {
    Message::Disconnect { reason: 11 }.to_bytes()
}

fn identity() -> Bytes {
    let device = crate::model::DeviceId::from_bytes([7; 16]);
    Message::ProtocolVersion(Preamble { major: 1, minor: 0, trigger: 4, device }).to_bytes()
}

fn prover() -> Prover {
    Prover::new(GuardMode::Strict, 3)
}

/// All that may go to the instance now, message by message.
fn to_instance(prover: &mut Prover) -> Vec<Bytes> {
    std::iter::from_fn(|| prover.to_instance()).collect()
}

/// All that may go to the device now, message by message.
fn to_device(prover: &mut Prover) -> Vec<Bytes> {
    std::iter::from_fn(|| prover.to_device()).collect()
}

/// A device that asked to log in and waits for the answer.
fn asked() -> Prover {
    let mut prover = prover();
    prover.device_bytes(&login()).expect("a login may pass");
    assert_eq!(to_instance(&mut prover), [login()]);
    prover
}

#[test]
fn reasons_are_a_closed_set_in_order() {
    let reasons: std::collections::BTreeSet<_> =
        Refusal::ALL.iter().map(|refusal| refusal.reason()).collect();
    assert_eq!(reasons.len(), Refusal::ALL.len());
    assert!(Refusal::ALL.iter().enumerate().all(|(at, refusal)| refusal.index() == at));
}

#[test]
fn no_debug_output_shows_a_password() {
    let request = UserauthRequest::password(b"admin", b"Passw0rd!");
    let mut prover = prover();
    prover.device_bytes(&[login(), login()].concat()).expect("a login and its retry");
    let mut shown = format!("{request:?} {:?} {prover:?}", Message::UserauthRequest(request));
    to_instance(&mut prover);
    prover.instance_bytes(&success()).expect("proof");
    shown += &format!("{:?}", prover.finish());
    let as_numbers = b"Passw0rd!".map(|byte| byte.to_string()).join(", ");
    assert!(!shown.contains("Passw0rd!") && !shown.contains(&as_numbers), "{shown}");
}
