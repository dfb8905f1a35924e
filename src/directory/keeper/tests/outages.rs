//! The directory away, empty or strange; replicas that die.

use super::*;

#[tokio::test(start_paused = true)]
async fn while_the_directory_is_away_claims_wait_and_look_ups_say_so() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    let _kept = one.connect(1, "a").await;
    assert_eq!(two.owner(device(1)).await.as_deref(), Some("a"));
    store.set_away(true);
    let waiting = one.prove(device(2), "a");
    assert_eq!(one.keeper.claim(&waiting.session).await, Claimed::Pending);
    assert!(matches!(one.keeper.owner(device(2), Freshness::Cached).await, Answer::Pending { .. }));
    assert_eq!(one.keeper.status().pending, 1);
    assert!(!one.keeper.status().reachable);
    sleep(Duration::from_secs(4)).await;
    let answer = two.keeper.owner(device(1), Freshness::Cached).await;
    let Answer::Unreachable { stale: Some(claim) } = answer else { panic!("{answer:?}") };
    assert_eq!(claim.instance.as_str(), "a");
    let answer = two.keeper.owner(device(3), Freshness::Cached).await;
    assert!(matches!(answer, Answer::Unreachable { stale: None }), "{answer:?}");
    sleep(Duration::from_secs(601)).await;
    let answer = two.keeper.owner(device(1), Freshness::Cached).await;
    assert!(matches!(answer, Answer::Unreachable { stale: None }), "too old: {answer:?}");
    store.set_away(false);
    until("claimed", async || two.owner(device(2)).await.as_deref() == Some("a")).await;
    assert_eq!(one.keeper.status().pending, 0);
    assert_eq!(waiting.session.closing(), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_of_data_everything_is_written_again_and_nobody_is_a_guess_until_then() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    let kept: Vec<_> = [one.connect(1, "a").await, one.connect(2, "b").await].into();
    let epochs: Vec<_> = kept.iter().map(|listed| listed.session.epoch()).collect();
    assert_eq!(two.owner(device(1)).await.as_deref(), Some("a"));
    store.model(|model| model.flush());
    until("noticed", async || !two.keeper.status().synced).await;
    for _ in 0..2 {
        let answer = two.keeper.owner(device(1), Freshness::Fresh).await;
        let Answer::Resyncing { stale: Some(claim) } = answer else { panic!("{answer:?}") };
        assert_eq!(claim.instance.as_str(), "a", "and asking does not erase it");
    }
    let answer = two.keeper.owner(device(9), Freshness::Fresh).await;
    assert!(matches!(answer, Answer::Resyncing { stale: None }), "{answer:?}");
    until("back", async || two.owner(device(1)).await.is_some() && two.owner(device(2)).await.is_some())
        .await;
    until("in sync", async || one.keeper.status().synced && two.keeper.status().synced).await;
    let answer = two.keeper.owner(device(9), Freshness::Fresh).await;
    assert!(matches!(answer, Answer::Nobody), "{answer:?}");
    let restored: Vec<_> = kept.iter().map(|listed| listed.session.epoch()).collect();
    assert_eq!(restored, epochs, "a restored claim keeps its epoch");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_dies_takes_its_records_with_it() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    let _listed = one.connect(1, "a").await;
    one.keeper.halt.cancel(); // no more beats, no leave: as if killed
    sleep(Duration::from_secs(15)).await;
    let answer = two.keeper.owner(device(1), Freshness::Fresh).await;
    assert!(matches!(answer, Answer::Owned { standing: Standing::Suspect, .. }), "{answer:?}");
    sleep(Duration::from_secs(30)).await;
    let answer = two.keeper.owner(device(1), Freshness::Fresh).await;
    assert!(matches!(answer, Answer::Nobody), "{answer:?}");
    assert!(store.owner(device(1)).await.expect("memory answers").is_some(), "no record was swept");
}

#[tokio::test(start_paused = true)]
async fn a_late_claim_refused_by_a_dead_replicas_record_is_claimed_anew() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    let ours = one.connect(1, "a").await;
    let _gone = two.connect(1, "b").await;
    two.keeper.halt.cancel();
    sleep(Duration::from_secs(45)).await;
    // A session that was never told: as if the notice and the device's close had both been lost.
    drop(ours);
    let late = one.prove(device(1), "a");
    sleep(Duration::from_secs(4)).await;
    let stands = store.owner(device(1)).await.expect("memory answers").expect("a record");
    let newer = Claim { epoch: Epoch::new(stands.epoch.micros() + 3_600_000_000).expect("later"), ..stands };
    store.model(|model| model.put(device(1), &newer.to_string(), u64::MAX / 2));
    let claimed = one.keeper.claim(&late.session).await;
    let Claimed::Granted(epoch) = claimed else { panic!("{claimed:?}") };
    assert!(epoch > newer.epoch, "raised above what it displaced");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_given_up_is_made_good() {
    let store = Arc::new(Memory::default());
    let one = replica(&store).await;
    let listed = one.prove(device(1), "a");
    drop(Unsettled { keeper: &one.keeper, session: &listed.session, owed: true });
    assert_eq!(one.keeper.status().pending, 1);
    until("claimed", async || one.keeper.status().pending == 0).await;
    assert!(listed.session.epoch().is_some());
}

#[tokio::test(start_paused = true)]
async fn data_lost_again_while_it_is_written_again_is_written_again() {
    let store = Arc::new(Memory::default());
    let one = replica(&store).await;
    let _listed = one.connect(1, "a").await;
    for _ in 0..3 {
        store.model(|model| model.flush());
        sleep(Duration::from_millis(2_300)).await; // a beat, and perhaps not yet the re-publish
    }
    until("in sync", async || one.keeper.status().synced).await;
    assert!(store.owner(device(1)).await.expect("memory answers").is_some());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_schema_is_refused_at_start() {
    let store = Arc::new(Memory::default());
    store.model(|model| model.set_schema("2"));
    let store: Arc<dyn Directory> = store;
    let (sessions, metrics) = (Arc::default(), Arc::new(Metrics::new()));
    let opened =
        Keeper::with_store(Settings::default(), store, sessions, metrics, Drain::new(Duration::ZERO)).await;
    let Err(error) = opened else { panic!("opened") };
    assert_eq!(error.to_string(), "the directory's schema is version \"2\", this program knows version 1");
}

#[test]
fn a_release_that_waits_is_replayed_after_a_failover_and_the_queue_is_bounded() {
    let owed = Owed::default();
    let key = |n| SessionKey { replica: ReplicaId::new(1), session: SessionId(n) };
    owed.granted(device(1));
    owed.release(device(2), key(2));
    owed.released(&owed.releases(10));
    assert!(owed.releases(10).is_empty());
    assert_eq!(owed.replay(), [device(1)]);
    assert_eq!(owed.releases(10), [(device(2), key(2))]);
    for n in 0..70_000 {
        owed.release(device(3), key(n));
    }
    assert_eq!(owed.releases(usize::MAX).len(), 65_536);
}

#[tokio::test(start_paused = true)]
async fn a_claim_settled_later_is_counted_again_as_what_it_came_to() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    let counted = |outcome: &str| {
        let metrics = one.keeper.metrics.render();
        let name = format!("mps_gateway_claims_total{{outcome=\"{outcome}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect("a series of ours");
        value.parse::<u32>().expect("a number")
    };
    let _at_once = one.connect(1, "a").await;
    store.set_away(true);
    let (granted, displaced) = (one.prove(device(2), "a"), one.prove(device(3), "a"));
    for late in [&granted, &displaced] {
        assert_eq!(one.keeper.claim(&late.session).await, Claimed::Pending);
    }
    assert_eq!(["granted", "pending", "superseded"].map(counted), [1, 2, 0]);
    sleep(Duration::from_secs(5)).await;
    let newer = two.prove(device(3), "b"); // elsewhere, and the first to claim
    store.set_away(false);
    assert!(matches!(two.keeper.claim(&newer.session).await, Claimed::Granted(_)));
    until("settled", async || one.keeper.status().pending == 0).await;
    assert_eq!(displaced.session.closing(), Some(CloseReason::Superseded));
    assert_eq!(["granted", "pending", "superseded"].map(counted), [2, 2, 1]);
    sleep(Duration::from_secs(700)).await; // all are asserted again
    assert_eq!(["granted", "pending", "superseded"].map(counted), [2, 2, 1], "which is no claim");
}
