//! What every store of claims does, whatever it is made of.

use std::time::Duration;

use mps_gateway::directory::memory::Memory;
use mps_gateway::directory::redis::Redis;
use mps_gateway::directory::{
    Beat, Beaten, Claiming, Directory, DirectoryError, FRESH, Notice, Outcome, Registry, Settings,
};
use mps_gateway::lifecycle::Drain;
use mps_gateway::model::{Claim, DeviceId, Epoch, ReplicaId, SessionKey};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{device, key, named};
use crate::redis_server::RedisServer;

#[tokio::test]
async fn memory_conforms() {
    conformance(&Memory::default()).await;
}

#[tokio::test]
async fn redis_conforms_under_any_prefix() {
    let Some(server) = RedisServer::start().await else { return };
    let stop = CancellationToken::new();
    for prefix in ["mpsgw", "another:fleet*"] {
        let settings = Settings { url: server.url(), prefix: prefix.to_owned(), ..Settings::default() };
        let redis = Redis::open(&settings, &Drain::new(Duration::from_secs(1)), &stop).await;
        conformance(&redis.expect("a Redis URL")).await;
    }
    stop.cancel();
}

/// The suite: each part on devices and replicas of its own.
async fn conformance(store: &dyn Directory) {
    store.check_schema().await.expect("a schema we know, or none");
    store.check_schema().await.expect("the schema just written");
    a_claim_is_read_back_whatever_its_instance_is_called(store).await;
    a_claim_is_idempotent(store).await;
    the_session_proven_last_wins(store).await;
    a_young_claim_always_wins(store).await;
    a_claim_carried_out_late_is_as_old_as_it_is_then(store).await;
    a_restore_never_replaces_a_newer_claim(store).await;
    a_release_ends_exactly_its_own_claim(store).await;
    many_are_answered_in_order(store).await;
    the_displaced_replica_is_told(store).await;
    a_walk_sees_every_record(store).await;
    leases_come_and_go(store).await;
    a_lease_long_over_is_removed_by_whoever_beats(store).await;
}

fn fresh(device: DeviceId, key: SessionKey, instance: &str) -> Claiming {
    Claiming { device, key, instance: named(instance), epoch: None, age: Duration::ZERO, proven_at: None }
}

fn aged(claiming: Claiming, age: Duration) -> Claiming {
    Claiming { age, ..claiming }
}

async fn granted(store: &dyn Directory, claiming: &Claiming) -> (Epoch, Option<Claim>) {
    match store.claim(claiming).await.expect("the store answers") {
        Outcome::Granted { epoch, displaced } => (epoch, displaced),
        Outcome::Refused(newer) => panic!("refused by {newer}"),
    }
}

async fn refused(store: &dyn Directory, claiming: &Claiming) -> Claim {
    match store.claim(claiming).await.expect("the store answers") {
        Outcome::Refused(newer) => newer,
        granted => panic!("{granted:?}"),
    }
}

async fn owner(store: &dyn Directory, device: DeviceId) -> Option<Claim> {
    store.owner(device).await.expect("the store answers")
}

async fn a_claim_is_read_back_whatever_its_instance_is_called(store: &dyn Directory) {
    for (n, name) in ["10.0.0.11", "fd00::1", "stack_mps.1.x7-k", &"n".repeat(255)].into_iter().enumerate() {
        let (device, key) = (device(n as u64), key(1, n as u64));
        assert_eq!(owner(store, device).await, None);
        let (epoch, displaced) = granted(store, &fresh(device, key, name)).await;
        assert_eq!(displaced, None);
        assert_eq!(owner(store, device).await, Some(Claim { epoch, key, instance: named(name) }));
    }
}

async fn a_claim_is_idempotent(store: &dyn Directory) {
    let claiming = fresh(device(10), key(1, 10), "a");
    let (epoch, _) = granted(store, &claiming).await;
    for again in [
        claiming.clone(),
        aged(claiming.clone(), Duration::from_secs(60)),
        Claiming { epoch: Some(epoch), ..claiming.clone() },
    ] {
        assert_eq!(granted(store, &again).await, (epoch, None));
    }
}

async fn the_session_proven_last_wins(store: &dyn Directory) {
    let older = aged(fresh(device(20), key(1, 20), "a"), FRESH + Duration::from_secs(5));
    let newer = aged(fresh(device(20), key(2, 20), "b"), FRESH + Duration::from_secs(1));
    let (first, _) = granted(store, &older).await;
    let (second, displaced) = granted(store, &newer).await;
    assert_eq!(displaced.expect("the older").key, older.key);
    assert!(second > first);
    // The other way round the older one comes too late.
    let older = Claiming { device: device(21), ..older };
    let newer = Claiming { device: device(21), ..newer };
    let (epoch, _) = granted(store, &newer).await;
    assert_eq!(refused(store, &older).await, Claim { epoch, key: newer.key, instance: named("b") });
    assert_eq!(owner(store, device(21)).await.map(|claim| claim.key), Some(newer.key));
}

async fn a_young_claim_always_wins(store: &dyn Directory) {
    let (now, _) = granted(store, &fresh(device(30), key(1, 30), "a")).await;
    let future = Epoch::new(now.micros() + 86_400_000_000).expect("not zero");
    let ahead = Claiming { epoch: Some(future), ..fresh(device(30), key(1, 31), "a") };
    assert_eq!(granted(store, &ahead).await.0, future, "a clock was a day ahead");
    let young = fresh(device(30), key(2, 30), "b");
    let (epoch, displaced) = granted(store, &young).await;
    assert_eq!((epoch.micros(), displaced.map(|claim| claim.epoch)), (future.micros() + 1, Some(future)));
    refused(store, &aged(fresh(device(30), key(1, 32), "a"), FRESH)).await;
}

async fn a_claim_carried_out_late_is_as_old_as_it_is_then(store: &dyn Directory) {
    let (now, _) = granted(store, &fresh(device(35), key(1, 35), "a")).await;
    let proven = |ago: u64| Epoch::new(now.micros() - ago * 1_000_000);
    let late = Claiming { proven_at: proven(10), ..fresh(device(35), key(2, 35), "b") };
    assert_eq!(refused(store, &late).await.key, key(1, 35), "it was young when it was sent");
    let young = Claiming { proven_at: proven(1), ..late.clone() };
    granted(store, &young).await;
    let ahead = Claiming { proven_at: Epoch::new(now.micros() + 60_000_000), key: key(3, 35), ..late };
    granted(store, &ahead).await; // the store's clock was set back since
}

async fn a_restore_never_replaces_a_newer_claim(store: &dyn Directory) {
    let ours = fresh(device(40), key(1, 40), "a");
    let (epoch, _) = granted(store, &ours).await;
    let restore = Claiming { epoch: Some(epoch), ..ours.clone() };
    assert!(store.release(device(40), ours.key).await.expect("the store answers"));
    assert_eq!(granted(store, &restore).await, (epoch, None), "absent: restored with its own epoch");
    let (newer, _) = granted(store, &fresh(device(40), key(2, 40), "b")).await;
    assert!(newer > epoch);
    assert_eq!(refused(store, &restore).await.key, key(2, 40));
    let same_epoch = Claiming { epoch: Some(newer), ..ours };
    assert_eq!(refused(store, &same_epoch).await.epoch, newer, "equal is not newer");
}

async fn a_release_ends_exactly_its_own_claim(store: &dyn Directory) {
    granted(store, &fresh(device(50), key(1, 50), "a")).await;
    granted(store, &fresh(device(50), key(2, 50), "b")).await;
    for other in [key(1, 50), key(2, 51), key(3, 50)] {
        assert!(!store.release(device(50), other).await.expect("the store answers"));
    }
    assert_eq!(owner(store, device(50)).await.map(|claim| claim.key), Some(key(2, 50)));
    assert!(store.release(device(50), key(2, 50)).await.expect("the store answers"));
    assert!(!store.release(device(50), key(2, 50)).await.expect("the store answers"), "twice");
    assert_eq!(owner(store, device(50)).await, None);
}

async fn many_are_answered_in_order(store: &dyn Directory) {
    let devices: Vec<_> = (60..80).map(device).collect();
    let (future, _) = granted(store, &fresh(devices[5], key(2, 1), "b")).await;
    let claimings: Vec<_> = devices
        .iter()
        .zip(0..)
        .map(|(device, n)| aged(fresh(*device, key(1, n), "a"), Duration::from_secs(60)))
        .collect();
    let outcomes = store.claim_many(&claimings).await.expect("the store answers");
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Refused(newer) => assert_eq!((n, newer.epoch), (5, future)),
            Outcome::Granted { .. } => assert_ne!(n, 5),
        }
    }
    let owners = store.owners(&[devices[5], device(9_999), devices[6]]).await.expect("the store answers");
    let keys: Vec<_> = owners.into_iter().map(|claim| claim.map(|claim| claim.key)).collect();
    assert_eq!(keys, [Some(key(2, 1)), None, Some(key(1, 6))]);
    let releases: Vec<_> = claimings.iter().map(|claiming| (claiming.device, claiming.key)).collect();
    let released = store.release_many(&releases).await.expect("the store answers");
    assert_eq!(released, (0..20).map(|n| n != 5).collect::<Vec<_>>());
    assert_eq!(store.claim_many(&[]).await.expect("nothing asked").len(), 0);
    assert_eq!(store.owners(&[]).await.expect("nothing asked").len(), 0);
}

async fn superseded(notices: &mut mpsc::Receiver<Notice>) -> Notice {
    loop {
        let notice = timeout(Duration::from_secs(5), notices.recv()).await.expect("told").expect("open");
        if matches!(notice, Notice::Superseded { .. }) {
            return notice;
        }
    }
}

async fn the_displaced_replica_is_told(store: &dyn Directory) {
    let (one, two) = (ReplicaId::new(90), ReplicaId::new(91));
    let (mut to_one, mut to_two) = (store.notices(one), store.notices(two));
    // A store may take a moment to subscribe: claims go back and forth until both have heard.
    let heard = async {
        let (mut heard_one, mut heard_two) = (false, false);
        for n in 0.. {
            granted(store, &fresh(device(90), key(90, n), "a")).await; // displaces 91, n - 1
            granted(store, &fresh(device(90), key(91, n), "b")).await; // displaces 90, n
            let told = timeout(Duration::from_millis(100), superseded(&mut to_one)).await;
            heard_one |= told.is_ok_and(|told| {
                assert!(matches!(told, Notice::Superseded { device: d, .. } if d == device(90)), "{told:?}");
                true
            });
            heard_two |= timeout(Duration::from_millis(100), superseded(&mut to_two)).await.is_ok();
            if heard_one && heard_two {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), heard).await.expect("both are told");
    while timeout(Duration::from_millis(200), to_one.recv()).await.is_ok() {}
    granted(store, &fresh(device(91), key(90, 0xab), "a")).await;
    granted(store, &fresh(device(91), key(90, 0xac), "a")).await; // its own doing: not told
    granted(store, &fresh(device(91), key(91, 0xad), "b")).await;
    let told = superseded(&mut to_one).await;
    assert_eq!(told, Notice::Superseded { device: device(91), session: key(90, 0xac).session });
}

async fn a_walk_sees_every_record(store: &dyn Directory) {
    let devices: Vec<_> = (1_000..1_300).map(device).collect();
    let claimings: Vec<_> = devices.iter().map(|device| fresh(*device, key(1, 7), "a")).collect();
    store.claim_many(&claimings).await.expect("the store answers");
    let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), None::<String>);
    for step in 0.. {
        assert!(step < 1_000, "the walk has an end");
        let page = store.scan(cursor.as_deref(), 20).await.expect("the store answers");
        seen.extend(page.records.into_iter().filter(|(_, claim)| claim.key == key(1, 7)).map(|(d, _)| d));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(devices.iter().all(|device| seen.contains(device)), "{} of 300", seen.len());
    assert!(matches!(store.scan(Some("nonsense"), 20).await, Err(DirectoryError::Cursor)));
}

fn beat(replica: ReplicaId, info: &str) -> Beat {
    Beat { replica, lease: Duration::from_secs(10), grace: Duration::from_secs(30), info: info.to_owned() }
}

fn infos(registry: &Registry) -> Vec<(ReplicaId, String)> {
    let mut infos: Vec<_> = registry.leases.iter().map(|lease| (lease.replica, lease.info.clone())).collect();
    infos.sort();
    infos
}

async fn leases_come_and_go(store: &dyn Directory) {
    let (one, two) = (ReplicaId::new(100), ReplicaId::new(200));
    let beaten = async |beat| store.beat(&beat).await.expect("the store answers");
    let first = beaten(beat(one, "{\"n\":1}")).await;
    assert!(!first.was_known);
    let again = beaten(beat(one, "{\"n\":1}")).await;
    assert!(again.was_known);
    assert_eq!(again.registry.version, first.registry.version, "nothing changed but the lease");
    let Beaten { registry, .. } = beaten(beat(one, "{\"n\":2}")).await;
    assert!(registry.version > first.registry.version);
    let Beaten { was_known, registry } = beaten(beat(two, "")).await;
    assert!(!was_known);
    let mut both = vec![(one, "{\"n\":2}".to_owned()), (two, String::new())];
    both.sort();
    assert_eq!(infos(&registry), both);
    for lease in &registry.leases {
        assert!((registry.now..=registry.now + 10_000).contains(&lease.ends), "{lease:?}");
    }
    let read = store.registry().await.expect("the store answers");
    assert_eq!((read.version, infos(&read)), (registry.version, both));
    store.leave(two).await.expect("the store answers");
    store.leave(two).await.expect("leaving twice is leaving");
    let read = store.registry().await.expect("the store answers");
    assert_eq!(infos(&read), [(one, "{\"n\":2}".to_owned())]);
    assert!(read.version > registry.version);
    store.leave(one).await.expect("the store answers");
}

async fn a_lease_long_over_is_removed_by_whoever_beats(store: &dyn Directory) {
    let (dead, live) = (ReplicaId::new(300), ReplicaId::new(400));
    let short = Beat { lease: Duration::from_millis(1), ..beat(dead, "") };
    store.beat(&short).await.expect("the store answers");
    tokio::time::sleep(Duration::from_millis(20)).await; // its own time, not a wait for somebody
    let kept = store.beat(&beat(live, "")).await.expect("the store answers").registry;
    assert_eq!(kept.leases.len(), 2, "over, but within the grace");
    let strict = Beat { grace: Duration::from_millis(1), ..beat(live, "") };
    let left = store.beat(&strict).await.expect("the store answers").registry;
    assert_eq!(infos(&left), [(live, String::new())]);
    assert!(left.version > kept.version);
    store.leave(live).await.expect("the store answers");
}
