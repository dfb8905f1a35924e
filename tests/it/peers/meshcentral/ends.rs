//! Whoever ends a session, all three hear of it, and at once.

use std::sync::Arc;

use mps_gateway::sim::device::{DeviceError, Stage};
use tokio::time::Instant;

use super::*;

/// How long "at once" may be while other tests keep the machine busy: no timeout is as short.
const AT_ONCE: Duration = Duration::from_secs(15);

/// A simulated device and MeshCentral's client, both connected.
struct Both {
    device: Device,
    client: Client,
    _amt: Amt,
}

impl Both {
    async fn start(house: &House) -> Self {
        let amt = Amt::start().await;
        let (device, client) = (house.device(device(1)), house.client(self::device(2), &amt));
        for id in [1, 2] {
            house.mesh.has(self::device(id), true).await;
        }
        Self { device, client, _amt: amt }
    }

    /// Both hear that the connection is closed, properly, in the time that is left.
    async fn closed(self, since: Instant) {
        let status = until(&self.device, "closed", |status| status.stage == Stage::Disconnected).await;
        assert!(since.elapsed() < AT_ONCE, "the device heard of it after {:?}", since.elapsed());
        let error = status.last_error.map(|error| Arc::clone(&error));
        assert!(matches!(error.as_deref(), Some(DeviceError::Closed)), "close_notify and FIN, not {error:?}");
        self.client.closed().await;
        assert!(since.elapsed() < AT_ONCE, "the client heard of it after {:?}", since.elapsed());
    }
}

async fn what_meshcentral_closes_is_closed_for_the_device(leg: Leg) {
    let Some(mut house) = House::start(leg).await else { return };
    let both = Both::start(&house).await;
    let since = Instant::now();
    house.mesh.remove(device(1)).await;
    house.mesh.remove(device(2)).await;
    both.closed(since).await;
    house.gone(device(1)).await;
    house.gone(device(2)).await;
    assert_eq!(house.metric("session_ends_total{reason=\"closed\",blame=\"instance\"}").await, 2.0);
    // It may come back, and is taken in anew.
    let again = house.device(device(1));
    within("it is proven", again.proven()).await;
    house.mesh.kill().await;
    until(&again, "closed", |status| status.stage == Stage::Disconnected).await;
    assert_eq!(house.owner(device(1)).await, None);
}

#[tokio::test]
async fn what_meshcentral_closes_is_closed_for_the_device_over_tls() {
    what_meshcentral_closes_is_closed_for_the_device(Leg::Tls).await;
}

#[tokio::test]
async fn what_meshcentral_closes_is_closed_for_the_device_over_plain_tcp() {
    what_meshcentral_closes_is_closed_for_the_device(Leg::Plain).await;
}

async fn a_drain_is_heard_by_devices_and_by_meshcentral(leg: Leg) {
    let Some(house) = House::start(leg).await else { return };
    let both = Both::start(&house).await;
    let since = Instant::now();
    house.gateway.signal("TERM").await;
    both.closed(since).await;
    assert_eq!(house.gateway.ended().await, Some(0));
    for id in [1, 2] {
        house.mesh.has(device(id), false).await;
    }
}

#[tokio::test]
async fn a_drain_is_heard_by_devices_and_by_meshcentral_over_tls() {
    a_drain_is_heard_by_devices_and_by_meshcentral(Leg::Tls).await;
}

#[tokio::test]
async fn a_drain_is_heard_by_devices_and_by_meshcentral_over_plain_tcp() {
    a_drain_is_heard_by_devices_and_by_meshcentral(Leg::Plain).await;
}

#[tokio::test]
async fn a_disconnect_closes_both_legs_and_meshcentral_never_sees_it() {
    let Some(mut house) = House::start(Leg::Tls).await else { return };
    let (id, amt) = (device(2), Amt::start().await);
    let mut client = house.client(id, &amt);
    house.mesh.has(id, true).await;
    client.tell("disconnect").await;
    client.closed().await;
    house.gone(id).await;
    assert_eq!(house.metric("session_ends_total{reason=\"disconnect\",blame=\"device\"}").await, 1.0);
    let log = house.mesh.log();
    assert!(log.contains("MPSCMD: --> GLOBAL_REQUEST"), "what devices say is in its log: {log}");
    assert!(!log.contains("--> DISCONNECT"), "{log}");
}
