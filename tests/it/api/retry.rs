//! Where a request goes next when its first destination would not do.

use std::time::Duration;

use hyper::Method;
use mps_gateway::instances::State;
use serde_json::json;

use super::instance::Scripted;
use super::*;

const NOT_CONNECTED: &str = r#"{"error":"Not Found","errorDescription":"Device not found/connected. Please connect again using CIRA."}"#;

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_down_is_503_with_a_time_to_ask_again() {
    let mut gateway = Gateway::before(2).await;
    gateway.hold(device(1), 0).await;
    gateway.hold(device(2), 0).await;
    gateway.mps[0].stop().await;
    let answer = gateway.get(&owners(device(1))).await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "owner-down"), "refused");
    assert_eq!((answer.header("retry-after"), answer.header("content-type")), ("5", "application/json"));
    assert_eq!(answer.header("x-request-id").len(), 32);
    gateway.set("mps-0", State::Down);
    assert_eq!(gateway.get(&owners(device(2))).await.error(), "owner-down", "known to be down");
    assert_eq!(gateway.ended("owner-down", "instance"), 2.0);
    assert!(gateway.mps[1].asked().is_empty(), "nobody else is asked for what he cannot know");
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_cache_another_owner_is_found_when_the_first_cannot_be_reached() {
    let mut gateway = Gateway::before(2).await;
    for (number, state) in [(1, State::Up), (2, State::Down)] {
        gateway.mps[0].restart().await.expect("it runs");
        gateway.set("mps-0", State::Up);
        gateway.hold(device(number), 0).await;
        assert_eq!(gateway.get(&owners(device(number))).await.by(), "mps-0", "and that is remembered");
        gateway.mps[0].stop().await;
        gateway.set("mps-0", state);
        gateway.hold(device(number), 1).await;
        let answer = gateway.client().await.ask(Method::POST, &owners(device(number)), "{}").await;
        assert_eq!((answer.status, answer.by()), (200, "mps-1"), "{state:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_device_that_moved_is_sent_once_more_with_its_body() {
    let mut gateway = Gateway::before(2).await;
    gateway.hold(device(1), 0).await;
    assert_eq!(gateway.get(&owners(device(1))).await.by(), "mps-0", "and that is remembered");
    gateway.mps[0].lose(device(1));
    gateway.hold(device(1), 1).await;
    let body = json!({ "action": 10, "padding": "x".repeat(40_000) }).to_string();
    let path = format!("/api/v1/amt/power/action/{}", device(1));
    let answer = gateway.client().await.ask(Method::POST, &path, body.clone()).await;
    assert_eq!((answer.status, answer.by()), (200, "mps-1"));
    let [first, second] = [0, 1].map(|at: usize| gateway.mps[at].asked().pop().expect("it was asked"));
    assert_eq!((first.body.as_ref(), second.body.as_ref()), (body.as_bytes(), body.as_bytes()));
    assert_eq!(gateway.resent("not-connected"), 1.0);
    assert_eq!(gateway.get(&owners(device(1))).await.by(), "mps-1", "the cache was mended");
    assert_eq!(gateway.resent("not-connected"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn not_connected_is_the_answer_if_the_body_was_not_kept_or_the_owner_is_the_same() {
    let mut gateway = Gateway::before(2).await;
    gateway.hold(device(1), 0).await;
    assert_eq!(gateway.get(&owners(device(1))).await.by(), "mps-0", "and that is remembered");
    gateway.mps[0].lose(device(1));
    let answer = gateway.get(&owners(device(1))).await;
    assert_eq!((answer.status, answer.by()), (404, "mps-0"), "the directory knows no other");
    gateway.get(&owners(device(1))).await;
    gateway.hold(device(1), 1).await;
    let path = owners(device(1));
    let long = gateway.client().await.ask(Method::POST, &path, "x".repeat(65 * 1024)).await;
    assert_eq!((long.status, long.by()), (404, "mps-0"), "too long to keep");
    assert_eq!(gateway.resent("not-connected"), 0.0);
    assert_eq!(gateway.get(&path).await.by(), "mps-1", "but the cache was mended");
}

#[tokio::test(flavor = "multi_thread")]
async fn not_connected_is_recognised_by_status_type_length_and_words_only() {
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    let padded = format!("{}{NOT_CONNECTED}", " ".repeat(1024));
    for (answer, status, recognised) in [
        (http("404 Not Found", json, NOT_CONNECTED), 404, true),
        (http("400 Bad Request", json, NOT_CONNECTED), 400, false),
        (http("404 Not Found", "Content-Type: text/html\r\n", NOT_CONNECTED), 404, false),
        (http("404 Not Found", json, &padded), 404, false),
        (http("404 Not Found", json, "{\"error\":\"Device ID not found\"}"), 404, false),
    ] {
        let (wrong, right) =
            (Scripted::answering(&answer).await, Scripted::answering(&http("200 OK", "", "right")).await);
        let list = vec![wrong.instance("wrong"), right.instance("right")];
        let mut gateway = Gateway::of(list, |_| {}).await;
        gateway.claim(device(1), "wrong").await;
        assert_eq!(gateway.get(&owners(device(1))).await.status, status, "{answer}"); // remembered, or not
        gateway.claim(device(1), "wrong").await;
        let first = gateway.get(&owners(device(1))).await;
        assert_eq!(first.status, status);
        assert!(answer.ends_with(std::str::from_utf8(&first.body).expect("text")), "passed on whole");
        let _ = gateway.get(&owners(device(1))).await;
        gateway.claim(device(1), "right").await;
        let before = right.heads().len();
        let second = gateway.get(&owners(device(1))).await;
        // What is not recognised stays cached, and is answered by the wrong one again.
        assert_eq!(
            (second.status == 200, right.heads().len() > before),
            (recognised, recognised),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_directory_is_away_the_stale_owner_is_asked_then_two_guesses_then_503() {
    let mut gateway = Gateway::before(3).await;
    gateway.hold(device(1), 0).await;
    assert_eq!(gateway.get(&owners(device(1))).await.by(), "mps-0", "seen before");
    gateway.other.keeper.forget(device(1));
    gateway.store.set_away(true);
    let answer = gateway.get(&owners(device(1))).await;
    assert_eq!((answer.status, answer.by()), (200, "mps-0"));

    // Never seen: the first of the rendezvous order, then the second, never the third.
    let mut asked = [0; 3];
    for number in 10..40 {
        let holder = usize::from(number % 3);
        gateway.mps[holder].adopt(device(number));
        let answer = gateway.get(&owners(device(number))).await;
        match answer.status {
            200 => {
                assert_eq!(answer.by(), format!("mps-{holder}"));
                asked[holder] += 1;
            }
            503 => {
                assert_eq!((answer.error().as_str(), answer.header("retry-after")), ("directory-away", "5"))
            }
            other => panic!("{other}: {answer:?}"),
        }
    }
    let found: i32 = asked.iter().sum();
    assert!((10..=29).contains(&found), "about two of three are among two guesses: {found}");
    assert_eq!(gateway.ended("directory-away", "directory"), f64::from(30 - found));
    let path = format!("/api/v1/devices/{}", device(1));
    assert_eq!(gateway.get(&path).await.status, 200, "the database is not the directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_directory_is_filled_again_no_record_is_not_taken_for_nobody() {
    let mut gateway = Gateway::before(3).await;
    gateway.hold(device(1), 0).await;
    assert_eq!(gateway.get(&owners(device(1))).await.by(), "mps-0", "seen before");
    until("in sync", || gateway.keeper.status().synced).await;
    gateway.store.model(|model| *model = Default::default());
    until("the loss is noticed", || !gateway.keeper.status().synced).await;
    gateway.keeper.forget(device(1));
    let answers = [
        gateway.get(&owners(device(1))).await,
        gateway.get(&owners(device(2))).await, // nobody holds it, and nobody can know
    ];
    assert!(!gateway.keeper.status().synced, "it is not over yet");
    let [known, unknown] = answers;
    assert!(known.status == 200 || known.status == 503, "stale or guessed, never 404: {known:?}");
    assert_eq!((unknown.status, unknown.error().as_str()), (503, "directory-away"));
    assert_eq!(gateway.get("/api/v1/devices").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_directory_is_away_a_body_that_was_not_kept_is_503_and_not_404() {
    let gateway = Gateway::before(2).await;
    gateway.store.set_away(true);
    let answer = gateway.client().await.ask(Method::POST, &owners(device(1)), "x".repeat(70_000)).await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "directory-away"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_the_instance_closed_is_replaced_without_a_word() {
    let instance = Scripted::start(|_, mut heard| async move {
        heard.head().await;
        heard.say(http("200 OK", "", "once").as_bytes()).await; // and closes
    })
    .await;
    let gateway = Gateway::of(vec![instance.instance("a")], |_| {}).await;
    let mut client = gateway.client().await;
    for number in 1..=5 {
        let answer = client.ask(Method::POST, "/api/v1/devices", "{}").await;
        assert_eq!((answer.status, instance.connections()), (200, number));
        tokio::time::sleep(Duration::from_millis(20)).await; // the close arrives
    }
    assert_eq!(gateway.resent("broke"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_broken_connection_only_what_does_no_harm_is_sent_again_and_once() {
    let instance = Scripted::start(|number, mut heard| async move {
        while let Some(head) = heard.head().await {
            if number == 0 || head.contains("/always") {
                return; // closes after it took the request
            }
            heard.say(http("200 OK", "", "ok").as_bytes()).await;
        }
    })
    .await;
    let gateway = Gateway::of(vec![instance.instance("a")], |_| {}).await;
    assert_eq!(gateway.get("/first").await.status, 200);
    assert_eq!(gateway.resent("broke"), 1.0);
    let answer = gateway.get("/always").await;
    assert_eq!((answer.status, answer.error().as_str()), (502, "broke"));
    assert_eq!(gateway.resent("broke"), 2.0, "once each");
    let answer = gateway.client().await.ask(Method::POST, "/always", "{}").await;
    assert_eq!((answer.status, gateway.resent("broke")), (502, 2.0));
    let heads = instance.heads();
    assert_eq!(heads.iter().filter(|head| head.starts_with("POST")).count(), 1, "{heads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_does_not_answer_in_time_is_504_and_a_long_poll_is_not() {
    let gateway = Gateway::with(fleet(1).await, |s| s.response_timeout = Duration::from_millis(700)).await;
    gateway.mps[0].freeze(true);
    let answer = gateway.get("/api/v1/version").await;
    assert_eq!((answer.status, answer.error().as_str()), (504, "slow"));
    let thaw = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        gateway.mps[0].freeze(false);
    };
    gateway.mps[0].freeze(true);
    let (answer, ()) = tokio::join!(gateway.get("/api/v1/version"), thaw);
    assert_eq!(answer.status, 200);
    assert_eq!(gateway.ended("slow", "instance"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_502() {
    let instance = Scripted::answering("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    let gateway = Gateway::of(vec![instance.instance("a")], |_| {}).await;
    let answer = gateway.get("/").await;
    assert_eq!((answer.status, answer.error().as_str()), (502, "broke"));
    let smuggled =
        Scripted::answering("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab").await;
    let gateway = Gateway::of(vec![smuggled.instance("a")], |_| {}).await;
    assert_eq!(gateway.get("/").await.status, 502, "two lengths");
    let unasked =
        Scripted::answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
            .await;
    let gateway = Gateway::of(vec![unasked.instance("a")], |_| {}).await;
    assert_eq!(gateway.get("/").await.status, 502, "nobody asked to switch");
}
