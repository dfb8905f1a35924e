//! What happens when Redis misbehaves: no session is lost, and the times of the design are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mps_gateway::directory::{Answer, Claimed, Freshness};
use mps_gateway::model::Epoch;
use mps_gateway::sessions::{CloseReason, Listed};
use tokio::time::{Instant, sleep};

use super::device;
use super::replica::{Replica, until};
use crate::redis_server::RedisServer;

/// Devices of each replica.
const DEVICES: u64 = 60;
/// The look-up budget, and what a busy machine adds.
const BUDGET: Duration = Duration::from_millis(250 + 150);
/// A look-up that the breaker answers: microseconds, and what a busy machine adds.
const AT_ONCE: Duration = Duration::from_millis(20);
/// The longest pause of the prober, a connect, and a beat's round.
const NOTICED: Duration = Duration::from_millis(2_500 + 1_000 + 500);
/// As above, then everything written again: a random start within 3 s.
const WRITTEN_AGAIN: Duration = Duration::from_millis(4_000 + 3_000 + 1_000);

/// Two replicas with devices each, and somebody who asks all the time.
struct Fleet {
    one: Arc<Replica>,
    two: Arc<Replica>,
    listed: Vec<Listed>,
    epochs: Vec<Option<Epoch>>,
}

impl Fleet {
    async fn on(url: &str) -> Self {
        let (one, two) = (Arc::new(Replica::open(url).await), Arc::new(Replica::open(url).await));
        let mut listed = Vec::new();
        for n in 0..DEVICES {
            listed.push(one.claim(device(n), "a").await.0);
            listed.push(two.claim(device(DEVICES + n), "b").await.0);
        }
        let epochs = listed.iter().map(|listed| listed.session.epoch()).collect();
        Self { one, two, listed, epochs }
    }

    /// Whether the directory itself tells both replicas the truth about every device.
    async fn all_found(&self) -> bool {
        for n in 0..2 * DEVICES {
            let truth = if n < DEVICES { "a" } else { "b" };
            for replica in [&self.one, &self.two] {
                if replica.owner(device(n)).await.as_deref() != Some(truth) {
                    return false;
                }
            }
        }
        self.one.keeper.status().pending == 0 && self.two.keeper.status().pending == 0
    }

    /// Whether any session was told to end, or was granted another epoch than before.
    fn assert_none_lost(&self) {
        for (listed, epoch) in self.listed.iter().zip(&self.epochs) {
            assert_eq!(listed.session.closing(), None, "{:?}", listed.session);
            assert!(epoch.is_none() || *epoch == listed.session.epoch(), "a restore keeps its epoch");
        }
        assert_eq!((self.one.sessions.len(), self.two.sessions.len()), (DEVICES as usize, DEVICES as usize));
    }

    /// Asks for devices of the other replica until told to stop. Nobody may be told "nobody", or a
    /// wrong instance, about a device that is connected.
    fn asker(&self) -> Asker {
        let (replica, stop) = (Arc::clone(&self.one), Arc::new(AtomicBool::new(false)));
        let (stopped, asked) = (Arc::clone(&stop), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&asked);
        #[expect(clippy::disallowed_methods, reason = "a test's task that no drain need count")]
        let asking = tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let n = DEVICES + counted.fetch_add(1, Ordering::Relaxed) as u64 % DEVICES;
                let began = Instant::now();
                match replica.keeper.owner(device(n), Freshness::Cached).await {
                    Answer::Owned { claim, .. } => assert_eq!(claim.instance.as_str(), "b"),
                    Answer::Unreachable { .. } | Answer::Resyncing { .. } => {}
                    wrong => panic!("device {n}: {wrong:?}"),
                }
                slowest = slowest.max(began.elapsed());
                sleep(Duration::from_millis(2)).await;
            }
            slowest
        });
        Asker { asking, stop, asked }
    }
}

struct Asker {
    asking: tokio::task::JoinHandle<Duration>,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Asker {
    /// The slowest answer was within the budget, and none was wrong.
    async fn finish(self) {
        let asked = async || self.asked.load(Ordering::Relaxed) > 10 || self.asking.is_finished();
        until("it did ask", Duration::from_secs(5), asked).await;
        self.stop.store(true, Ordering::Relaxed);
        let slowest = self.asking.await.expect("no wrong answer");
        assert!(slowest < BUDGET, "{slowest:?}");
    }
}

/// Look-ups and claims cost next to nothing while the breaker is open, and say "unreachable".
async fn assert_open(replica: &Replica) {
    assert!(!replica.keeper.status().reachable);
    for n in 0..20 {
        let began = Instant::now();
        let answer = replica.keeper.owner(device(7_000 + n), Freshness::Cached).await;
        assert!(matches!(answer, Answer::Unreachable { stale: None }), "{answer:?}");
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_redis_that_refuses_from_the_start_is_waited_for() {
    let Some(mut server) = RedisServer::start().await else { return };
    server.kill();
    let began = Instant::now();
    let fleet = Fleet::on(&server.url()).await;
    assert!(began.elapsed() < Duration::from_secs(2), "started without it: {:?}", began.elapsed());
    assert_open(&fleet.one).await;
    assert_eq!(fleet.one.keeper.status().pending, DEVICES as usize);
    let answer = fleet.one.keeper.owner(device(0), Freshness::Cached).await;
    assert!(matches!(answer, Answer::Pending { .. }), "own sessions are known: {answer:?}");
    server.restart().await;
    let took = until("all found", NOTICED, async || fleet.all_found().await).await;
    println!("all found {took:?} after Redis came up");
    fleet.assert_none_lost();
}

#[tokio::test]
async fn a_frozen_redis_costs_no_session_and_no_look_up_more_than_its_budget() {
    let Some(server) = RedisServer::start().await else { return };
    let mut fleet = Fleet::on(&server.url()).await;
    assert!(fleet.all_found().await);
    let asker = fleet.asker();
    server.freeze();
    let began = Instant::now();
    let (waiting, claimed) = fleet.one.claim(device(9_000), "a").await;
    assert_eq!(claimed, Claimed::Pending);
    assert!(
        began.elapsed() < BUDGET,
        "proof waits for a claim no longer than its budget: {:?}",
        began.elapsed()
    );
    let opened = until("the breaker opens", NOTICED, async || {
        !fleet.one.keeper.status().reachable && !fleet.two.keeper.status().reachable
    });
    println!("breakers open after {:?}", opened.await);
    assert_open(&fleet.one).await;
    let ended = fleet.listed.pop().expect("there are some");
    let gone = ended.session.device;
    fleet.two.end(ended); // its release waits
    sleep(Duration::from_secs(2)).await;
    server.thaw();
    let took = until("claimed, released", NOTICED, async || {
        let told = fleet.two.owner(device(9_000)).await;
        told.as_deref() == Some("a")
            && waiting.session.epoch().is_some()
            && fleet.two.owner(gone).await.is_none()
    });
    println!("debts paid {:?} after the thaw", took.await);
    asker.stop.store(true, Ordering::Relaxed);
    let _ = asker.asking.await; // the device that left is nobody's, which the asker does not know
    assert_eq!(waiting.session.closing(), None);
    assert!(fleet.listed.iter().all(|listed| listed.session.closing().is_none()));
}

#[tokio::test]
async fn a_redis_killed_and_restarted_empty_is_filled_again() {
    let Some(mut server) = RedisServer::start().await else { return };
    let fleet = Fleet::on(&server.url()).await;
    assert!(fleet.all_found().await);
    let asker = fleet.asker();
    sleep(Duration::from_millis(500)).await; // the asker has seen all there is
    server.kill();
    until("noticed", Duration::from_secs(1), async || !fleet.one.keeper.status().reachable).await;
    assert_open(&fleet.one).await;
    let answer = fleet.one.keeper.owner(device(DEVICES), Freshness::Fresh).await;
    assert!(
        matches!(&answer, Answer::Unreachable { stale: Some(claim) } if claim.instance.as_str() == "b"),
        "{answer:?}"
    );
    server.restart().await;
    let took = until("written again", WRITTEN_AGAIN, async || fleet.all_found().await).await;
    println!("all found {took:?} after the restart");
    let synced = async || fleet.one.keeper.status().synced && fleet.two.keeper.status().synced;
    until("in sync", Duration::from_secs(8), synced).await;
    asker.finish().await;
    fleet.assert_none_lost();
    let nobody = fleet.one.keeper.owner(device(8_000), Freshness::Cached).await;
    assert!(matches!(nobody, Answer::Nobody), "{nobody:?}");
    assert!(fleet.one.metrics.render().contains("mps_gateway_directory_lost_data_total 1"));
}

#[tokio::test]
async fn a_flush_is_noticed_and_made_good() {
    let Some(server) = RedisServer::start().await else { return };
    let fleet = Fleet::on(&server.url()).await;
    let asker = fleet.asker();
    let _: String = server.command(&["FLUSHALL"]).await;
    let took = until("written again", WRITTEN_AGAIN, async || fleet.all_found().await).await;
    println!("all found {took:?} after FLUSHALL");
    asker.finish().await;
    fleet.assert_none_lost();
    let schema: String = server.command(&["GET", "mpsgw:{reg}:schema"]).await;
    assert_eq!(schema, "1");
    assert_eq!(fleet.one.keeper.replicas().len(), 2);
}

#[tokio::test]
async fn a_script_flush_is_not_even_noticed() {
    let Some(server) = RedisServer::start().await else { return };
    let fleet = Fleet::on(&server.url()).await;
    for n in 0..5 {
        let _: String = server.command(&["SCRIPT", "FLUSH"]).await;
        let listed = fleet.one.connect(device(9_000 + n), "a").await;
        let _: String = server.command(&["SCRIPT", "FLUSH"]).await;
        fleet.one.end(listed);
        let gone = async || fleet.two.owner(device(9_000 + n)).await.is_none();
        until("released", Duration::from_secs(2), gone).await;
    }
    assert!(fleet.all_found().await);
    fleet.assert_none_lost();
    assert!(fleet.one.metrics.render().contains("mps_gateway_directory_errors_total 0"));
}

#[tokio::test]
async fn killed_connections_are_replaced_at_once_and_messages_come_again() {
    let Some(server) = RedisServer::start().await else { return };
    let fleet = Fleet::on(&server.url()).await;
    let asker = fleet.asker();
    for kind in ["normal", "pubsub"] {
        // CLIENT KILL closes the asking connection too, unless told to skip it.
        let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await;
    }
    let took = until("connected", Duration::from_secs(1), async || {
        fleet.one.keeper.status().reachable && fleet.two.keeper.status().reachable && fleet.all_found().await
    });
    println!("all found {:?} after CLIENT KILL", took.await);
    let subscribed = async || {
        let count: Vec<redis::Value> = server.command(&["PUBSUB", "CHANNELS", "*"]).await;
        count.len() == 2
    };
    until("subscribed", Duration::from_secs(2), subscribed).await;
    let older = fleet.one.connect(device(9_000), "a").await;
    let newer = fleet.two.connect(device(9_000), "b").await;
    until("told", Duration::from_secs(1), async || older.session.closing() == Some(CloseReason::Superseded))
        .await;
    drop((older, newer));
    asker.finish().await;
    fleet.assert_none_lost();
}

#[tokio::test]
async fn a_session_displaced_while_redis_was_away_is_closed_when_it_is_back() {
    let Some(mut server) = RedisServer::start().await else { return };
    let (one, two) = (Replica::open(&server.url()).await, Replica::open(&server.url()).await);
    let older = one.connect(device(1), "a").await;
    server.kill();
    until("noticed", Duration::from_secs(1), async || !two.keeper.status().reachable).await;
    let (newer, claimed) = two.claim(device(1), "b").await;
    assert_eq!(claimed, Claimed::Pending);
    server.restart().await;
    let closed = async || older.session.closing() == Some(CloseReason::Superseded);
    until("the older is closed", WRITTEN_AGAIN, closed).await;
    until("the newer is found", WRITTEN_AGAIN, async || one.owner(device(1)).await.as_deref() == Some("b"))
        .await;
    assert_eq!(newer.session.closing(), None);
}

#[tokio::test]
async fn a_replica_that_leaves_takes_its_records_with_it_by_the_next_beat() {
    let Some(server) = RedisServer::start().await else { return };
    let fleet = Fleet::on(&server.url()).await;
    assert!(fleet.all_found().await);
    sleep(Duration::from_secs(5)).await; // until then the first to come judges nobody gone
    fleet.two.keeper.leave().await;
    let gone = async || fleet.one.owner(device(DEVICES)).await.is_none();
    let took = until("gone", Duration::from_millis(2_500), gone).await;
    println!("gone {took:?} after leaving");
    let records: Vec<String> = server.command(&["KEYS", "mpsgw:d:*"]).await;
    assert_eq!(records.len(), 2 * DEVICES as usize, "and no record was touched for it");
}

#[tokio::test]
async fn a_drain_keeps_the_lease_until_the_replica_leaves_and_then_no_task_is_left_behind() {
    let Some(server) = RedisServer::start().await else { return };
    let replica = Replica::open(&server.url()).await;
    let drain = replica.drain.clone();
    #[expect(clippy::disallowed_methods, reason = "a test's task that no drain need count")]
    let finished = tokio::spawn(async move { drain.finish().await });
    sleep(Duration::from_secs(1)).await;
    let leases: u64 = server.command(&["ZCARD", "mpsgw:{reg}:s:hb"]).await;
    assert_eq!(leases, 1, "somebody may still be proven");
    replica.keeper.leave().await;
    finished.await.expect("no panic").expect("no task outlives the window");
    let leases: u64 = server.command(&["ZCARD", "mpsgw:{reg}:s:hb"]).await;
    assert_eq!(leases, 0);
    replica.keeper.leave().await; // once more is no harm
}
