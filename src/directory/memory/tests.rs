//! Invariants of claims, on random histories with a clock that may step back.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::Model;
use crate::directory::{Claiming, FRESH, Outcome, RECORD_TTL};
use crate::model::{Claim, DeviceId, Epoch, ReplicaId, SessionId, SessionKey};

/// 2026, in microseconds.
const NOW: u64 = 1_790_000_000_000_000;

#[derive(Clone, Debug)]
enum Command {
    Claim {
        key: SessionKey,
        age: u64,
    },
    /// Restores the epoch that the key was granted last, if it was.
    Restore {
        key: SessionKey,
    },
    Release {
        key: SessionKey,
    },
    /// Moves the clock by so many microseconds, a little back now and then.
    Clock(i64),
}

fn key() -> impl Strategy<Value = SessionKey> {
    (0..3u64, 0..4u64).prop_map(|(replica, session)| SessionKey {
        replica: ReplicaId::new(replica),
        session: SessionId(session),
    })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => (key(), prop_oneof![0..10_000u64, 0..20_000_000u64]).prop_map(|(key, age)| Command::Claim { key, age }),
        2 => key().prop_map(|key| Command::Restore { key }),
        2 => key().prop_map(|key| Command::Release { key }),
        2 => (-3_000_000..10_000_000i64).prop_map(Command::Clock),
    ]
}

fn device() -> DeviceId {
    DeviceId::from_bytes([1; 16])
}

fn claiming(key: SessionKey, epoch: Option<Epoch>, age: u64) -> Claiming {
    let instance = format!("mps-{}", key.session).parse().expect("a name");
    Claiming { device: device(), key, instance, epoch, age: Duration::from_micros(age), proven_at: None }
}

fn granted(model: &mut Model, claiming: &Claiming, now: u64) -> Option<Epoch> {
    match model.claim(claiming, now).0 {
        Outcome::Granted { epoch, .. } => Some(epoch),
        Outcome::Refused(_) => None,
    }
}

/// Checks one command against what stood before.
fn check(
    command: &Command,
    before: Option<Claim>,
    model: &mut Model,
    granted_to: &mut Vec<(SessionKey, Epoch)>,
    now: u64,
) {
    let stored = before.as_ref().map(|claim| claim.epoch);
    match command {
        Command::Clock(_) => {}
        Command::Release { key } => {
            let ours = before.as_ref().is_some_and(|claim| claim.key == *key);
            assert_eq!(model.release(device(), *key, now), ours, "I1");
            let after = model.record(device(), now);
            assert_eq!(after, before.filter(|_| !ours), "I1: nothing else changes");
        }
        Command::Restore { key } => {
            let Some((_, epoch)) = granted_to.iter().rev().find(|(to, _)| to == key).copied() else { return };
            let ours = before.as_ref().is_some_and(|claim| claim.key == *key);
            let restored = granted(model, &claiming(*key, Some(epoch), 0), now);
            if !ours {
                assert_eq!(restored.is_some(), stored.is_none_or(|stored| stored < epoch), "I3");
            }
        }
        Command::Claim { key, age } => {
            let claiming = claiming(*key, None, *age);
            let first = granted(model, &claiming, now);
            assert!(first.is_some() || claiming.age >= FRESH, "I5: a fresh claim succeeds");
            let Some(epoch) = first else { return };
            assert_eq!(granted(model, &claiming, now + 1), Some(epoch), "I4: idempotent");
            granted_to.push((*key, epoch));
        }
    }
    let released = matches!(command, Command::Release { .. });
    if let (Some(stored), Some(after)) = (stored, model.record(device(), now)) {
        assert!(after.epoch >= stored || released, "I2: {} after {stored}", after.epoch);
    }
}

proptest! {
    #[test]
    fn claims_keep_i1_to_i5_whatever_the_clock_does(commands in vec(command(), 1..120)) {
        let (mut model, mut now, mut granted_to) = (Model::default(), NOW, Vec::new());
        for command in &commands {
            if let Command::Clock(by) = command {
                now = now.saturating_add_signed(*by);
            }
            let before = model.record(device(), now);
            check(command, before, &mut model, &mut granted_to, now);
        }
    }

    #[test]
    fn of_two_claims_the_younger_session_remains_in_either_order(
        // I6: where the order is not lost among fresh claims, of which the last to come wins.
        younger in 0..30_000_000u64,
        by in 3_000_001..60_000_000u64,
        between in 0..2_000_000u64,
        older_first: bool,
    ) {
        let key = |n| SessionKey { replica: ReplicaId::new(n), session: SessionId(n) };
        let (young, old) = (key(1), key(2));
        let at = |proven: u64, now: u64| now - proven;
        let (proven_young, proven_old) = (NOW - younger, NOW - younger - by);
        let mut model = Model::default();
        let order = if older_first { [(old, proven_old), (young, proven_young)] } else { [(young, proven_young), (old, proven_old)] };
        for ((key, proven), now) in order.into_iter().zip([NOW, NOW + between]) {
            let _ = model.claim(&claiming(key, None, at(proven, now)), now);
        }
        prop_assert_eq!(model.record(device(), NOW).map(|claim| claim.key), Some(young));
    }
}

#[test]
fn litter_goes_and_what_is_asserted_stays() {
    let mut model = Model::default();
    let ttl = RECORD_TTL.as_micros() as u64;
    let devices: Vec<_> = (0..50).map(|n| DeviceId::from_bytes([n; 16])).collect();
    for device in &devices {
        model.put(*device, "1:aaaaaaaa:1:a", NOW);
    }
    model.put(devices[7], "1:aaaaaaaa:1:a", NOW + ttl);
    assert_eq!(model.scan(None, 100, NOW + ttl - 1).records.len(), 50);
    for _ in 0..6 {
        model.sweep(10, NOW + ttl);
    }
    let left = model.scan(None, 100, NOW + ttl);
    assert_eq!((left.looked_at, left.records[0].0), (1, devices[7]));
}
