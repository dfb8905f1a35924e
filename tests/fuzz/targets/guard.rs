//! A device and an instance that say anything, in any pieces, through the guard.
//!
//! The input is a script: a byte that says who speaks (bit 0), whether what may pass is passed on
//! afterwards (bit 1) and how many bytes follow (the upper six bits), then those bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mps_gateway_fuzz::device::guard::{Prover, Refusal};
use mps_gateway_fuzz::device::settings::GuardMode;
use mps_gateway_fuzz::net::relay::Watch;
use mps_gateway_fuzz::wire::apf::{Extent, extent, kind};

/// What passed so far, and what was said.
#[derive(Default)]
struct Record {
    instance_said: Vec<u8>,
    device_heard: Vec<u8>,
    device_said: usize,
    instance_heard: usize,
    asked: bool,
}

fuzz_target!(|script: &[u8]| {
    let mut prover = Prover::new(GuardMode::Strict, 3);
    let mut record = Record::default();
    let mut rest = script;
    while let Some((&head, tail)) = rest.split_first() {
        let (said, after) = tail.split_at(tail.len().min(usize::from(head >> 2)));
        rest = after;
        let verdict = if head & 1 == 0 {
            record.device_said += said.len();
            prover.device_bytes(said)
        } else {
            record.instance_said.extend(said);
            prover.instance_bytes(said)
        };
        if head & 2 == 0 || verdict.is_err() {
            pass_on(&mut prover, &mut record);
        }
        if let Err(refusal) = verdict {
            assert_eq!(prover.device_bytes(&[kind::KEEPALIVE_REQUEST]), Err(refusal), "a refusal is final");
            return;
        }
        if prover.proven() && head & 2 == 0 {
            assert!(record.asked, "nobody is proven who did not ask");
            return prove(prover, record, rest);
        }
    }
});

fn pass_on(prover: &mut Prover, record: &mut Record) {
    while let Some(message) = prover.to_instance() {
        let first = message[0];
        assert!(matches!(first, kind::SERVICE_REQUEST | kind::USERAUTH_REQUEST | kind::KEEPALIVE_REQUEST));
        assert_eq!(extent(&message), Ok(Extent::Whole(message.len())), "one message, one record");
        record.asked |= first == kind::USERAUTH_REQUEST;
        record.instance_heard += message.len();
    }
    while let Some(message) = prover.to_device() {
        assert!(!matches!(message[0], kind::DISCONNECT | kind::USERAUTH_SUCCESS));
        record.device_heard.extend(&message);
    }
    assert!(record.instance_said.starts_with(&record.device_heard), "never altered");
    assert!(record.instance_heard <= record.device_said, "never added");
}

/// After proof: what waited and what comes, shown to the follower in two ways.
fn prove(prover: Prover, record: Record, later: &[u8]) {
    let mut proven = prover.finish();
    assert_eq!(proven.to_device.first(), Some(&kind::USERAUTH_SUCCESS));
    assert!(record.instance_said.ends_with(&proven.to_device));
    let waited: usize = proven.to_instance.iter().map(|message| message.len()).sum();
    assert_eq!(record.instance_heard + waited, record.device_said, "nothing is lost");

    let mut stream = proven.to_instance.concat();
    stream.extend(later);
    let mut follow = || -> Result<(), Refusal> {
        for message in &proven.to_instance {
            proven.follower.device_bytes(message)?;
        }
        later.iter().try_for_each(|byte| proven.follower.device_bytes(&[*byte]))
    };
    let verdict = follow();
    let aside = proven.follower.stepped_aside();
    assert_eq!((verdict, aside), reference(&stream), "as if whole messages were looked at");
}

/// What the follower must come to, told by looking at the first byte of every whole message.
fn reference(mut stream: &[u8]) -> (Result<(), Refusal>, Option<u8>) {
    loop {
        match stream.first() {
            None => return (Ok(()), None),
            Some(&kind::DISCONNECT) => return (Err(Refusal::Disconnect), None),
            Some(&kind::PROTOCOL_VERSION) => return (Err(Refusal::SecondIdentity), None),
            Some(5 | 80 | 90..=94 | 97 | 208 | 209 | 211 | 250) => {}
            Some(6 | 50..=52 | 81 | 82 | 210) => return (Err(Refusal::UnexpectedFromDevice), None),
            Some(&unknown) => return (Ok(()), Some(unknown)),
        }
        match extent(stream) {
            Ok(Extent::Whole(length)) => stream = &stream[length..],
            Ok(Extent::Partial | Extent::Unknown(_)) => return (Ok(()), None),
            Err(_) => return (Err(Refusal::Oversized), None),
        }
    }
}
