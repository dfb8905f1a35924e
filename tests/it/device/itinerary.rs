//! The trip of a device: owner, hold, proof, relay, and every way it ends.

use std::collections::BTreeSet;
use std::time::Duration;

use mps_gateway::device::Network;
use mps_gateway::net::instance_tls::{InstanceTls, Verify};
use mps_gateway::sessions::{CloseReason, Session};
use mps_gateway::sim::device::{Closed, DeviceTls, RawDevice};
use mps_gateway::sim::mps::Ending;
use mps_gateway::wire::apf::{AUTH_SERVICE, Message, kind};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::*;

/// The MPS that holds a device.
fn holder(gateway: &Gateway, id: DeviceId) -> usize {
    let holders: Vec<_> = (0..gateway.mps.len()).filter(|i| gateway.mps[*i].holds(id)).collect();
    assert_eq!(holders.len(), 1, "held by exactly one: {holders:?}");
    holders[0]
}

#[tokio::test]
async fn a_device_is_claimed_for_the_mps_that_holds_it_until_it_leaves() {
    let gateway = Gateway::before(3, |_| {}).await;
    let mut raw = gateway.proven(device(1)).await;
    let claim = gateway.claim(device(1)).await.expect("claimed before the 52 was passed on");
    assert_eq!(claim.instance.as_str(), gateway.mps[holder(&gateway, device(1))].name());
    assert_eq!(gateway.sessions.get(device(1)).expect("listed").epoch(), Some(claim.epoch));
    within(raw.offer(&[16992, 16993, 16994])).await.expect("the relay works");
    raw.say(&Message::KeepaliveRequest { cookie: 7 }).await.expect("said");
    within(raw.expect_message(&Message::KeepaliveReply { cookie: 7 })).await.expect("answered");
    let instance = format!("instance_sessions{{instance=\"{}\"}}", claim.instance);
    assert_eq!((gateway.metric("sessions"), gateway.metric(&instance)), (1.0, 1.0));

    drop(raw);
    gateway.all_gone().await;
    assert_eq!(gateway.claim(device(1)).await, None, "released");
    assert_eq!(gateway.metric(&instance), 0.0);
    let mps =
        &gateway.mps[gateway.mps.iter().position(|m| m.name() == claim.instance.as_str()).expect("known")];
    within(mps.until(|mps| !mps.holds(device(1)))).await;
    assert_eq!(mps.connections()[0].ended, Some(Ending::Closed), "its leg was closed, too");
    assert!(gateway.metric("bytes_total{direction=\"from-device\"}") > 200.0);
}

#[tokio::test]
async fn devices_spread_and_each_comes_back_to_its_owner() {
    let gateway = Gateway::before(3, |_| {}).await;
    let mut used = BTreeSet::new();
    for number in 0..12 {
        let first = gateway.proven(device(number)).await;
        let owner = holder(&gateway, device(number));
        let second = gateway.proven(device(number)).await; // while the first is still there
        until("the newer session stands", || gateway.sessions.len() == 1).await;
        assert_eq!(holder(&gateway, device(number)), owner);
        used.insert(owner);
        drop((first, second));
        gateway.all_gone().await;
    }
    assert!(used.len() > 1, "{used:?}");
    assert_eq!(gateway.ended("superseded", "device"), 12.0);
    assert_eq!(gateway.metric("placements_total{why=\"owner\"}"), 12.0);
    assert_eq!(gateway.metric("placements_total{why=\"placed\"}"), 12.0);
}

#[tokio::test]
async fn an_mps_that_refuses_is_passed_over_and_its_devices_come_back_elsewhere() {
    let gateway = Gateway::before(2, |_| {}).await;
    let mut raw = gateway.proven(device(1)).await;
    let first = holder(&gateway, device(1));
    gateway.mps[first].stop().await;
    assert!(matches!(within(raw.closed()).await.expect("closed"), Closed::Notified), "told at once");
    let blamed = gateway.ended("closed", "instance") + gateway.ended("failed", "instance");
    assert_eq!(blamed, 1.0);
    let _raw = gateway.proven(device(1)).await;
    assert_eq!(holder(&gateway, device(1)), 1 - first);
    let claim = gateway.claim(device(1)).await.expect("claimed");
    assert_eq!(claim.instance.as_str(), gateway.mps[1 - first].name());
}

#[tokio::test]
async fn while_nobody_is_up_a_device_is_held_and_then_served() {
    let gateway = Gateway::start().await;
    gateway.mps[0].stop().await;
    let mut raw = gateway.connect().await;
    raw.greet(device(1)).await.expect("said");
    until("it is held", || gateway.metric("devices_held") == 1.0).await;
    gateway.mps[0].restart().await.expect("the port is still ours");
    within(raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("it goes on");
    assert_eq!(gateway.mps[0].connections().last().expect("one").records[..2], [93, 23]);
    drop(raw);
    gateway.all_gone().await;
}

#[tokio::test]
async fn a_held_device_that_leaves_is_noticed_and_one_that_stays_is_let_go_in_the_end() {
    let gateway = Gateway::before(1, |settings| {
        settings.hold = Duration::from_millis(1_500);
        settings.max_connections = 4; // of which two may be held
    })
    .await;
    gateway.mps[0].stop().await;
    let mut leaves = gateway.connect().await;
    leaves.greet(device(1)).await.expect("said");
    let mut stays = gateway.connect().await;
    let began = Instant::now();
    stays.greet(device(2)).await.expect("said");
    until("both are held", || gateway.metric("devices_held") == 2.0).await;
    let mut third = gateway.connect().await;
    third.greet(device(3)).await.expect("said");
    within(third.closed()).await.expect("there is no room to hold a third");
    assert_eq!(gateway.ended("hold-full", "instance"), 1.0);
    drop(leaves);
    until("its leaving is noticed", || gateway.metric("devices_held") == 1.0).await;
    assert_eq!(gateway.ended("closed", "device"), 1.0);
    assert_eq!(within(stays.closed()).await.expect("closed"), Closed::Notified);
    assert!(began.elapsed() >= Duration::from_millis(1_500), "{:?}", began.elapsed());
    until("it was counted", || gateway.ended("no-instance", "instance") == 1.0).await;
    gateway.all_gone().await;
}

#[tokio::test]
async fn a_spent_connect_rate_makes_devices_wait_their_turn_not_fail() {
    let gateway = Gateway::start().await;
    let list = vec![instance(&gateway.mps[0])];
    let avoid = Duration::from_millis(300);
    gateway.instances.replace(instances::Settings {
        list,
        avoid,
        connects_in_flight: 4,
        connects_per_second: 20,
    });
    let began = Instant::now();
    let devices = (0..30).map(|number| gateway.proven(device(number)));
    let devices = within(futures_util::future::join_all(devices)).await;
    assert!(began.elapsed() > Duration::from_millis(1_200), "{:?}", began.elapsed());
    assert_eq!(gateway.mps[0].counts().proofs, 30);
    drop(devices);
    gateway.all_gone().await;
}

#[tokio::test]
async fn a_newer_session_of_a_device_ends_the_older_one() {
    let gateway = Gateway::start().await;
    let mut older = gateway.proven(device(1)).await;
    let before = gateway.claim(device(1)).await.expect("claimed");
    let mut newer = gateway.proven(device(1)).await;
    assert_eq!(within(older.closed()).await.expect("closed"), Closed::Notified);
    until("the older one is gone", || gateway.metric("sessions") == 1.0).await;
    let after = gateway.claim(device(1)).await.expect("claimed");
    assert!(after.epoch > before.epoch && after.key != before.key);
    within(newer.offer(&[16992])).await.expect("the newer one is served");
    assert!(gateway.mps[0].holds(device(1)));
}

#[tokio::test]
async fn clones_are_found_out_and_the_one_that_is_there_stays() {
    let gateway = Gateway::start().await;
    let id = device(1);
    let mut incumbent = gateway.proven(id).await;
    for turn in 0..4 {
        let mut newcomer = gateway.connect_from(2 + turn % 2).await;
        within(newcomer.log_in(id, "admin", &password())).await.expect("not yet contested");
        within(incumbent.closed()).await.expect("displaced");
        incumbent = newcomer;
    }
    assert_eq!(gateway.plane.contested(), [id]);
    let session = gateway.sessions.get(id).expect("listed").id;
    let mut newcomer = gateway.connect_from(9).await;
    newcomer.greet(id).await.expect("said");
    within(newcomer.closed()).await.expect("closed after the preamble");
    until("it was counted", || gateway.metric("contested_refusals_total") == 1.0).await;
    assert_eq!(gateway.ended("contested", "device"), 1.0);
    assert_eq!(gateway.sessions.get(id).expect("listed").id, session);
    within(incumbent.offer(&[16992])).await.expect("who is there stays");
    gateway.still_serves(device(2)).await; // others are not concerned

    drop(incumbent);
    until("it left", || gateway.sessions.get(id).is_none()).await;
    let mut heir = gateway.connect_from(9).await;
    within(heir.log_in(id, "admin", &password())).await.expect("nobody is there any more");
}

#[tokio::test]
async fn a_takeover_counts_once_even_if_the_newer_session_is_gone_when_the_older_notices() {
    let gateway = Gateway::start().await;
    let id = device(1);
    for turn in 0..5 {
        let mut raw = gateway.connect_from(2 + turn % 2).await;
        within(raw.log_in(id, "admin", &password())).await.expect("it logs in");
        let there = gateway.sessions.get(id).expect("listed");
        let traffic = std::sync::Arc::clone(&there.traffic);
        let next = gateway.sessions.next_id();
        let newer = Session::proven(id, next, there.instance.clone(), loopback(9), traffic);
        let (listed, displaced) = gateway.sessions.insert(newer);
        assert!(displaced.is_some());
        drop(listed); // before the older one's task had a turn: this runtime has one thread
        within(raw.closed()).await.expect("displaced");
        gateway.all_gone().await;
    }
    assert_eq!(gateway.plane.contested(), [], "whoever listed the newer one counts it, nobody else");
}

#[tokio::test]
async fn an_operator_and_a_drain_close_sessions_fully() {
    let gateway = Gateway::start().await;
    let mut one = gateway.proven(device(1)).await;
    gateway.sessions.get(device(1)).expect("listed").close(CloseReason::Operator);
    assert_eq!(within(one.closed()).await.expect("closed"), Closed::Notified);
    until("it was counted", || gateway.ended("operator", "us") == 1.0).await;

    let mut others = Vec::new();
    for number in 2..8 {
        others.push(gateway.proven(device(number)).await);
    }
    others.push(gateway.connect().await); // half open
    let mut at_proof = gateway.connect().await;
    at_proof.greet(device(8)).await.expect("said");
    within(at_proof.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("heard");
    others.push(at_proof);
    let drain = gateway.drain.clone();
    let (finished, ()) = tokio::join!(within(drain.finish()), async {
        for raw in &mut others {
            assert_eq!(within(raw.closed()).await.expect("its turn came"), Closed::Notified);
        }
    });
    finished.expect("no task outlives the window");
    assert_eq!(gateway.ended("draining", "us"), 8.0);
    assert!(gateway.sessions.is_empty());
    let refused = within(tokio::net::TcpStream::connect(gateway.addr())).await;
    assert!(refused.is_err(), "the port is closed");
    within(gateway.mps[0].until(|mps| mps.connected().is_empty())).await;
}

#[tokio::test]
async fn behind_a_balancer_the_header_must_come_and_tells_who_called() {
    let gateway = Gateway::before(1, |settings| {
        settings.proxy_from = vec![Network { address: loopback(3), prefix: 32 }];
        settings.proxy_timeout = Duration::from_millis(300);
    })
    .await;
    let mut tcp = gateway.tcp_from(3).await;
    tcp.write_all(b"PROXY TCP4 203.0.113.9 198.51.100.1 4000 4433\r\n").await.expect("said");
    let mut raw = within(RawDevice::over(tcp, &DeviceTls::trusting_anything())).await.expect("shakes hands");
    within(raw.log_in(device(1), "admin", &password())).await.expect("logs in");
    let source = gateway.sessions.get(device(1)).expect("listed").source;
    assert_eq!(source, IpAddr::from([203, 0, 113, 9]));

    let tcp = gateway.tcp_from(3).await;
    let silent = within(RawDevice::over(tcp, &DeviceTls::trusting_anything())).await;
    assert!(silent.is_err(), "from a balancer's network a header must come");
    assert_eq!(gateway.ended("not-proxy", "device"), 1.0);

    let mut tcp = gateway.tcp_from(4).await;
    tcp.write_all(b"PROXY TCP4 203.0.113.9 198.51.100.1 4000 4433\r\n").await.expect("said");
    let stranger = within(RawDevice::over(tcp, &DeviceTls::trusting_anything())).await;
    assert!(stranger.is_err(), "from elsewhere it is garbage");
    until("it was told apart", || gateway.ended("garbage", "device") == 1.0).await;

    let mut local = gateway.tcp_from(3).await;
    let header = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20, 0, 0, 0]].concat(); // v2 LOCAL: the balancer itself
    local.write_all(&header).await.expect("said");
    let local = within(RawDevice::over(local, &DeviceTls::trusting_anything())).await;
    local.expect("goes on as any other");
}

#[tokio::test]
async fn an_mps_that_shows_another_certificate_gets_no_device() {
    let gateway = Gateway::before(1, |settings| settings.hold = Duration::from_millis(200)).await;
    let stranger =
        Authority::new(Keys::P256, "other").expect("a root").issue("mps", &["mps"]).expect("a leaf");
    let pins = Verify::Pin(stranger.pins().to_vec());
    let Gateway { mps, .. } = gateway;
    let gateway = Gateway::with(mps, InstanceTls::new(&pins).expect("pins"), |settings| {
        settings.hold = Duration::from_millis(200);
    })
    .await;
    let mut raw = gateway.connect().await;
    raw.greet(device(1)).await.expect("said");
    within(raw.closed()).await.expect("closed");
    assert!(gateway.metric("instance_connects_total{outcome=\"tls\"}") >= 1.0);
    assert_eq!(gateway.mps[0].counts().messages, 0, "not a byte of the device's");
}

#[tokio::test]
async fn an_mps_that_freezes_before_proof_is_given_up_and_nothing_is_claimed() {
    let gateway = Gateway::before(1, |settings| settings.proof_timeout = Duration::from_millis(300)).await;
    let mut raw = gateway.connect().await;
    raw.greet(device(1)).await.expect("said");
    within(raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("heard");
    gateway.mps[0].freeze(true);
    raw.send(&[&[kind::USERAUTH_REQUEST][..], &login_body()].concat()).await.expect("said");
    assert_eq!(within(raw.closed()).await.expect("closed"), Closed::Notified);
    until("it was counted", || gateway.ended("silent", "instance") == 1.0).await;
    assert_eq!(gateway.claim(device(1)).await, None);
    gateway.mps[0].freeze(false);
    gateway.still_serves(device(1)).await;
}

fn login_body() -> Vec<u8> {
    let text = |t: &[u8]| [&u32::try_from(t.len()).expect("short").to_be_bytes()[..], t].concat();
    [text(b"admin"), text(b"pfwd@amt.intel.com"), text(b"password"), vec![0], text(b"Passw0rd!")].concat()
}

#[tokio::test]
async fn a_relayed_session_in_which_nobody_speaks_is_ended() {
    let gateway = Gateway::before(1, |settings| settings.silence = Duration::from_millis(400)).await;
    let mut raw = gateway.proven(device(1)).await;
    let began = Instant::now();
    assert_eq!(within(raw.closed()).await.expect("closed"), Closed::Notified);
    assert!(began.elapsed() >= Duration::from_millis(350), "{:?}", began.elapsed());
    until("it was counted", || gateway.ended("silent", "device") == 1.0).await;
    gateway.all_gone().await;
}
