//! Which of two sessions of one device remains, whatever was late, lost or frozen.

use std::sync::Arc;
use std::time::Duration;

use mps_gateway::directory::memory::Memory;
use mps_gateway::directory::{Answer, Claimed, Claiming, Directory, Freshness};
use mps_gateway::model::SessionKey;
use tokio::time::sleep;

use super::replica::Replica;
use super::{device, named};
use crate::redis_server::RedisServer;

/// Refused by the record of a replica that started since our last beat.
#[tokio::test(start_paused = true)]
async fn a_replica_just_started_is_not_judged_gone_by_a_late_claim() {
    let store = Arc::new(Memory::default());
    let one = Replica::over(&store).await;
    let late = one.prove(device(1), "a");
    sleep(Duration::from_millis(4_100)).await;
    let two = Replica::over(&store).await;
    let newer = two.connect(device(1), "b").await;
    let claimed = one.keeper.claim(&late.session).await;
    sleep(Duration::from_millis(100)).await;
    println!("{claimed:?}; newer is {:?}", newer.session.closing());
    assert_eq!(newer.session.closing(), None, "proven last");
    assert!(matches!(claimed, Claimed::Superseded(_) | Claimed::Pending));
}

/// An owed claim, retried within 3 s of its proof, against a session proven after it.
#[tokio::test(start_paused = true)]
async fn an_owed_claim_does_not_displace_a_session_proven_after_it() {
    let store = Arc::new(Memory::default());
    let (one, two) = (Replica::over(&store).await, Replica::over(&store).await);
    store.set_away(true);
    let (_older, claimed) = one.claim(device(1), "a").await;
    assert_eq!(claimed, Claimed::Pending);
    sleep(Duration::from_millis(1_500)).await;
    store.set_away(false);
    let newer = two.connect(device(1), "b").await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(newer.session.closing(), None, "proven last, 1.5 s after the other");
}

/// A claim waits in Redis' socket while it is frozen; the device goes elsewhere meanwhile.
#[tokio::test]
async fn a_claim_carried_out_late_does_not_beat_a_session_proven_later() {
    let Some(server) = RedisServer::start().await else { return };
    let (one, two) = (Replica::open(&server.url()).await, Replica::open(&server.url()).await);
    sleep(Duration::from_secs(3)).await;
    server.freeze();
    let (older, claimed) = one.claim(device(1), "a").await;
    assert_eq!(claimed, Claimed::Pending);
    sleep(Duration::from_secs(5)).await;
    let (newer, claimed) = two.claim(device(1), "b").await;
    assert_eq!(claimed, Claimed::Pending);
    sleep(Duration::from_millis(3_500)).await;
    server.thaw();
    for _ in 0..100 {
        sleep(Duration::from_millis(100)).await;
        if older.session.closing().is_some() || newer.session.closing().is_some() {
            break;
        }
    }
    assert_eq!(newer.session.closing(), None, "proven 5 s after the other");
}

/// The claim of a displaced session, carried out late and heard by nobody, then its release.
#[tokio::test(start_paused = true)]
async fn the_release_of_a_displaced_session_leaves_the_newer_one_its_record() {
    let store = Arc::new(Memory::default());
    let (one, two) = (Replica::over(&store).await, Replica::over(&store).await);
    let older = one.prove(device(1), "a");
    let _newer = one.connect(device(1), "b").await;
    let late = Claiming {
        device: device(1),
        key: SessionKey { replica: one.keeper.replica(), session: older.session.id },
        instance: named("a"),
        epoch: None,
        age: Duration::ZERO,
        proven_at: None,
    };
    store.claim(&late).await.expect("memory answers"); // its caller gave up 1 ms before
    one.keeper.release(&older.session);
    drop(older);
    sleep(Duration::from_secs(60)).await;
    let answer = two.keeper.owner(device(1), Freshness::Fresh).await;
    assert!(matches!(answer, Answer::Owned { .. }), "{answer:?}");
}
