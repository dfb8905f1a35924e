//! Where spliced sessions go, how long they wait, how many there may be, and how they leave.

use std::collections::BTreeMap;

use mps_gateway::wire::apf::Message;
use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn a_modern_hello_is_terminated_and_guarded_all_the_same() {
    let gateway = Gateway::before(1, |settings| settings.legacy_tls = LegacyTls::Splice).await;
    let mut raw = gateway.proven(device(1)).await;
    within(raw.offer(&[16992])).await.expect("the relay works");
    assert!(gateway.claim(device(1)).await.is_some());
    raw.send(&disconnect()).await.expect("said");
    within(raw.closed()).await.expect("the guard ends it");
    assert_eq!(gateway.ended("disconnect", "device"), 1.0);
    assert_eq!(gateway.metric("accepts_total{outcome=\"spliced\"}"), 0.0);
    gateway.all_spliced_gone().await;
}

#[tokio::test]
async fn what_is_no_hello_is_never_spliced() {
    let bare = Bare::start("a").await;
    let gateway = before(&[&bare], |settings| settings.hello_timeout = SHORT).await;
    for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0-x\r\n", &hello()[..40], &[0x80, 1, 2], b""] {
        let mut tcp = gateway.tcp_from(1).await;
        tcp.write_all(said).await.expect("said");
        let mut answer = Vec::new();
        let _closed_or_reset = within(tcp.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"");
    }
    gateway.all_spliced_gone().await;
    assert_eq!(gateway.metric("instance_connects_total{outcome=\"connected\"}"), 0.0);
}

#[tokio::test]
async fn refused_unless_chosen_and_a_reload_chooses_for_new_sessions_only() {
    let bare = Bare::start("a").await;
    let gateway = before(&[&bare], |settings| settings.legacy_tls = LegacyTls::Refuse).await;
    let alert = [21, 3, 1, 0, 2, 2, 70];
    assert_eq!(rest(&mut gateway.legacy_from(1).await).await, alert);
    let settings = |legacy_tls| device::Settings { legacy_tls, grace: SHORT, ..device::Settings::default() };
    gateway.plane.reload(settings(LegacyTls::Splice));
    let mut device = gateway.legacy_from(1).await;
    let mut leg = bare.hears(&hello()).await;
    gateway.plane.reload(settings(LegacyTls::Refuse));
    assert_eq!(rest(&mut gateway.legacy_from(1).await).await, alert);
    leg.write_all(b"still here").await.expect("said");
    assert_eq!(heard(&mut device, 10).await, b"still here");
    assert_eq!(gateway.ended("legacy-hello", "device"), 2.0);
    assert_eq!(gateway.splice_ended("legacy-hello", "device"), 0.0);
    drop(device);
    gateway.all_spliced_gone().await;
}

/// Where one hello of each of these sources goes: how many instances saw which.
async fn goes(gateway: &Gateway, fleet: &[Bare], last: u8) -> usize {
    let _device = gateway.legacy_from(last).await;
    let accepts: Vec<_> = fleet.iter().map(|bare| Box::pin(bare.hears_any())).collect();
    within(futures_util::future::select_all(accepts)).await.1
}

impl Bare {
    async fn hears_any(&self) {
        drop(self.listener.accept().await.expect("the gateway connects"));
    }
}

#[tokio::test]
async fn a_source_stays_with_one_instance_and_goes_to_the_next_when_that_is_gone() {
    let mut fleet = vec![Bare::start("a").await, Bare::start("b").await, Bare::start("c").await];
    let gateway = before(&fleet.iter().collect::<Vec<_>>(), |_| {}).await;
    let mut first = BTreeMap::new();
    for last in 1..=12 {
        first.insert(last, goes(&gateway, &fleet, last).await);
        assert_eq!(goes(&gateway, &fleet, last).await, first[&last], "source {last} came back");
    }
    assert_eq!(first.values().collect::<std::collections::BTreeSet<_>>().len(), 3, "they spread: {first:?}");

    // The first choice of source 1 takes no connections: the next one, and all others as before.
    let gone = fleet.remove(first[&1]).name;
    let place = |was: usize| was - usize::from(was > first[&1]);
    for (last, was) in &first {
        let now = goes(&gateway, &fleet, *last).await;
        assert!(*was == first[&1] || now == place(*was), "source {last} had no reason to move");
    }
    assert!(gateway.instances.avoided(&gone.parse().expect("a name")), "it is avoided by devices, too");
    gateway.all_spliced_gone().await;

    // A draining one keeps what it has and gets none.
    let mut list: Vec<_> = fleet.iter().map(Bare::instance).collect();
    list[0].state = State::Draining;
    gateway.instances.replace(paced(list, 1_000));
    for last in 1..=12 {
        assert_eq!(goes(&gateway, &fleet, last).await, 1);
    }
}

#[tokio::test]
async fn while_nobody_is_up_a_legacy_device_is_held_and_then_spliced() {
    let gateway = nobody(|settings| settings.max_preauth = 1).await;
    let mut device = gateway.legacy_from(1).await;
    let gone = gateway.legacy_from(2).await;
    until("both are held, and no place before proof with them", || gateway.metric("devices_held") == 2.0)
        .await;
    drop(gone);
    until("it was noticed that one left", || gateway.splice_ended("closed", "device") == 1.0).await;
    let bare = Bare::start("a").await;
    gateway.instances.replace(paced(vec![bare.instance()], 1_000));
    let mut leg = bare.hears(&hello()).await;
    assert_eq!(gateway.metric("devices_held"), 0.0);
    leg.write_all(b"welcome").await.expect("said");
    assert_eq!(heard(&mut device, 7).await, b"welcome");
    drop(device);
    gateway.all_spliced_gone().await;
}

#[tokio::test]
async fn a_legacy_device_that_nobody_takes_in_time_is_closed() {
    let gateway = nobody(|settings| {
        settings.hold = SHORT;
        (settings.max_connections, settings.max_spliced) = (3, 2); // one may be held
    })
    .await;
    let mut held = gateway.legacy_from(1).await;
    until("it is held", || gateway.metric("devices_held") == 1.0).await;
    assert_eq!(rest(&mut gateway.legacy_from(2).await).await, b"");
    assert_eq!(rest(&mut held).await, b"", "without a word, since it speaks no TLS of ours");
    gateway.all_spliced_gone().await;
    assert_eq!(gateway.splice_ended("no-instance", "instance"), 1.0);
    assert_eq!(gateway.splice_ended("hold-full", "instance"), 1.0);
}

#[tokio::test]
async fn connects_to_an_instance_keep_its_pace() {
    let bare = Bare::start("a").await;
    let gateway = nobody(|_| {}).await;
    gateway.instances.replace(paced(vec![bare.instance()], 20));
    let began = Instant::now();
    let mut devices = Vec::new();
    for number in 0..30 {
        devices.push(gateway.legacy_from(1 + number % 3).await);
    }
    for _ in 0..30 {
        devices.push(bare.hears(&hello()).await);
    }
    assert!(began.elapsed() > Duration::from_millis(1_200), "{:?}", began.elapsed());
    drop(devices);
    gateway.all_spliced_gone().await;
}

#[tokio::test]
async fn a_source_waits_for_its_instance_rather_than_go_to_one_that_has_time() {
    let fleet = [Bare::start("a").await, Bare::start("b").await];
    let gateway = nobody(|_| {}).await;
    gateway.instances.replace(paced(fleet.iter().map(Bare::instance).collect(), 20)); // 4 at once
    let mut devices = Vec::new();
    for _ in 0..10 {
        devices.push(gateway.legacy_from(1).await);
    }
    let mut seen = [0, 0];
    for _ in 0..10 {
        let place = tokio::select! {
            () = fleet[0].hears_any() => 0,
            () = fleet[1].hears_any() => 1,
        };
        seen[place] += 1;
    }
    assert!(seen.contains(&10), "a device that calls again finds its older session there: {seen:?}");
}

#[tokio::test]
async fn there_are_so_many_at_once_and_no_source_keeps_the_others_out() {
    let bare = Bare::start("a").await;
    let gateway = before(&[&bare], |settings| {
        settings.max_preauth = 1; // spliced sessions have their own bound
        settings.max_spliced = 3;
    })
    .await;
    let (mut greedy, mut legs) = (vec![], vec![]);
    for _ in 0..3 {
        greedy.push(gateway.legacy_from(1).await);
        legs.push(bare.hears(&hello()).await);
    }
    until("all are relayed", || gateway.metric("spliced_sessions") == 3.0).await;
    assert_eq!(rest(&mut gateway.legacy_from(1).await).await, b"", "a fourth of one source");
    until("it was counted", || gateway.splice_ended("splice-full", "us") == 1.0).await;

    let other = gateway.legacy_from(2).await;
    let leg = bare.hears(&hello()).await;
    assert_eq!(rest(&mut greedy[2]).await, b"", "the youngest made room");
    assert_eq!(rest(&mut legs[2]).await, b"", "its leg is closed as well");
    assert_eq!(gateway.splice_ended("shown-out", "us"), 1.0);
    assert_eq!(rest(&mut gateway.legacy_from(2).await).await, b"", "2 and 1 are even enough");
    greedy[2] = other;
    legs[2] = leg;
    for (device, leg) in greedy.iter_mut().zip(&mut legs) {
        leg.write_all(b"on").await.expect("said");
        assert_eq!(heard(device, 2).await, b"on", "the others go on");
    }
    drop(greedy);
    gateway.all_spliced_gone().await;
}

#[tokio::test]
async fn where_there_is_less_room_than_may_be_spliced_half_of_it_is_for_others() {
    let bare = Bare::start("a").await;
    // As where the limit of open files allows no more.
    let gateway = before(&[&bare], |settings| settings.max_connections = 4).await;
    let mut there = vec![];
    for _ in 0..2 {
        there.push((gateway.legacy_from(1).await, bare.hears(&hello()).await));
    }
    assert_eq!(rest(&mut gateway.legacy_from(1).await).await, b"");
    until("it was counted", || gateway.splice_ended("splice-full", "us") == 1.0).await;
    drop(there);
    gateway.all_spliced_gone().await;
}

#[tokio::test]
async fn a_spliced_session_takes_one_of_all_connections_until_it_is_over() {
    let bare = Bare::start("a").await;
    let gateway = before(&[&bare], |settings| settings.max_connections = 1).await;
    let first = gateway.legacy_from(1).await;
    let _leg = bare.hears(&hello()).await;
    let second = gateway.legacy_from(1).await; // in the kernel's queue
    tokio::time::timeout(SHORT, bare.accept()).await.map(drop).expect_err("no room for it");
    drop(first);
    let _leg = bare.hears(&hello()).await;
    drop(second);
    gateway.all_spliced_gone().await;
}

#[tokio::test]
async fn a_drain_has_them_leave_by_turns() {
    let bare = Bare::start("a").await;
    let gateway = before(&[&bare], |_| {}).await;
    let (mut devices, mut legs) = (vec![], vec![]);
    for last in 1..=8 {
        devices.push(gateway.legacy_from(last).await);
        legs.push(bare.hears(&hello()).await);
    }
    until("all are relayed", || gateway.metric("spliced_sessions") == 8.0).await;
    gateway.instances.replace(paced(vec![], 1_000));
    let held = gateway.legacy_from(9).await;
    until("one is held", || gateway.metric("devices_held") == 1.0).await;
    devices.push(held);
    let drain = gateway.drain.clone();
    let began = Instant::now();
    let ends = devices.iter_mut().map(async |device| {
        assert_eq!(rest(device).await, b"", "closed, not reset");
        began.elapsed().as_millis() / 100
    });
    let (finished, ends) = tokio::join!(within(drain.finish()), futures_util::future::join_all(ends));
    finished.expect("no task outlives the window");
    let moments = ends.into_iter().collect::<std::collections::BTreeSet<_>>();
    assert!(moments.len() >= 3, "not all at once: {moments:?}");
    for leg in &mut legs {
        assert_eq!(rest(leg).await, b"");
    }
    assert_eq!(gateway.splice_ended("draining", "us"), 9.0);
    gateway.all_spliced_gone().await;
}

#[tokio::test]
async fn a_spliced_session_is_no_device_and_claims_nothing() {
    let bare = Bare::start("a").await;
    let gateway = before(&[&bare], |_| {}).await;
    let mut device = gateway.legacy_from(1).await;
    let leg = bare.hears(&hello()).await;
    // What would be a login in clear is no more to the gateway than what is encrypted.
    device.write_all(&preamble(super::device(1))).await.expect("said");
    device.write_all(&Message::UserauthSuccess.to_bytes()).await.expect("said");
    device.write_all(&disconnect()).await.expect("said");
    let mut leg = leg;
    assert_eq!(heard(&mut leg, 93 + 1 + 7).await.len(), 101);
    assert_eq!((gateway.claim(super::device(1)).await, gateway.sessions.len()), (None, 0));
    assert_eq!(gateway.metric("sessions"), 0.0);
    assert_eq!(gateway.sessions.spliced().at(&"a".parse().expect("a name")), 1);
    drop(device);
    gateway.all_spliced_gone().await;
}
