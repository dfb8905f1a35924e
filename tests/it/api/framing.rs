//! Where messages begin and end, and how long each side may take.

use std::time::Duration;

use hyper::Method;

use super::instance::Scripted;
use super::raw::Raw;
use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order_each_by_its_owner() {
    let mut gateway = Gateway::before(2).await;
    gateway.hold(device(1), 0).await;
    gateway.hold(device(2), 1).await;
    let request = |n: u16| format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", owners(device(n)));
    let mut raw = Raw::to(gateway.addr()).await;
    raw.say([request(1), request(2), request(1), request(2)].concat()).await;
    for number in [1, 2, 1, 2] {
        let (head, body) = raw.answer().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(body.contains(&device(number).to_string()), "{number}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_byte_by_byte_reaches_the_owner() {
    let mut gateway = Gateway::before(2).await;
    gateway.hold(device(1), 1).await;
    let mut raw = Raw::to(gateway.addr()).await;
    let request = format!("POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", owners(device(1)));
    raw.drip(request.as_bytes()).await;
    assert!(raw.answer().await.0.contains("x-sim-instance: mps-1"));
    assert_eq!(gateway.mps[1].asked()[0].body, "body");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_stops_speaking_still_gets_its_answer() {
    let gateway = Gateway::before(1).await;
    for body in ["", "{}", "{}"] {
        gateway.mps[0].freeze(true);
        let mut raw = Raw::to(gateway.addr()).await;
        let length = body.len();
        raw.say(format!("GET /api/v1/version HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"))
            .await;
        raw.finish().await;
        until("it is under way", || gateway.metric("requests_in_flight") == 1.0).await;
        gateway.mps[0].freeze(false);
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("serviceVersion"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_too_early_is_refused_and_never_passed_on_as_whole() {
    let gateway = Gateway::before(1).await;
    for body in ["Content-Length: 9\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let mut raw = Raw::to(gateway.addr()).await;
        raw.say(format!("POST /api/v1/devices HTTP/1.1\r\nHost: a\r\n{body}")).await.finish().await;
        let answer = raw.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    until("both are over", || gateway.ended("left", "caller") == 2.0).await;
    assert!(gateway.mps[0].asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_trailers_pass_both_ways_as_they_were_framed() {
    let instance = Scripted::start(|_, mut heard| async move {
        while let Some(head) = heard.head().await {
            assert!(head.contains("transfer-encoding: chunked"), "{head}");
            assert!(head.contains("te: trailers") && head.contains("trailer: Digest"), "{head}");
            let mut said = Vec::new();
            while !said.ends_with(b"\r\n\r\n") {
                said.extend(heard.bytes(1).await.expect("the body"));
            }
            let said = String::from_utf8(said).expect("text");
            assert!(said.ends_with("\r\n0\r\ndigest: up\r\n\r\n") && said.contains("he\r\n"), "{said}");
            heard
                .say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\ndown\r\n0\r\nX-Sum: 7\r\n\r\n")
                .await;
        }
    })
    .await;
    let gateway = Gateway::of(vec![instance.instance("a")], |_| {}).await;
    for method in ["POST", "GET"] {
        let mut raw = Raw::to(gateway.addr()).await;
        raw.say(format!(
            "{method} /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: Digest\r\n"
        ))
        .await;
        raw.say("Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n")
            .await
            .say("3;ext=1\r\nllo\r\n0\r\nDigest: up\r\n\r\n")
            .await;
        let head = raw.up_to("\r\n\r\n").await;
        assert!(head.contains("transfer-encoding: chunked") && head.contains("trailer: X-Sum"), "{head}");
        assert_eq!(raw.up_to("\r\n\r\n").await, "4\r\ndown\r\n0\r\nx-sum: 7\r\n\r\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_bodiless_answers_have_their_headers_and_no_body() {
    let instance = Scripted::start(|_, mut heard| async move {
        while let Some(head) = heard.head().await {
            let answer: &[u8] = match head.split(' ').next() {
                Some("HEAD") => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                Some("PUT") => b"HTTP/1.1 204 No Content\r\n\r\n",
                _ => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
            };
            heard.say(answer).await;
        }
    })
    .await;
    let gateway = Gateway::of(vec![instance.instance("a")], |_| {}).await;
    let mut raw = Raw::to(gateway.addr()).await;
    for (method, says) in [("HEAD", "content-length: 1000"), ("PUT", "204"), ("GET", "etag: \"x\"")] {
        raw.say(format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let head = raw.up_to("\r\n\r\n").await;
        assert!(head.contains(says), "{head}");
    }
    assert_eq!(instance.connections(), 1, "the connection was kept through all of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_expects_100_gets_it_and_a_refusal_comes_without() {
    let gateway = Gateway::with(fleet(1).await, |s| s.max_body = 1000).await;
    let head = |length| {
        format!(
            "POST /api/v1/devices HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut raw = Raw::to(gateway.addr()).await;
    raw.say(head(4)).await;
    assert_eq!(raw.up_to("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    let (answer, _) = raw.say("body").await.answer().await;
    assert!(answer.starts_with("HTTP/1.1 404"), "MPS has no such page: {answer}");
    assert_eq!(gateway.mps[0].asked()[0].body, "body");

    let mut raw = Raw::to(gateway.addr()).await;
    let answer = raw.say(head(5000)).await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body-too-long"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_that_grows_too_long_is_413() {
    let gateway = Gateway::with(fleet(1).await, |s| s.max_body = 1000).await;
    let mut raw = Raw::to(gateway.addr()).await;
    raw.say("POST /api/v1/devices HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    raw.say(format!("400\r\n{}\r\n", "x".repeat(1024))).await;
    let answer = raw.up_to("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stream_both_ways_and_a_slow_reader_slows_the_instance() {
    const LONG: usize = 24 * 1024 * 1024;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&sent);
    let instance = Scripted::start(move |_, mut heard| {
        let sent = std::sync::Arc::clone(&counted);
        async move {
            heard.head().await;
            heard.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n").as_bytes()).await;
            for _ in 0..LONG / 65_536 {
                heard.say(&[7; 65_536]).await;
                sent.fetch_add(65_536, std::sync::atomic::Ordering::SeqCst);
            }
            heard.end().await;
        }
    })
    .await;
    let gateway = Gateway::of(vec![instance.instance("a")], |_| {}).await;
    let mut raw = Raw::to(gateway.addr()).await;
    raw.say("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.up_to("\r\n\r\n").await;
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = sent.load(std::sync::atomic::Ordering::SeqCst);
        if now == before && now > 0 {
            break;
        }
        before = now;
    }
    assert!(before < LONG * 3 / 4, "{before} bytes of {LONG} left the instance though nobody reads");
    let body = raw.take(LONG).await;
    assert!(body.iter().all(|byte| *byte == 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_reaches_the_instance_whole() {
    let instance = Scripted::start(|_, mut heard| async move {
        heard.head().await;
        let body = heard.bytes(8 * 1024 * 1024).await.expect("the body");
        assert!(body.iter().all(|byte| *byte == b'x'));
        heard.say(OK).await;
        heard.end().await;
    })
    .await;
    let gateway = Gateway::of(vec![instance.instance("a")], |_| {}).await;
    let answer = gateway.client().await.ask(Method::POST, "/x", "x".repeat(8 * 1024 * 1024)).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_too_long_or_with_too_many_lines_are_431_in_json() {
    let gateway = Gateway::before(1).await;
    for head in [
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000)),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000)),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(150)),
    ] {
        let mut raw = Raw::to(gateway.addr()).await;
        let answer = raw.say(head).await.rest().await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(
            answer.contains("\"error\":\"head-too-long\"") && answer.contains("x-request-id: "),
            "{answer}"
        );
    }
    assert_eq!(gateway.ended("head-too-long", "caller"), 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_too_slowly_is_408_and_silence_is_only_closed() {
    let change = |s: &mut Settings| {
        s.head_timeout = Duration::from_millis(300);
        s.idle_timeout = Duration::from_millis(600);
        s.body_timeout = Duration::from_millis(300);
    };
    let gateway = Gateway::with(fleet(1).await, change).await;
    let mut raw = Raw::to(gateway.addr()).await;
    let answer = raw.say("GET / HTTP/1.1\r\nHo").await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"error\":\"slow\""), "{answer}");
    // The same on a connection that was in order before.
    let mut raw = Raw::to(gateway.addr()).await;
    raw.say("GET /api/v1/version HTTP/1.1\r\nHost: a\r\n\r\n").await.answer().await;
    let answer = raw.say("GET /").await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(Raw::to(gateway.addr()).await.rest().await, "", "said nothing, heard nothing");
    let mut raw = Raw::to(gateway.addr()).await;
    raw.say("POST /api/v1/devices HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await;
    let answer = raw.up_to("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "a body that stops: {answer}");
    assert_eq!(gateway.ended("slow", "caller"), 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_only_connect_and_leave_leave_nothing_behind() {
    let gateway = Gateway::before(1).await;
    for _ in 0..200 {
        drop(Raw::to(gateway.addr()).await);
    }
    for _ in 0..50 {
        let mut raw = Raw::to(gateway.addr()).await;
        raw.say("GET /api/v1/version HTTP/1.1\r\nHost").await;
    }
    until("no connection is left", || gateway.metric("api_connections") == 0.0).await;
    assert!(gateway.mps[0].asked().is_empty());
    assert_eq!(gateway.metric("requests_in_flight"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_resets_its_connection_gives_up_its_request() {
    let gateway = Gateway::before(1).await;
    gateway.mps[0].freeze(true);
    let mut raw = Raw::to(gateway.addr()).await;
    raw.say("GET /api/v1/version HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until("it is under way", || gateway.metric("requests_in_flight") == 1.0).await;
    raw.tcp.set_zero_linger().expect("a socket");
    drop(raw);
    until("it is given up", || gateway.metric("requests_in_flight") == 0.0).await;
    assert_eq!(gateway.ended("left", "caller"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_in_the_middle_of_a_body_too_long_hears_413_and_is_not_reset() {
    let gateway = Gateway::with(fleet(1).await, |s| s.max_body = 1_000).await;
    let mut raw = Raw::to(gateway.addr()).await;
    raw.say("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").await;
    let (head, _) = raw.answer().await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    for _ in 0..10 {
        raw.say(vec![b'x'; 50_000]).await; // Kong, say, sends all of it before it reads
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(raw.finish().await.rest().await, "");
    until("its place is free", || gateway.metric("api_connections") == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_framed_twice_is_passed_on_by_its_chunks() {
    let answer =
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let instance = Scripted::answering(answer).await;
    let gateway = Gateway::of(vec![instance.instance("a")], |_| {}).await;
    let mut client = gateway.client().await;
    for _ in 0..2 {
        let answer = client.ask(Method::GET, "/x", "").await;
        assert_eq!((answer.header("content-length"), &answer.body[..]), ("", &b"hello"[..]));
    }
}
