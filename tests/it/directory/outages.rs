//! What is said of devices while the directory refuses, forgets or comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mps_gateway::directory::memory::Memory;
use mps_gateway::directory::{Answer, Beat, Claiming, Directory, Freshness, Settings};
use mps_gateway::model::ReplicaId;
use mps_gateway::sessions::CloseReason;
use tokio::time::{Instant, sleep};

use super::replica::{Replica, until};
use super::{device, key, named};
use crate::redis_server::RedisServer;

/// Data lost; another replica, whose lease we know to run, needs 7 s to come back.
#[tokio::test(start_paused = true)]
async fn nobody_is_not_said_while_a_replica_known_before_a_loss_has_not_come_back() {
    let store = Arc::new(Memory::default());
    let one = Replica::over(&store).await;
    let two = ReplicaId::new(77);
    let info = r#"{"name":"two","sessions":1,"synced":true}"#.to_owned();
    let (lease, grace) = (Duration::from_secs(10), Duration::from_secs(30));
    let beat = Beat { replica: two, lease, grace, info };
    store.beat(&beat).await.expect("memory answers");
    let claiming = Claiming {
        device: device(1),
        key: key(77, 1),
        instance: named("b"),
        epoch: None,
        age: Duration::ZERO,
        proven_at: None,
    };
    store.claim(&claiming).await.expect("memory answers");
    for _ in 0..3 {
        sleep(Duration::from_secs(2)).await;
        store.beat(&beat).await.expect("memory answers");
    }
    let answer = one.keeper.owner(device(1), Freshness::Cached).await;
    assert!(matches!(answer, Answer::Owned { .. }), "{answer:?}");
    store.model(|model| model.flush());
    while one.keeper.status().synced {
        sleep(Duration::from_millis(10)).await; // until its beat tells
    }
    for tenth in 0..75 {
        sleep(Duration::from_millis(100)).await;
        let answer = one.keeper.owner(device(1), Freshness::Fresh).await;
        assert!(!matches!(answer, Answer::Nobody), "after {} ms: {answer:?}", (tenth + 1) * 100);
    }
}

fn quick(server: &RedisServer) -> Settings {
    Settings {
        url: server.url(),
        beat: Duration::from_millis(200),
        lease: Duration::from_secs(1),
        grace: Duration::from_secs(1),
        ..Settings::default()
    }
}

/// Redis refuses writes (NOREPLICAS, MISCONF, OOM) and answers reads.
#[tokio::test]
async fn a_redis_that_takes_no_writes_makes_no_device_vanish() {
    let Some(server) = RedisServer::start().await else { return };
    let one = Replica::with(quick(&server)).await.expect("opens");
    let two = Replica::with(quick(&server)).await.expect("opens");
    let kept = two.connect(device(1), "b").await;
    sleep(Duration::from_secs(6)).await; // past the hold
    let before = one.keeper.owner(device(1), Freshness::Fresh).await;
    assert!(matches!(before, Answer::Owned { .. }), "{before:?}");
    let _: String = server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    for _ in 0..30 {
        sleep(Duration::from_millis(100)).await;
        let answer = one.keeper.owner(device(1), Freshness::Fresh).await;
        let status = one.keeper.status();
        assert!(!matches!(answer, Answer::Nobody), "{answer:?} {status:?}");
    }
    assert!(!one.keeper.status().takes_writes, "it is said why");
    let three = Replica::with(quick(&server)).await.expect("opens");
    assert!(three.keeper.status().reachable, "it still answers look-ups");
    assert_eq!(kept.session.closing(), None);
    let _: String = server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    let well = async || one.keeper.status().takes_writes && three.owner(device(1)).await.is_some();
    until("well again", Duration::from_secs(2), well).await;
}

/// Redis away for some seconds, data kept; devices move meanwhile.
#[tokio::test]
async fn a_session_displaced_while_redis_was_away_is_told_also_when_data_was_kept() {
    let Some(server) = RedisServer::start().await else { return };
    let mut pairs = Vec::new();
    for n in 0..8 {
        let (one, two) = (Replica::open(&server.url()).await, Replica::open(&server.url()).await);
        let older = one.connect(device(n), "a").await;
        pairs.push((one, two, older));
    }
    sleep(Duration::from_secs(2)).await; // all are subscribed
    server.freeze();
    sleep(Duration::from_secs(8)).await; // all have given their connections up
    let mut newer = Vec::new();
    for (n, (_, two, _)) in pairs.iter().enumerate() {
        newer.push(two.claim(device(n as u64), "b").await.0);
    }
    server.thaw();
    let told =
        async || pairs.iter().all(|(_, _, older)| older.session.closing() == Some(CloseReason::Superseded));
    let took = until("all older sessions are told", Duration::from_secs(25), told).await;
    println!("told {took:?} after the thaw");
    assert!(newer.iter().all(|newer| newer.session.closing().is_none()));
    for (n, (one, _, _)) in pairs.iter().enumerate() {
        let found = async || one.owner(device(n as u64)).await.as_deref() == Some("b");
        until("found where it is", Duration::from_secs(5), found).await;
    }
}

#[tokio::test]
async fn a_redis_back_empty_after_a_lease_never_makes_nobody_of_a_live_session() {
    let Some(mut server) = RedisServer::start().await else { return };
    let mut replicas = Vec::new();
    for n in 0..8 {
        let replica = Replica::with(quick(&server)).await.expect("opens");
        let listed = replica.connect(device(n), "a").await;
        replicas.push((replica, listed));
    }
    sleep(Duration::from_secs(1)).await; // all have seen all
    server.kill();
    sleep(Duration::from_secs(3)).await; // lease and grace are over
    server.restart().await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(7) {
        for (asker, _) in &replicas {
            for n in 0..8 {
                let answer = asker.keeper.owner(device(n), Freshness::Fresh).await;
                assert!(!matches!(answer, Answer::Nobody), "device {n} after {:?}", began.elapsed());
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_under_load_never_makes_nobody_of_a_live_session() {
    let Some(server) = RedisServer::start().await else { return };
    let one = Arc::new(Replica::with(quick(&server)).await.expect("opens"));
    let two = Replica::with(quick(&server)).await.expect("opens");
    let _kept = two.connect(device(1), "b").await;
    sleep(Duration::from_secs(6)).await; // past the hold
    let (stop, wrong) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..8 {
        let (one, stop, wrong) = (Arc::clone(&one), Arc::clone(&stop), Arc::clone(&wrong));
        #[expect(clippy::disallowed_methods, reason = "a test's task that no drain need count")]
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                if matches!(one.keeper.owner(device(1), Freshness::Fresh).await, Answer::Nobody) {
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
                sleep(Duration::from_micros(300)).await;
            }
        });
    }
    for _ in 0..6 {
        let _: String = server.command(&["FLUSHALL"]).await;
        sleep(Duration::from_millis(1_200)).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert_eq!(wrong.load(Ordering::Relaxed), 0, "times nobody");
    until("found", Duration::from_secs(8), async || one.owner(device(1)).await.is_some()).await;
}
