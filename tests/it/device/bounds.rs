//! What a device may take before it is proven: places, time, connects, look-ups.

use std::time::Duration;

use bytes::Bytes;
use mps_gateway::net::instance_tls::{InstanceTls, Verify};
use mps_gateway::net::rewind::Rewind;
use mps_gateway::wire::apf::{AUTH_SERVICE, Message};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;

const SHORT: Duration = Duration::from_millis(200);

/// So many connects a second to the one MPS, and so few at once that they do not matter.
fn pace(gateway: &Gateway, connects_per_second: u32, weight: f64) {
    let list = gateway.mps.iter().map(|mps| Instance { weight, ..instance(mps) }).collect();
    let avoid = Duration::from_millis(300);
    gateway.instances.replace(instances::Settings {
        list,
        avoid,
        connects_in_flight: 64,
        connects_per_second,
    });
}

#[tokio::test]
async fn preambles_alone_open_no_more_legs_than_there_are_places_before_proof() {
    let gateway = Gateway::before(1, |settings| settings.max_preauth = 8).await;
    pace(&gateway, 20, 1.0);
    let mut silent = Vec::new();
    for number in 0..40 {
        let mut raw = gateway.connect().await;
        raw.send(&preamble(device(1000 + number))).await.expect("said");
        silent.push(raw);
    }
    until("as many as may have a leg", || gateway.mps[0].connections().len() >= 8).await;
    tokio::time::sleep(Duration::from_secs(2)).await; // at 20 a second all 40 would have one
    assert_eq!(gateway.mps[0].connections().len(), 8);
    let held = gateway.metric("devices_held");
    assert_eq!(gateway.metric("device_connections") - held, 8.0, "the others wait, {held} of them");
    drop(silent);
    gateway.all_gone().await;
    gateway.still_serves(device(1)).await;
}

#[tokio::test]
async fn a_keepalive_does_not_shorten_the_time_the_instance_has_for_a_login() {
    let authority = Authority::new(Keys::P256, "MPSRoot").expect("a root");
    let leaf = authority.issue("mps", &["mps"]).expect("a leaf");
    let database = Arc::new(Database::of_everyone(Account::default()));
    let mut settings = MpsSettings::new("mps-0", Some(leaf.identity()), database);
    settings.behaviour.lookup = Duration::from_millis(2_500);
    let mps = Mps::start(settings).await.expect("starts");
    let tls = InstanceTls::new(&Verify::Pin(leaf.pins().to_vec())).expect("pins");
    let gateway = Gateway::with(vec![mps], tls, |s| s.proof_device_silence = Duration::from_secs(1)).await;
    let mut raw = gateway.connect().await;
    raw.greet(device(1)).await.expect("said");
    within(raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("it goes on");
    raw.send(&login(password().expose().as_bytes())).await.expect("said");
    raw.say(&Message::KeepaliveRequest { cookie: 1 }).await.expect("said");
    within(raw.expect_message(&Message::KeepaliveReply { cookie: 1 })).await.expect("answered");
    within(raw.expect_message(&Message::UserauthSuccess)).await.expect("proven");
}

#[tokio::test]
async fn a_login_ends_in_its_time_although_the_device_does_not_read() {
    let authority = Authority::new(Keys::P256, "MPSRoot").expect("a root");
    let leaf = authority.issue("mps", &["mps"]).expect("a leaf");
    let pins = InstanceTls::new(&Verify::Pin(leaf.pins().to_vec())).expect("pins");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port of the kernel's choice");
    let address = listener.local_addr().expect("it is bound");
    let gateway = Gateway::with(vec![], pins, |settings| {
        (settings.proof_timeout, settings.proof_device_silence) = (SHORT, SHORT);
        settings.hold = LIMIT;
    })
    .await;
    let talkative = Instance::mps("talkative".parse().expect("a name"), address.into(), address.into());
    gateway.instances.replace(instances::Settings {
        list: vec![talkative],
        avoid: SHORT,
        connects_in_flight: 4,
        connects_per_second: 100,
    });
    let tls = ServerTls::new(leaf.identity()).expect("a good identity");
    let replies = Message::KeepaliveReply { cookie: 1 }.to_bytes().repeat(3_000);
    let talks = async {
        let (tcp, _) = listener.accept().await.expect("the gateway connects");
        let mut leg = tls.handshake(Rewind::new(Bytes::new(), tcp)).await.expect("it shakes hands");
        while leg.write_all(&replies).await.is_ok() && leg.flush().await.is_ok() {}
    };
    let mut raw = gateway.connect().await;
    raw.send(&preamble(device(1))).await.expect("said"); // and reads nothing
    within(talks).await;
    until("it was too slow", || gateway.ended("slow", "device") == 1.0).await;
    gateway.all_gone().await;
}

/// How many look-ups held devices cause in four seconds.
async fn look_ups(gateway: &Gateway, devices: u16) -> f64 {
    let mut held = Vec::new();
    for number in 0..devices {
        let mut raw = gateway.connect().await;
        raw.send(&preamble(device(1000 + number))).await.expect("said");
        held.push(raw);
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let text = gateway.metrics.render();
    let looked = text.lines().filter(|line| line.starts_with("mps_gateway_lookups_total"));
    looked.map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")).sum()
}

#[tokio::test]
async fn held_devices_do_not_poll_while_nobody_takes_them() {
    let gateway = Gateway::start().await;
    pace(&gateway, 20, 0.0);
    let looked = look_ups(&gateway, 20).await;
    assert!((20.0..=25.0).contains(&looked), "who is there has no weight: {looked} look-ups");

    let gateway = Gateway::start().await;
    let full = Instance { max_sessions: Some(0), ..instance(&gateway.mps[0]) };
    let avoid = Duration::from_millis(300);
    let (connects_in_flight, connects_per_second) = (64, 20);
    let settings = instances::Settings { list: vec![full], avoid, connects_in_flight, connects_per_second };
    gateway.instances.replace(settings);
    let looked = look_ups(&gateway, 20).await;
    assert!((40.0..=120.0).contains(&looked), "who is there is full: {looked} look-ups");
}

#[tokio::test]
async fn a_candidate_tried_in_the_last_moment_is_not_blamed_for_the_time_that_is_over() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port of the kernel's choice");
    let mute = listener.local_addr().expect("it is bound"); // takes connections and says nothing
    let gateway = Gateway::before(1, |settings| {
        settings.connect_timeout = Duration::from_millis(1_000);
        settings.connect_total = Duration::from_millis(1_200);
        settings.hold = Duration::ZERO;
    })
    .await;
    let named = |name: &str| Instance {
        name: name.parse().expect("a name"),
        cira: mute.into(),
        ..instance(&gateway.mps[0])
    };
    gateway.instances.replace(instances::Settings {
        list: vec![named("a"), named("b")],
        avoid: LIMIT,
        connects_in_flight: 4,
        connects_per_second: 100,
    });
    let mut raw = gateway.connect().await;
    raw.send(&preamble(device(1))).await.expect("said");
    within(raw.closed()).await.expect("no instance in time");
    assert_eq!(gateway.metric("instance_connects_total{outcome=\"timeout\"}"), 2.0);
    let avoided = ["a", "b"].map(|name| gateway.instances.avoided(&name.parse().expect("a name")));
    assert_eq!(
        avoided.iter().filter(|avoided| **avoided).count(),
        1,
        "the one that had its time: {avoided:?}"
    );
}
