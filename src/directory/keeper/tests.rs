#![allow(clippy::disallowed_methods, reason = "tests spawn what no drain need count")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::directory::{Claiming, Lookup, Outcome};
use crate::model::SessionId;
use crate::net::traffic::Traffic;
use crate::sessions::{CloseReason, Listed};

mod late;
mod outages;

/// One replica over a shared directory.
struct Replica {
    keeper: Arc<Keeper>,
    sessions: Arc<Sessions>,
    drain: Drain,
}

async fn replica(store: &Arc<Memory>) -> Replica {
    let (sessions, drain) = (Arc::new(Sessions::default()), Drain::new(Duration::from_secs(5)));
    let store: Arc<dyn Directory> = Arc::clone(store) as _;
    let metrics = Arc::new(Metrics::new());
    let keeper =
        Keeper::with_store(Settings::default(), store, Arc::clone(&sessions), metrics, drain.clone())
            .await
            .expect("memory opens");
    Replica { keeper, sessions, drain }
}

impl Replica {
    /// A session proven now, listed and not yet claimed.
    fn prove(&self, device: DeviceId, instance: &str) -> Listed {
        let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let instance = instance.parse().expect("a name");
        let id = self.sessions.next_id();
        self.sessions.insert(Session::proven(device, id, instance, source, Arc::new(Traffic::begin()))).0
    }

    async fn owner(&self, device: DeviceId) -> Option<String> {
        match self.keeper.owner(device, Freshness::Fresh).await {
            Answer::Owned { claim, .. } => Some(claim.instance.to_string()),
            _ => None,
        }
    }

    async fn connect(&self, n: u8, instance: &str) -> Listed {
        let listed = self.prove(device(n), instance);
        let claimed = self.keeper.claim(&listed.session).await;
        assert!(matches!(claimed, Claimed::Granted(_)), "{claimed:?}");
        listed
    }
}

fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 16])
}

/// Waits, at most a minute, until `true`.
async fn until(what: &str, mut met: impl AsyncFnMut() -> bool) {
    let waited = timeout(Duration::from_secs(60), async {
        while !met().await {
            sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(start_paused = true)]
async fn every_replica_says_who_has_a_device() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    let listed = one.connect(1, "a").await;
    for replica in [&one, &two] {
        let answer = replica.keeper.owner(device(1), Freshness::Cached).await;
        let Answer::Owned { claim, standing: Standing::Live } = answer else { panic!("{answer:?}") };
        assert_eq!(claim.instance.as_str(), "a");
        assert_eq!(Some(claim.epoch), listed.session.epoch());
    }
    assert!(matches!(two.keeper.owner(device(2), Freshness::Cached).await, Answer::Nobody));
    one.keeper.release(&listed.session);
    drop(listed);
    until("released", async || two.owner(device(1)).await.is_none()).await;
    assert!(matches!(one.keeper.owner(device(1), Freshness::Cached).await, Answer::Nobody));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_comes_back_elsewhere_is_closed_where_it_was() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    let older = one.connect(1, "a").await;
    let newer = two.connect(1, "b").await;
    let reason = timeout(Duration::from_secs(1), older.session.closed()).await.expect("told");
    assert_eq!(reason, CloseReason::Superseded);
    one.keeper.release(&older.session);
    drop(older);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(one.owner(device(1)).await.as_deref(), Some("b"), "the late release changed nothing");
    assert_eq!(newer.session.closing(), None);
}

#[tokio::test(start_paused = true)]
async fn a_lost_notice_is_made_up_for_by_asserting_again() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    // Asserted at a time that its part of the table decides: not one of the first ten seconds.
    let (mut n, mut older) = (1, one.connect(1, "a").await);
    while one.sessions.part(0).iter().any(|first| first.id == older.session.id) {
        n += 1;
        older = one.connect(n, "a").await;
    }
    drop(store.notices(one.keeper.replica())); // takes the place of the keeper's own listener
    let _newer = two.connect(n, "b").await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(older.session.closing(), None, "nobody told it");
    advance(Duration::from_secs(620)).await;
    let told = timeout(Duration::from_secs(700), older.session.closed()).await;
    assert_eq!(told, Ok(CloseReason::Superseded));
}

#[tokio::test(start_paused = true)]
async fn a_late_claim_refused_by_a_live_record_ends_the_session() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    let late = one.prove(device(1), "a");
    sleep(Duration::from_secs(4)).await;
    let newer = two.connect(1, "b").await;
    let claimed = one.keeper.claim(&late.session).await;
    let Claimed::Superseded(claim) = claimed else { panic!("{claimed:?}") };
    assert_eq!(Some(claim.epoch), newer.session.epoch());
    assert_eq!(late.session.closing(), Some(CloseReason::Superseded));
    assert_eq!(one.keeper.status().pending, 0);
}

#[tokio::test(start_paused = true)]
async fn a_displaced_session_here_neither_claims_again_nor_takes_the_newer_ones_claim_along() {
    let store = Arc::new(Memory::default());
    let one = replica(&store).await;
    let older = one.connect(1, "a").await;
    let newer = one.connect(1, "b").await;
    assert_eq!(one.keeper.claim(&older.session).await, Claimed::Pending, "told to close: never claimed");
    one.keeper.release(&older.session);
    drop(older);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(one.owner(device(1)).await.as_deref(), Some("b"));
    assert_eq!(one.keeper.status().pending, 0);
    one.keeper.release(&newer.session);
}

#[tokio::test(start_paused = true)]
async fn a_superseded_session_that_still_stands_is_not_given_as_the_owner() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    let older = one.connect(1, "a").await;
    assert_eq!(one.owner(device(1)).await.as_deref(), Some("a"), "and its record is cached");
    let _newer = two.connect(1, "b").await;
    older.session.closed().await;
    let answer = one.keeper.owner(device(1), Freshness::Cached).await;
    assert!(matches!(&answer, Answer::Owned { claim, .. } if claim.instance.as_str() == "b"), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_comes_in_after_its_release_is_undone() {
    let store = Arc::new(Memory::default());
    let one = replica(&store).await;
    let listed = one.prove(device(1), "a");
    one.keeper.release(&listed.session); // the session ends while its claim is under way ..
    let claiming = Claiming {
        device: device(1),
        key: one.keeper.key(&listed.session),
        instance: listed.session.instance.clone(),
        epoch: None,
        age: Duration::ZERO,
        proven_at: None,
    };
    let outcome = store.claim(&claiming).await.expect("memory answers"); // .. which comes in late
    let Outcome::Granted { epoch, .. } = outcome else { panic!("{outcome:?}") };
    one.keeper.granted(&listed.session, epoch);
    drop(listed);
    until("undone", async || store.owner(device(1)).await.expect("memory answers").is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn counts_of_all_live_replicas_add_up() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    let _here = [one.connect(1, "a").await, one.connect(2, "b").await];
    let _there = [two.connect(3, "a").await];
    let at = |name: &str| name.parse().expect("a name");
    until("stated", async || one.keeper.sessions_at(&at("a")) == 2).await;
    assert_eq!((one.keeper.sessions_at(&at("b")), one.keeper.sessions_at(&at("c"))), (1, 0));
    let replicas = one.keeper.replicas();
    assert_eq!(replicas.iter().map(|replica| replica.sessions).sum::<usize>(), 3);
    assert_eq!(replicas.iter().filter(|replica| replica.this).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn pages_cover_every_device_once_and_filter_by_instance() {
    let store = Arc::new(Memory::default());
    let one = replica(&store).await;
    let mut kept = Vec::new();
    for n in 0..60 {
        kept.push(one.connect(n, if n % 3 == 0 { "a" } else { "b" }).await);
    }
    let a = "a".parse().expect("a name");
    for (instance, expected) in [(None, 60), (Some(&a), 20)] {
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = one.keeper.devices(instance, 7, cursor.as_deref()).await.expect("memory answers");
            seen.extend(page.0.into_iter().map(|(device, _)| device));
            cursor = page.1;
            if cursor.is_none() {
                break;
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), expected);
    }
    assert!(matches!(one.keeper.devices(None, 7, Some("nonsense")).await, Err(DirectoryError::Cursor)));
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_at_once_cost_one_look_up() {
    let seen = Arc::new(Seen::new(&Settings::default()));
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let asks = (0..50).map(|_| {
        let (seen, asked) = (Arc::clone(&seen), Arc::clone(&asked));
        tokio::spawn(async move {
            seen.share(device(1), async {
                asked.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(20)).await;
                Ok(None)
            })
            .await
        })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert!(matches!(ask.await.expect("no panic"), Ok(None)));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // Whoever leads may be cancelled: the others ask anew.
    let lead = tokio::spawn({
        let seen = Arc::clone(&seen);
        async move { seen.share(device(2), async { std::future::pending().await }).await }
    });
    sleep(Duration::from_millis(1)).await;
    let follow = tokio::spawn({
        let seen = Arc::clone(&seen);
        async move { seen.share(device(2), async { Ok(None) }).await }
    });
    sleep(Duration::from_millis(1)).await;
    lead.abort();
    let found = timeout(Duration::from_secs(1), follow).await.expect("not stuck").expect("no panic");
    assert!(matches!(found, Ok(None)));
}

#[tokio::test]
async fn a_url_that_names_no_directory_says_so_without_its_password() {
    let settings = Settings { url: "postgres://u:hunter2@db/x".to_owned(), ..Settings::default() };
    let opened =
        Keeper::open(settings, Arc::default(), Arc::new(Metrics::new()), Drain::new(Duration::ZERO)).await;
    let Err(error) = opened else { panic!("opened") };
    assert!(error.to_string().starts_with("directory.url: postgres://db"), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}
