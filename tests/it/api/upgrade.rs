//! WebSockets, and whatever else a request can become.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use mps_gateway::sim::device::{Device, DeviceSettings, DeviceTls};
use mps_gateway::sim::pki::{Authority, Keys};
use serde_json::json;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::instance::Scripted;
use super::raw::Raw;
use super::*;

const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n";

fn upgrade(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
}

async fn redirect(addr: SocketAddr, id: DeviceId, token: &str) -> Result<WebSocketStream<TcpStream>, Error> {
    let target =
        format!("ws://{addr}/relay/webrelay.ashx?p=2&host={id}&port=16994&tls=0&tls1only=0&mode=kvm");
    let mut request = target.into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", token.parse().expect("a header"));
    let tcp = within(TcpStream::connect(addr)).await.expect("it listens");
    let (socket, response) = within(client_async(request, tcp)).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], token, "a browser insists on it");
    Ok(socket)
}

/// A gateway before two MPS, the second of which holds a device that is really there.
async fn with_device() -> (Gateway, Device, String) {
    let authority = Authority::new(Keys::P256, "MPSRoot").expect("a root");
    let shown = authority.issue("mps", &["mps"]).expect("a leaf").identity();
    let mut gateway = Gateway::with(fleet_showing(2, Some(shown)).await, |_| {}).await;
    let mut settings = DeviceSettings::new(vec![gateway.mps[1].cira()], DeviceTls::trusting_anything());
    settings.reconnect.after = Duration::from_secs(60);
    let mps = &gateway.mps[1];
    let plain = Arc::new(settings);
    let device = Device::start(device(1), plain);
    within(device.proven()).await;
    assert!(mps.holds(super::device(1)));
    gateway.claim(super::device(1), "mps-1").await;
    let answer = gateway.get(&format!("/api/v1/authorize/redirection/{}", super::device(1))).await;
    let token = answer.json()["token"].as_str().expect("a token").to_owned();
    (gateway, device, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirection_reaches_the_device_through_the_instance_that_holds_it() {
    let (gateway, _device, token) = with_device().await;
    let mut socket = redirect(gateway.addr(), device(1), &token).await.expect("101");
    for text in ["keyboard", "video", &"mouse".repeat(3000)] {
        socket.send(Message::binary(text.as_bytes().to_vec())).await.expect("it takes it");
        let mut heard = String::new();
        while heard.len() < text.len() {
            let message = within(socket.next()).await.expect("it is open").expect("a message");
            heard += message.to_text().expect("text, as MPS sends it");
        }
        assert_eq!(heard, text);
    }
    assert_eq!((gateway.metric("upgrades"), gateway.metric("requests_in_flight")), (1.0, 1.0));
    socket.close(None).await.expect("it takes it");
    while let Some(Ok(_)) = within(socket.next()).await {}
    until("the pipe is gone", || {
        gateway.metric("upgrades") == 0.0 && gateway.metric("api_connections") == 0.0
    })
    .await;
    // The next user of the same mode is let in: the instance knows that the first has left.
    let again = redirect(gateway.addr(), device(1), &token).await;
    drop(again.expect("the place is free"));
    let asked = gateway.mps[1].asked();
    assert_eq!(asked.iter().filter(|a| a.target.starts_with("/relay")).count(), 2, "never sent twice");
    assert!(gateway.metric("upgrade_bytes_total{direction=\"from-caller\"}") > 15_000.0);
    assert!(gateway.metric("upgrade_bytes_total{direction=\"from-instance\"}") > 15_000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_user_of_a_mode_and_a_wrong_token_get_the_bare_401_of_mps() {
    let (gateway, _device, token) = with_device().await;
    let _first = redirect(gateway.addr(), device(1), &token).await.expect("101");
    for token in [token.as_str(), "not-a-token"] {
        match redirect(gateway.addr(), device(1), token).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 401),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
    let asked = gateway.mps[1].asked();
    assert_eq!(asked.iter().filter(|a| a.target.starts_with("/relay")).count(), 3, "never sent twice");
    assert!(
        gateway.mps[0].asked().is_empty()
            || !gateway.mps[0].asked().iter().any(|a| a.target.starts_with("/relay"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_asks_the_directory_first_and_a_401_mends_the_cache() {
    let (wrong, right) = (
        Scripted::answering("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .await,
        Scripted::start(|_, mut heard| async move {
            heard.head().await;
            heard.say(SWITCH).await;
            heard.end().await;
        })
        .await,
    );
    let mut gateway = Gateway::of(vec![wrong.instance("wrong"), right.instance("right")], |_| {}).await;
    gateway.claim(device(1), "wrong").await;
    assert_eq!(gateway.get(&owners(device(1))).await.status, 401, "and that is remembered");
    gateway.claim(device(1), "right").await;
    let target = format!("/relay/webrelay.ashx?host={}", device(1));
    let mut raw = Raw::to(gateway.addr()).await;
    let head = raw.say(upgrade(&target)).await.up_to("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "past the cache: {head}");
    gateway.claim(device(1), "wrong").await;
    let mut raw = Raw::to(gateway.addr()).await;
    let head = raw.say(upgrade(&target)).await.up_to("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert_eq!((wrong.heads().len(), right.heads().len()), (2, 1), "nobody tries it elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_come_with_the_upgrade_are_neither_lost_nor_reordered() {
    let instance = Scripted::start(|_, mut heard| async move {
        heard.head().await;
        heard.say(&[SWITCH, b"first from the instance,"].concat()).await;
        let said = heard.bytes(20_000).await.expect("it comes");
        heard.say(b" then what it heard: ").await;
        heard.say(&said).await;
        heard.end().await;
    })
    .await;
    let gateway = Gateway::of(vec![instance.instance("a")], |_| {}).await;
    let early: String = (0..4_000).map(|n| format!("{n:05}")).collect();
    for cut in [0, 1, 5_000, 20_000] {
        let mut raw = Raw::to(gateway.addr()).await;
        raw.say([upgrade("/x").as_str(), &early[..cut]].concat()).await;
        tokio::task::yield_now().await;
        raw.say(&early[cut..]).await;
        assert!(raw.up_to("\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
        let expected = format!("first from the instance, then what it heard: {early}");
        let heard = raw.take(expected.len()).await;
        assert_eq!(String::from_utf8(heard).expect("text"), expected, "cut at {cut}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_either_side_however_it_comes_reaches_the_other_at_once() {
    let (report, mut reports) = tokio::sync::mpsc::channel::<(usize, Vec<u8>)>(8);
    let instance = Scripted::start(move |number, mut heard| {
        let report = report.clone();
        async move {
            heard.head().await;
            heard.say(SWITCH).await;
            match number {
                // The caller ends it: what does the instance hear, and when?
                0..=2 => {
                    let said = heard.end().await;
                    report.send((number, said)).await.expect("the test listens");
                }
                3 => drop(heard),
                4 => {
                    heard.tcp.set_zero_linger().expect("a socket");
                    drop(heard);
                }
                // It only stops speaking, and hears what is still said.
                _ => {
                    tokio::io::AsyncWriteExt::shutdown(&mut heard.tcp).await.expect("open");
                    let said = heard.end().await;
                    report.send((number, said)).await.expect("the test listens");
                }
            }
        }
    })
    .await;
    // Long limits: nothing here may wait for one.
    let gateway = Gateway::of(vec![instance.instance("a")], |s| s.grace = Duration::from_secs(15)).await;
    let piped = || async {
        let mut raw = Raw::to(gateway.addr()).await;
        assert!(raw.say(upgrade("/x")).await.up_to("\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
        raw
    };
    let soon = Duration::from_secs(3);
    for how in 0..3 {
        let mut raw = piped().await;
        raw.say("last words").await;
        let kept = match how {
            0 => {
                drop(raw); // close
                None
            }
            1 => {
                tokio::time::sleep(Duration::from_millis(100)).await; // a reset may overtake them
                raw.tcp.set_zero_linger().expect("a socket");
                drop(raw);
                None
            }
            _ => {
                raw.finish().await; // half-close
                Some(raw)
            }
        };
        let (number, said) =
            tokio::time::timeout(soon, reports.recv()).await.expect("at once").expect("it reports");
        assert_eq!((number, said.as_slice()), (how, &b"last words"[..]));
        drop(kept);
    }
    for _ in [3, 4] {
        let mut raw = piped().await;
        assert_eq!(tokio::time::timeout(soon, raw.rest()).await.expect("at once"), "");
    }
    let mut raw = piped().await;
    let mut room = [0; 8];
    let heard = tokio::io::AsyncReadExt::read(&mut raw.tcp, &mut room);
    assert_eq!(tokio::time::timeout(soon, heard).await.expect("at once").expect("a FIN"), 0);
    raw.say("still here").await;
    drop(raw);
    let (_, said) = tokio::time::timeout(soon, reports.recv()).await.expect("at once").expect("it reports");
    assert_eq!(said, b"still here");
    until("all pipes are gone", || gateway.metric("upgrades") == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_pipe_and_a_stalled_one_end() {
    let instance = Scripted::start(|number, mut heard| async move {
        heard.head().await;
        heard.say(SWITCH).await;
        if number == 0 {
            heard.end().await;
        } else {
            std::future::pending::<()>().await; // reads nothing
        }
    })
    .await;
    let gateway = Gateway::of(vec![instance.instance("a")], |s| {
        s.upgrade_idle = Duration::from_millis(400);
        s.stall = Duration::from_millis(400);
        s.grace = Duration::from_millis(100);
    })
    .await;
    let mut raw = Raw::to(gateway.addr()).await;
    raw.say(upgrade("/x")).await.up_to("\r\n\r\n").await;
    assert_eq!(raw.rest().await, "");
    until("it is counted", || gateway.ended("silent", "caller") == 1.0).await;
    let stall = Duration::from_millis(400);
    gateway.plane.reload(Settings { stall, grace: Duration::from_millis(100), ..Settings::default() });
    let mut raw = Raw::to(gateway.addr()).await;
    raw.say(upgrade("/x")).await.up_to("\r\n\r\n").await;
    let filling =
        async { while tokio::io::AsyncWriteExt::write_all(&mut raw.tcp, &[0; 65_536]).await.is_ok() {} };
    within(filling).await;
    until("it is counted", || gateway.ended("stalled", "caller") == 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_drain_pipes_leave_by_turns() {
    let instance = Scripted::start(|_, mut heard| async move {
        heard.head().await;
        heard.say(SWITCH).await;
        heard.end().await;
    })
    .await;
    let gateway = Gateway::of(vec![instance.instance("a")], |s| s.grace = Duration::from_millis(100)).await;
    let mut pipes = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::to(gateway.addr()).await;
        raw.say(upgrade("/x")).await.up_to("\r\n\r\n").await;
        pipes.push(raw);
    }
    let began = tokio::time::Instant::now();
    let ends = pipes.into_iter().map(|mut raw| async move {
        raw.rest().await;
        began.elapsed()
    });
    let (left, ends) = tokio::join!(gateway.finish(), futures_util::future::join_all(ends));
    left.expect("all leave within the window");
    let (first, last) = (ends.iter().min().expect("20"), ends.iter().max().expect("20"));
    assert!(*last - *first > Duration::from_millis(500), "not all at once: {first:?} to {last:?}");
    assert_eq!(gateway.ended("draining", "us"), 20.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_to_http2_is_not_passed_on_and_a_refused_one_is_an_answer() {
    let gateway = Gateway::before(1).await;
    let mut raw = Raw::to(gateway.addr()).await;
    raw.say("GET /api/v1/version HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n").await;
    let (head, body) = raw.answer().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body.contains("serviceVersion"), "{head}");
    let asked = gateway.mps[0].asked().pop().expect("it was asked");
    assert_eq!((asked.header("upgrade"), asked.header("http2-settings")), (String::new(), String::new()));
    let (head, _) = raw.say(upgrade("/api/v1/version")).await.answer().await;
    assert!(head.starts_with("HTTP/1.1 401 "), "MPS upgrades one path only: {head}");
    let answer = gateway.get("/-/readyz").await;
    assert_eq!(answer.json()["ready"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_switch_is_passed_on_without_the_wish() {
    let gateway = Gateway::before(1).await;
    // A Java client offers HTTP/2 with every request; HTTP/1.0 has no upgrade.
    for (request, method) in [
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\nContent-Length: 4\r\n\r\nbody",
            "POST",
        ),
        (
            "GET /relay/webrelay.ashx HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "GET",
        ),
        ("PUT /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "PUT"),
    ] {
        let mut raw = Raw::to(gateway.addr()).await;
        let said = raw.say(request).await.up_to("\r\n\r\n").await;
        assert!(said.contains(" 404 "), "{method}: {said}");
        let asked = gateway.mps[0].asked().pop().expect("it was asked");
        assert_eq!(
            (asked.method.as_str(), asked.header("upgrade"), asked.header("connection")),
            (method, String::new(), String::new())
        );
    }
}
