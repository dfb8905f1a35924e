//! Which of two sessions of one device remains, whatever was late, lost or frozen.

use std::sync::Arc;
use std::time::Duration;

use mps_gateway::directory::Claimed;
use mps_gateway::directory::memory::Memory;
use tokio::time::sleep;

use super::device;
use super::replica::Replica;

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
