//! What comes late, or is heard of late.

use std::sync::atomic::AtomicU64;

use super::*;

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_drain_without_sessions_lasts_until_it_leaves() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    let (drain, keeper) = (one.drain.clone(), Arc::clone(&one.keeper));
    let drained = tokio::spawn(async move { drain.finish().await });
    sleep(Duration::from_secs(2)).await; // nobody is proven yet, and somebody is about to be
    let listed = one.connect(1, "a").await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(two.owner(device(1)).await.as_deref(), Some("a"), "its session is still up");
    drop(listed); // no release: the record dies with the lease
    keeper.leave().await;
    drained.await.expect("no panic").expect("no task outlives the window");
    until("gone", async || two.owner(device(1)).await.is_none()).await;
    assert_eq!(two.keeper.replicas().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_young_claim_wins_also_when_the_clock_was_set_forward_since_the_last_beat() {
    let (ahead, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let set = Arc::clone(&ahead);
    let clock = move || {
        let since = began.elapsed().as_micros() as u64;
        1_790_000_000_000_000 + since + ahead.load(Ordering::Relaxed)
    };
    let store = Arc::new(Memory::with_clock(Arc::new(clock)));
    let (one, two) = (replica(&store).await, replica(&store).await);
    // Right after a beat: the next one, which would tell of the new clock, is then far away.
    let beaten = *one.keeper.confirmed.lock();
    until("a beat", async || *one.keeper.confirmed.lock() != beaten).await;
    set.store(60_000_000, Ordering::Relaxed);
    let late = one.prove(device(1), "a");
    sleep(Duration::from_millis(100)).await;
    let claiming = Claiming {
        device: device(1),
        key: two.keeper.key(&late.session),
        instance: "b".parse().expect("a name"),
        epoch: None,
        age: Duration::ZERO,
        proven_at: None,
    };
    store.claim(&claiming).await.expect("memory answers"); // by the new clock
    let claimed = one.keeper.claim(&late.session).await;
    assert!(matches!(claimed, Claimed::Granted(_)), "{claimed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_comes_in_after_its_only_release_is_released_again() {
    let store = Arc::new(Memory::default());
    let one = replica(&store).await;
    store.set_away(true);
    let listed = one.prove(device(1), "a");
    assert_eq!(one.keeper.claim(&listed.session).await, Claimed::Pending);
    let claiming = one.keeper.claiming(&listed.session);
    one.keeper.release(&listed.session);
    drop(listed);
    store.set_away(false);
    sleep(Duration::from_secs(3)).await; // the release is carried out ..
    store.claim(&claiming).await.expect("memory answers"); // .. before the claim, which nobody hears of
    sleep(Duration::from_secs(15)).await;
    assert_eq!(store.owner(device(1)).await.expect("memory answers"), None);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_shows_a_newer_session_ends_ours() {
    let store = Arc::new(Memory::default());
    let (one, two) = (replica(&store).await, replica(&store).await);
    let older = one.connect(1, "a").await;
    drop(store.notices(one.keeper.replica())); // takes the place of the keeper's own listener
    let newer = two.connect(1, "b").await;
    assert_eq!(one.owner(device(1)).await.as_deref(), Some("b"));
    let told = timeout(Duration::from_secs(2), older.session.closed()).await;
    assert_eq!(told, Ok(CloseReason::Superseded));
    assert_eq!(newer.session.closing(), None);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_ours_whose_session_is_gone_is_on_no_page() {
    let store = Arc::new(Memory::default());
    let one = replica(&store).await;
    let listed = one.connect(1, "a").await;
    drop(listed); // no release
    let page = one.keeper.devices(None, 10, None).await.expect("memory answers");
    assert_eq!(page, (vec![], None));
}

#[test]
fn the_debt_of_an_older_session_never_takes_the_place_of_a_newer_ones() {
    let owed = Owed::default();
    owed.claim(device(1), SessionId(2));
    owed.claim(device(1), SessionId(1));
    assert_eq!(owed.claims(10), [(device(1), SessionId(2))]);
}
