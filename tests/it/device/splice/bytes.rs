//! Bytes of a spliced session: the same on both sides, whatever their pieces, to the end of both legs.

use mps_gateway::device::Network;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

/// Says `bytes` in pieces as long as `lengths` says, each a segment of its own.
async fn say(tcp: &mut TcpStream, mut bytes: &[u8], mut length: impl FnMut() -> usize) {
    tcp.set_nodelay(true).expect("a socket");
    while !bytes.is_empty() {
        let (piece, more) = bytes.split_at(length().clamp(1, bytes.len()));
        tcp.write_all(piece).await.expect("said");
        tokio::task::yield_now().await; // the gateway may read what came
        bytes = more;
    }
}

#[tokio::test]
async fn a_legacy_hello_arrives_unchanged_in_whatever_pieces_it_came() {
    let bare = Bare::start("a").await;
    let gateway = before(&[&bare], |_| {}).await;
    for (name, hex) in LEGACY {
        let sent = [unhex(hex), b"and what follows it".to_vec()].concat();
        for pieces in [usize::MAX, 1, 2, 5, 44] {
            let mut device = gateway.tcp_from(1).await;
            let (mut leg, ()) =
                tokio::join!(bare.hears(&sent), async { say(&mut device, &sent, || pieces).await });
            leg.write_all(b"the instance's own words").await.expect("said");
            assert_eq!(heard(&mut device, 24).await, b"the instance's own words", "{name} by {pieces}");
            drop(device);
            assert_eq!(rest(&mut leg).await, b"", "{name}: not a byte more");
        }
    }
    gateway.all_spliced_gone().await;
    assert_eq!(gateway.metric("accepts_total{outcome=\"spliced\"}"), 25.0);
    assert_eq!(gateway.splice_ended("closed", "device"), 25.0);
    assert_eq!(
        gateway.metric("hellos_total{version=\"ssl\",key_exchange=\"other\",outcome=\"version\"}"),
        5.0
    );
    assert!(gateway.metric("bytes_total{direction=\"from-instance\"}") == 25.0 * 24.0);
}

#[tokio::test]
async fn a_balancers_header_is_not_passed_on_and_says_who_called() {
    let bare = Bare::start("a").await;
    let gateway = before(&[&bare], |settings| {
        settings.proxy_from = vec![Network { address: loopback(3), prefix: 32 }];
    })
    .await;
    for pieces in [usize::MAX, 1] {
        let mut device = gateway.tcp_from(3).await;
        let said = [b"PROXY TCP4 203.0.113.9 198.51.100.1 4000 4433\r\n".to_vec(), hello()].concat();
        let hello = hello();
        let (_leg, ()) = tokio::join!(bare.hears(&hello), async { say(&mut device, &said, || pieces).await });
        let source = gateway.sessions.spliced().all()[0].source;
        assert_eq!(source.to_string(), "203.0.113.9");
        drop(device);
        gateway.all_spliced_gone().await;
    }
}

#[tokio::test]
async fn megabytes_pass_both_ways_at_once_and_who_does_not_read_is_waited_for() {
    let bare = Bare::start("a").await;
    let gateway = before(&[&bare], |_| {}).await;
    let mut random = StdRng::seed_from_u64(7);
    let mut bulk = |len: usize| -> Vec<u8> { (0..len).map(|_| random.random()).collect() };
    let (up, down) = ([hello(), bulk(3_000_000)].concat(), bulk(4_000_000));
    let mut device = gateway.tcp_from(1).await;
    device.write_all(&up[..100]).await.expect("said");
    let mut leg = bare.accept().await;
    let mut sizes = StdRng::seed_from_u64(8);
    let (mut device_reads, mut device_writes) = device.split();
    let (mut leg_reads, mut leg_writes) = leg.split();
    let (mut at_instance, mut at_device) = (vec![0; up.len()], vec![0; down.len()]);
    within(async {
        let (said, answered, (), ()) = tokio::join!(
            device_writes.write_all(&up[100..]),
            async {
                for piece in down.chunks(sizes.random_range(1_000..60_000)) {
                    leg_writes.write_all(piece).await?;
                }
                std::io::Result::Ok(())
            },
            async {
                tokio::time::sleep(SHORT).await; // by now everything between is full
                leg_reads.read_exact(&mut at_instance).await.expect("all of it");
            },
            async {
                tokio::time::sleep(SHORT).await;
                device_reads.read_exact(&mut at_device).await.expect("all of it");
            }
        );
        said.and(answered).expect("taken");
    })
    .await;
    assert!(at_instance == up && at_device == down, "not a byte is another");
}

#[tokio::test]
async fn whichever_side_closes_both_legs_are_closed_after_the_last_word() {
    let bare = Bare::start("a").await;
    let gateway = before(&[&bare], |_| {}).await;
    let mut device = gateway.legacy_from(1).await;
    let mut leg = bare.hears(&hello()).await;
    device.write_all(b"farewell").await.expect("said");
    device.shutdown().await.expect("half-closed");
    assert_eq!(rest(&mut leg).await, b"farewell");
    drop(leg);
    assert_eq!(rest(&mut device).await, b"", "no half-open leg stays");
    gateway.all_spliced_gone().await;
    assert_eq!(gateway.splice_ended("closed", "device"), 1.0);

    let mut device = gateway.legacy_from(1).await;
    let mut leg = bare.hears(&hello()).await;
    leg.write_all(b"alert").await.expect("said");
    drop(leg);
    assert_eq!(rest(&mut device).await, b"alert");
    // It goes on talking, as firmware does: it is answered with a reset after the grace.
    let refused = async { while device.write_all(b"keep-alive").await.is_ok() {} };
    within(refused).await;
    gateway.all_spliced_gone().await;
    assert_eq!(gateway.splice_ended("closed", "instance"), 1.0);
}

#[tokio::test]
async fn silence_and_a_side_that_does_not_read_end_a_spliced_session() {
    let bare = Bare::start("a").await;
    let gateway = before(&[&bare], |settings| {
        (settings.silence, settings.stall, settings.grace) = (SHORT * 4, SHORT, SHORT);
    })
    .await;
    let mut device = gateway.legacy_from(1).await;
    let mut leg = bare.hears(&hello()).await;
    assert_eq!((rest(&mut device).await, rest(&mut leg).await), (vec![], vec![]));
    assert_eq!(gateway.splice_ended("silent", "device"), 1.0);
    gateway.all_spliced_gone().await;

    let mut device = gateway.legacy_from(1).await;
    let _mute = bare.hears(&hello()).await;
    let talks = async { while device.write_all(&[7; 100_000]).await.is_ok() {} };
    within(talks).await;
    assert_eq!(gateway.splice_ended("stalled", "instance"), 1.0);
    gateway.all_spliced_gone().await;
}
