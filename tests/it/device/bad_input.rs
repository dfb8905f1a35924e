//! What a device plane must bear: each case ends, reaches no MPS that it should not, and leaves the
//! next device served.

use std::time::Duration;

use mps_gateway::sim::device::Closed;
use mps_gateway::wire::apf::{AUTH_SERVICE, Message, PFWD_SERVICE, UserauthRequest, kind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::bad_hellos::tls12_hello;
use super::*;

const SHORT: Duration = Duration::from_millis(200);

/// Waits for the gateway to close a connection in clear; answers with what it said before.
pub(super) async fn closed(tcp: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    match within(tcp.read_to_end(&mut said)).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    said
}

#[tokio::test]
async fn whoever_is_silent_is_closed_at_every_stage() {
    let gateway = Gateway::before(1, |settings| {
        settings.hello_timeout = SHORT;
        settings.handshake_timeout = SHORT;
        settings.preamble_timeout = SHORT;
        settings.proof_device_silence = SHORT;
    })
    .await;
    let mut mute = gateway.tcp_from(1).await;
    assert_eq!(closed(&mut mute).await, b"");

    let mut half = gateway.tcp_from(1).await;
    half.write_all(&tls12_hello(&[0xc02b])[..20]).await.expect("half a hello is taken");
    assert_eq!(closed(&mut half).await, b"");

    let mut stalled = gateway.tcp_from(1).await;
    stalled.write_all(&tls12_hello(&[0xc02b])).await.expect("a hello is taken");
    assert_eq!(closed(&mut stalled).await.first(), Some(&22), "a ServerHello, and no more");
    until("all three were too slow", || gateway.ended("slow", "device") == 3.0).await;

    let mut mute_in_tls = gateway.connect().await;
    assert_eq!(within(mute_in_tls.closed()).await.expect("closed"), Closed::Notified);
    assert_eq!(gateway.ended("slow", "device"), 4.0);
    assert_eq!(gateway.mps[0].counts().accepted, 0, "nothing reached the MPS");

    let mut mute_at_login = gateway.connect().await;
    mute_at_login.send(&preamble(device(1))).await.expect("the preamble is taken");
    assert_eq!(within(mute_at_login.closed()).await.expect("closed"), Closed::Notified);
    until("it was silent", || gateway.ended("silent", "device") == 1.0).await;
    gateway.all_gone().await;
}

#[tokio::test]
async fn one_byte_at_a_time_the_mps_sees_whole_messages() {
    let gateway = Gateway::start().await;
    let mut raw = gateway.connect().await;
    let id = device(1);
    raw.send_bytewise(&preamble(id)).await.expect("said");
    raw.send_bytewise(&service(AUTH_SERVICE)).await.expect("said");
    within(raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("heard");
    raw.send_bytewise(&login(b"Passw0rd!")).await.expect("said");
    within(raw.expect_message(&Message::UserauthSuccess)).await.expect("proven");
    raw.send_bytewise(&service(PFWD_SERVICE)).await.expect("said");
    within(raw.expect_message(&Message::ServiceAccept { service: PFWD_SERVICE })).await.expect("relayed");
    let connection = gateway.mps[0].connections().swap_remove(0);
    let login_len = login(b"Passw0rd!").len();
    assert_eq!(connection.records[..3], [93, 23, login_len], "before proof one message is one record");
    assert_eq!(connection.device, Some(id));
}

#[tokio::test]
async fn a_close_at_every_byte_of_the_preamble_leaves_nothing_behind() {
    let gateway = Gateway::start().await;
    let bytes = preamble(device(1));
    for cut in 0..bytes.len() {
        let mut raw = gateway.connect().await;
        if cut > 0 {
            raw.send(&bytes[..cut]).await.expect("said");
        }
        drop(raw); // FIN without close_notify, as firmware does
    }
    until("each was noticed", || gateway.ended("closed", "device") == 93.0).await;
    assert_eq!(gateway.mps[0].counts().accepted, 0, "no MPS hears of half a preamble");
    gateway.all_gone().await;
    gateway.still_serves(device(1)).await;
}

#[tokio::test]
async fn garbage_and_http_in_clear_are_closed_without_a_word() {
    let gateway = Gateway::start().await;
    for garbage in [&b"\x00\x01\x02\x03"[..], b"SSH-2.0-x\r\n", &[21, 3, 1, 0, 2, 2, 40], &[0xff; 4096]] {
        let mut tcp = gateway.tcp_from(1).await;
        tcp.write_all(garbage).await.expect("said");
        assert_eq!(closed(&mut tcp).await, b"", "{garbage:02x?}");
    }
    for request in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\n\r\n", "HEAD / HTTP/1.0\r\n\r\n"]
    {
        let mut tcp = gateway.tcp_from(1).await;
        tcp.write_all(request.as_bytes()).await.expect("said");
        assert_eq!(closed(&mut tcp).await, b"", "{request}");
    }
    until("all were told apart", || {
        gateway.ended("garbage", "device") == 4.0 && gateway.ended("http-in-clear", "device") == 3.0
    })
    .await;
    gateway.all_gone().await;
    gateway.still_serves(device(1)).await;
}

#[tokio::test]
async fn inside_tls_whatever_is_no_preamble_is_closed() {
    let gateway = Gateway::start().await;
    for first in [0u8, 1, 5, 50, 52, 80, 94, 193, 255, b'P', b'G'] {
        let mut raw = gateway.connect().await;
        raw.send(&[&[first][..], &[b'x'; 92]].concat()).await.expect("said");
        assert_eq!(within(raw.closed()).await.expect("closed"), Closed::Notified, "first byte {first}");
    }
    until("each was refused", || gateway.ended("not-apf", "device") == 11.0).await;
    assert_eq!(gateway.mps[0].counts().accepted, 0);
    gateway.all_gone().await;
    gateway.still_serves(device(1)).await;
}

#[tokio::test]
async fn a_browser_inside_tls_gets_a_page_about_this_port() {
    let gateway = Gateway::start().await;
    for (request, has_body) in
        [("GET / HTTP/1.1\r\nHost: gateway\r\n\r\n", true), ("HEAD /x HTTP/1.1\r\n\r\n", false)]
    {
        let mut raw = gateway.connect().await;
        raw.send(request.as_bytes()).await.expect("said");
        let mut page = String::new();
        let read = within(async {
            let mut stream = raw.into_stream();
            stream.read_to_string(&mut page).await
        });
        read.await.expect("the page, then close_notify");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert_eq!(page.contains("Intel AMT devices call here"), has_body, "{page}");
    }
    assert_eq!(gateway.ended("page", "device"), 2.0);
    assert_eq!(gateway.mps[0].counts().accepted, 0);
}

/// A TLS 1.2 hello (no extension but groups, points and schemes) that offers these suites.
#[tokio::test]
async fn a_second_identity_never_reaches_the_mps() {
    let gateway = Gateway::start().await;
    let mut before = gateway.connect().await;
    before.greet(device(1)).await.expect("said");
    within(before.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("heard");
    before.send(&preamble(device(2))).await.expect("said");
    assert_eq!(within(before.closed()).await.expect("closed"), Closed::Notified);

    let mut after = gateway.proven(device(3)).await;
    after.send(&preamble(device(2))).await.expect("said");
    assert_eq!(within(after.closed()).await.expect("closed"), Closed::Notified);
    gateway.all_gone().await;
    assert_eq!(gateway.metric("guard_refusals_total{reason=\"second-identity\"}"), 2.0);
    for connection in gateway.mps[0].connections() {
        let versions = connection.messages.iter().filter(|m| **m == kind::PROTOCOL_VERSION).count();
        assert_eq!(versions, 1, "{connection:?}");
        assert_ne!(connection.device, Some(device(2)));
    }
}

#[tokio::test]
async fn disconnect_reaches_the_mps_at_no_stage() {
    let gateway = Gateway::start().await;
    let accept = Message::ServiceAccept { service: AUTH_SERVICE };
    let stages: [(&str, Vec<Vec<u8>>); 6] = [
        ("first of all", vec![disconnect()]),
        ("after the preamble", vec![preamble(device(1)), disconnect()]),
        ("in one record with the preamble", vec![[preamble(device(1)), disconnect()].concat()]),
        ("after the service", vec![preamble(device(1)), service(AUTH_SERVICE), disconnect()]),
        (
            "behind the login",
            vec![preamble(device(1)), service(AUTH_SERVICE), [login(b"Passw0rd!"), disconnect()].concat()],
        ),
        (
            "all at once",
            vec![[preamble(device(1)), service(AUTH_SERVICE), login(b"x"), disconnect()].concat()],
        ),
    ];
    for (stage, records) in stages {
        let mut raw = gateway.connect().await;
        for record in records {
            raw.send(&record).await.expect("said");
        }
        within(raw.closed()).await.expect(stage);
    }
    let mut proven = gateway.proven(device(1)).await;
    proven.send(&disconnect()).await.expect("said");
    assert_eq!(
        within(proven.closed()).await.expect("closed"),
        Closed::Notified,
        "both legs are closed instead"
    );
    let mut in_pieces = gateway.proven(device(2)).await;
    in_pieces.send_bytewise(&[service(PFWD_SERVICE), disconnect()].concat()).await.expect("said");
    within(in_pieces.closed()).await.expect("closed");

    let mut refused = gateway.connect().await;
    refused.greet(device(3)).await.expect("said");
    within(refused.expect_message(&accept)).await.expect("heard");
    refused.send(&login(b"wrong")).await.expect("said");
    within(refused.message()).await.expect("the failure");
    refused.send(&disconnect()).await.expect("said");
    within(refused.closed()).await.expect("closed");

    gateway.all_gone().await;
    within(gateway.mps[0].until(|mps| mps.connections().iter().all(|c| c.ended.is_some()))).await;
    assert_eq!(gateway.mps[0].counts().disconnects, 0);
    assert!(gateway.ended("disconnect", "device") >= 6.0);
}

#[tokio::test]
async fn oversized_lengths_end_the_session_before_anything_is_kept() {
    let gateway = Gateway::start().await;
    let long = |kind: u8, len: u32| [&[kind][..], &len.to_be_bytes()].concat();
    for message in [
        long(kind::SERVICE_REQUEST, u32::MAX),
        long(kind::SERVICE_REQUEST, 2049),
        long(kind::USERAUTH_REQUEST, u32::MAX),
        long(kind::USERAUTH_REQUEST, 1 << 20),
        Message::UserauthRequest(UserauthRequest::password(&[b'u'; 65], b"x")).to_bytes().to_vec(),
    ] {
        let mut raw = gateway.connect().await;
        raw.send(&preamble(device(1))).await.expect("said");
        raw.send(&message).await.expect("said");
        assert_eq!(within(raw.closed()).await.expect("closed"), Closed::Notified, "{message:02x?}");
    }
    let data = [&[kind::CHANNEL_DATA, 0, 0, 0, 4][..], &(2u32 << 20).to_be_bytes()].concat();
    for message in [data, long(kind::GLOBAL_REQUEST, 1 << 30)] {
        let mut raw = gateway.proven(device(2)).await;
        raw.send(&message).await.expect("said");
        assert_eq!(within(raw.closed()).await.expect("closed"), Closed::Notified, "{message:02x?}");
    }
    gateway.all_gone().await;
    assert!(gateway.metric("guard_refusals_total{reason=\"oversized\"}") >= 6.0);
    gateway.still_serves(device(2)).await;
}

#[tokio::test]
async fn whoever_stalls_in_the_handshake_holds_nobody_up() {
    let gateway = Gateway::before(1, |settings| settings.max_handshakes = 1).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut tcp = gateway.tcp_from(2).await;
        tcp.write_all(&tls12_hello(&[0xc02b])).await.expect("said");
        within(tcp.read_exact(&mut [0; 5])).await.expect("the ServerHello is on its way: it had its turn");
        stalled.push(tcp);
    }
    let began = Instant::now();
    gateway.still_serves(device(1)).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_thousand_half_open_connections_leave_devices_served_and_memory_bounded() {
    const PREAUTH: usize = 200;
    let gateway = Gateway::before(1, |settings| settings.max_preauth = PREAUTH).await;
    let mut half_open = Vec::new();
    for number in 0..1_000 {
        let mut tcp = gateway.tcp_from(2).await;
        if number % 2 == 0 {
            tcp.write_all(&tls12_hello(&[0xc02b])[..30]).await.expect("said");
        }
        half_open.push(tcp);
    }
    until("places are taken", || gateway.metric("device_connections") >= PREAUTH as f64).await;
    assert!(gateway.metric("device_connections") <= PREAUTH as f64, "the rest waits in the kernel");
    let began = Instant::now();
    for number in 0..5 {
        gateway.still_serves(device(number)).await;
    }
    // Those before it in the kernel's queue are looked at first: four batches, a second of patience each.
    assert!(began.elapsed() < Duration::from_secs(9), "five devices took {:?}", began.elapsed());
    assert!(gateway.ended("shown-out", "us") >= 800.0);
    drop(half_open);
    gateway.all_gone().await;
}
