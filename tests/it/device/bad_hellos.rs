//! Hellos that cannot be served, and whatever breaks a handshake: answered with an alert that is heard.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::bad_input::closed;
use super::*;

/// A hello for TLS 1.2 with these suites.
pub(super) fn tls12_hello(suites: &[u16]) -> Vec<u8> {
    hello(0x0303, suites)
}

fn hello(version: u16, suites: &[u16]) -> Vec<u8> {
    let list = |items: &[u16]| -> Vec<u8> { items.iter().flat_map(|i| i.to_be_bytes()).collect() };
    let extension = |kind: u16, body: &[u8]| -> Vec<u8> {
        let len = u16::try_from(body.len()).expect("short");
        [&kind.to_be_bytes()[..], &len.to_be_bytes(), body].concat()
    };
    let extensions =
        [extension(10, &[0, 4, 0, 23, 0, 24]), extension(11, &[1, 0]), extension(13, &[0, 4, 4, 3, 4, 1])]
            .concat();
    let suites = list(suites);
    let short = |len: usize| u16::try_from(len).expect("short").to_be_bytes();
    let body = [
        &version.to_be_bytes()[..],
        &[7; 32],
        &[0],
        &short(suites.len()),
        &suites,
        &[1, 0],
        &short(extensions.len()),
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0][..], &short(body.len()), &body].concat();
    [&[22, 3, 1][..], &short(handshake.len()), &handshake].concat()
}

#[tokio::test]
async fn a_hello_that_cannot_be_served_is_counted_and_answered_with_an_alert() {
    let gateway = Gateway::start().await;
    let mut compressed = tls12_hello(&[0xc02b]);
    compressed[49] = 1; // deflate, in place of no compression
    for (hello, alert, series) in [
        (hello(0x0301, &[0x002f, 0xc013]), [21, 3, 1, 0, 2, 2, 70], ("tls10", "ecdhe-cbc", "version")),
        (hello(0x0302, &[0x0035]), [21, 3, 2, 0, 2, 2, 70], ("tls11", "rsa", "version")),
        (tls12_hello(&[0x002f, 0x009c]), [21, 3, 3, 0, 2, 2, 40], ("tls12", "rsa", "suite")),
        (compressed, [21, 3, 3, 0, 2, 2, 47], ("tls12", "ecdhe-aead", "format")),
    ] {
        let mut tcp = gateway.tcp_from(1).await;
        tcp.write_all(&hello).await.expect("said");
        assert_eq!(closed(&mut tcp).await, alert, "{series:?}");
        let (version, exchange, outcome) = series;
        let series = format!(
            "hellos_total{{version=\"{version}\",key_exchange=\"{exchange}\",outcome=\"{outcome}\"}}"
        );
        assert_eq!(gateway.metric(&series), 1.0, "{series}");
    }
    until("they were told apart", || gateway.ended("legacy-hello", "device") == 4.0).await;
    gateway.all_gone().await;
    gateway.still_serves(device(1)).await;
    let served = "hellos_total{version=\"tls12\",key_exchange=\"ecdhe-aead\",outcome=\"served\"}";
    assert_eq!(gateway.metric(served), 1.0);
}

#[tokio::test]
async fn a_hello_that_breaks_the_rules_of_tls_is_answered_with_an_alert() {
    let gateway = Gateway::before(1, |settings| settings.grace = LIMIT).await;
    let with = |at: usize, byte: u8| {
        let mut hello = tls12_hello(&[0xc02b]);
        hello[at] = byte;
        hello
    };
    let good = tls12_hello(&[0xc02b]);
    let doubled = [&good[..], &[20, 3, 3, 0, 1, 1]].concat();
    for (name, bytes, alert) in [
        ("an odd list of suites", with(45, 1), 50),
        ("a record of no bytes", vec![22, 3, 1, 0, 0], 50),
        ("a hello longer than any", vec![22, 3, 1, 0, 4, 1, 0, 0x40, 0], 50),
        ("a record longer than any", vec![22, 3, 1, 0xff, 0xff, 1], 22),
        ("a Finished", with(5, 20), 10),
        ("change_cipher_spec first", vec![20, 3, 3, 0, 1, 1], 10),
        ("application data first", vec![23, 3, 3, 0, 1, 1], 10),
        ("change_cipher_spec in the middle", [&[22, 3, 1, 0, 1, 1][..], &[20, 3, 3, 0, 1, 1]].concat(), 10),
        ("change_cipher_spec behind it", doubled, 10),
    ] {
        let mut tcp = gateway.tcp_from(1).await;
        tcp.write_all(&bytes).await.expect("said");
        let said = orderly_end(&mut tcp).await;
        assert!(said.ends_with(&[21, 3, 3, 0, 2, 2, alert]), "{name}: {said:02x?}");
    }
    until("they are counted; the last one had a hello", || {
        gateway.ended("garbage", "device") == 8.0 && gateway.ended("handshake", "device") == 1.0
    })
    .await;
    gateway.all_gone().await;
}

/// Everything the gateway says until it closes, which it does without a reset: whoever talks on, and
/// listens only then, hears what was said last.
async fn orderly_end(tcp: &mut TcpStream) -> Vec<u8> {
    let (mut reading, mut writing) = tcp.split();
    let mut said = Vec::new();
    let talks_on = async {
        // For longer than it takes to be answered, so that a reset has its chance.
        for _ in 0..40 {
            writing.write_all(&[23; 6_000]).await?;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        writing.shutdown().await
    };
    let (heard, talked) = within(async { tokio::join!(reading.read_to_end(&mut said), talks_on) }).await;
    heard.expect("no reset");
    talked.expect("no reset");
    said
}

#[tokio::test]
async fn what_breaks_a_handshake_is_answered_with_an_alert_and_no_reset_overtakes_it() {
    let gateway = Gateway::before(1, |settings| settings.grace = LIMIT).await;
    for (name, bytes, alert) in [
        ("application data instead of a key exchange", vec![23, 3, 3, 0, 1, 1], 10),
        ("a record of no known type", vec![99, 3, 3, 0, 1, 1], 50),
        ("a Finished before its time", vec![22, 3, 3, 0, 4, 20, 0, 0, 0], 10),
    ] {
        let mut tcp = gateway.tcp_from(1).await;
        tcp.write_all(&tls12_hello(&[0xc02b])).await.expect("said");
        within(tcp.read_exact(&mut [0; 5])).await.expect("the ServerHello is on its way");
        tcp.write_all(&bytes).await.expect("said");
        let said = orderly_end(&mut tcp).await;
        assert!(said.ends_with(&[21, 3, 3, 0, 2, 2, alert]), "{name}: {said:02x?}");
    }
    until("they are counted", || gateway.ended("handshake", "device") == 3.0).await;
    gateway.all_gone().await;
}

#[tokio::test]
async fn what_breaks_tls_after_the_handshake_is_answered_and_no_reset_overtakes_the_answer() {
    let gateway = Gateway::before(1, |settings| settings.grace = LIMIT).await;
    for at_login in [false, true] {
        let mut raw = gateway.connect().await;
        if at_login {
            within(raw.greet(device(1))).await.expect("said");
            within(raw.message()).await.expect("the service is accepted");
        }
        let (mut tcp, _) = raw.into_stream().into_inner();
        tcp.write_all(&[23, 3, 3, 0, 4, 1, 2, 3, 4]).await.expect("said");
        assert!(!orderly_end(&mut tcp).await.is_empty(), "an alert, encrypted");
    }
    gateway.all_gone().await;
}
