use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::model::{DeviceId, Epoch, InstanceName};
use crate::net::traffic::Traffic;

fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 16])
}

fn at(name: &str) -> InstanceName {
    name.parse().expect("a name")
}

fn session(table: &Sessions, n: u8, instance: &str) -> Session {
    let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Session::proven(device(n), table.next_id(), at(instance), source, Arc::new(Traffic::begin()))
}

fn counts(table: &Sessions) -> Vec<(String, usize)> {
    let mut counts: Vec<_> =
        table.by_instance().into_iter().map(|(name, count)| (name.to_string(), count)).collect();
    counts.sort();
    counts
}

#[test]
fn a_guard_takes_its_session_out_of_the_table() {
    let table = Arc::new(Sessions::default());
    let (listed, older) = table.insert(session(&table, 1, "a"));
    assert!(older.is_none());
    assert_eq!(table.get(device(1)).expect("listed").id, listed.session.id);
    assert_eq!((table.len(), table.at(&at("a"))), (1, 1));
    drop(listed);
    assert!(table.get(device(1)).is_none() && table.is_empty() && counts(&table).is_empty());
}

#[test]
fn a_newer_session_displaces_the_older_whose_guard_then_changes_nothing() {
    let table = Arc::new(Sessions::default());
    let (first, _) = table.insert(session(&table, 1, "a"));
    let (second, older) = table.insert(session(&table, 1, "b"));
    let older = older.expect("displaced");
    assert_eq!(older.id, first.session.id);
    assert_eq!(first.session.closing(), Some(CloseReason::Superseded));
    assert_eq!(second.session.closing(), None);
    drop(first);
    assert_eq!(table.get(device(1)).expect("still listed").id, second.session.id);
    assert_eq!(counts(&table), [("b".to_owned(), 1)]);
}

#[test]
fn a_displaced_session_at_the_same_instance_is_counted_once() {
    let table = Arc::new(Sessions::default());
    let guards = [1, 1, 2, 2, 3].map(|n| table.insert(session(&table, n, "a")).0);
    assert_eq!((table.len(), counts(&table)), (3, vec![("a".to_owned(), 3)]));
    drop(guards);
    assert_eq!((table.len(), counts(&table)), (0, vec![]));
}

#[test]
fn the_parts_together_are_the_table() {
    let table = Arc::new(Sessions::default());
    let _guards: Vec<_> = (0..=255).map(|n| table.insert(session(&table, n, "a")).0).collect();
    let mut seen: Vec<_> =
        (0..Sessions::PARTS).flat_map(|part| table.part(part)).map(|session| session.device).collect();
    seen.sort();
    assert_eq!(seen, (0..=255).map(device).collect::<Vec<_>>());
}

#[tokio::test]
async fn whoever_waits_for_a_close_hears_the_first_reason() {
    let table = Arc::new(Sessions::default());
    let (listed, _) = table.insert(session(&table, 1, "a"));
    let mut early = std::pin::pin!(listed.session.closed());
    assert!(early.as_mut().now_or_never().is_none(), "nobody asked yet");
    listed.session.close(CloseReason::Operator);
    listed.session.close(CloseReason::Superseded);
    for waiter in [&mut early] {
        let heard = tokio::time::timeout(Duration::from_secs(5), waiter).await.expect("woken");
        assert_eq!(heard, CloseReason::Operator);
    }
    assert_eq!(listed.session.closed().await, CloseReason::Operator, "a late waiter hears it too");
}

#[test]
fn every_reason_survives_its_code() {
    for reason in
        [CloseReason::Draining, CloseReason::InstanceGone, CloseReason::Operator, CloseReason::Superseded]
    {
        let table = Arc::new(Sessions::default());
        let (listed, _) = table.insert(session(&table, 1, "a"));
        listed.session.close(reason);
        assert_eq!(listed.session.closing(), Some(reason), "{}", reason.reason());
    }
}

#[test]
fn an_epoch_is_absent_until_granted() {
    let table = Sessions::default();
    let session = session(&table, 1, "a");
    assert_eq!(session.epoch(), None);
    let epoch = Epoch::new(7).expect("not zero");
    session.granted(epoch);
    assert_eq!(session.epoch(), Some(epoch));
}

#[test]
fn what_a_session_costs_stays_small() {
    let arc = 2 * size_of::<usize>();
    let handle = size_of::<Session>() + arc + size_of::<Traffic>() + arc;
    let entry = 2 * (size_of::<DeviceId>() + size_of::<usize>() + 1); // a hash table half full
    assert!(handle + entry < 400, "{handle} + {entry} bytes");
}

#[test]
fn session_numbers_are_never_used_again() {
    let table = Sessions::default();
    let numbers: Vec<_> = (0..3).map(|_| table.next_id().0).collect();
    assert_eq!(numbers, [1, 2, 3]);
}
