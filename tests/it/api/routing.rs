//! Which instance a request ends at.

use std::time::Duration;

use http_body_util::Full;
use hyper::{Method, Request};
use mps_gateway::instances::State;
use mps_gateway::net::network::Network;
use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_a_kept_connection_goes_to_the_owner_of_its_own_device() {
    let mut gateway = Gateway::before(3).await;
    for number in 0..30 {
        gateway.hold(device(number), usize::from(number % 3)).await;
    }
    let mut client = gateway.client().await;
    for number in (0..30).chain((0..30).rev()) {
        let answer = client.ask(Method::GET, &owners(device(number)), "").await;
        assert_eq!((answer.status, answer.by()), (200, format!("mps-{}", number % 3).as_str()), "{number}");
        assert_eq!(answer.json(), json!({ "device": device(number).to_string() }));
    }
    assert_eq!(gateway.ended("answered", "nobody"), 60.0);
    assert_eq!(gateway.metric("request_routes_total{why=\"owner\"}"), 60.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_nobody_holds_is_asked_of_anyone_and_mps_says_404_itself() {
    let gateway = Gateway::before(2).await;
    let answer = gateway.get(&owners(device(1))).await;
    assert_eq!(answer.status, 404);
    assert!(answer.by().starts_with("mps-"), "it is the instance's answer: {answer:?}");
    assert!(answer.json()["errorDescription"].as_str().expect("text").contains("not found/connected"));
    assert_eq!(gateway.metric("request_routes_total{why=\"nobody\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mps_answers_from_its_database_is_answered_by_anyone_though_the_owner_is_down() {
    let mut gateway = Gateway::before(2).await;
    gateway.hold(device(1), 0).await;
    gateway.mps[0].stop().await;
    gateway.set("mps-0", State::Down);
    for path in
        [format!("/api/v1/devices/{}", device(1)), format!("/api/v1/authorize/redirection/{}", device(1))]
    {
        let answer = gateway.get(&path).await;
        assert_eq!((answer.status, answer.by()), (200, "mps-1"), "{path}");
    }
    gateway.set("mps-0", State::Up); // nobody noticed yet: whoever is tried first
    for _ in 0..10 {
        let answer = gateway.get("/api/v1/devices").await;
        assert_eq!((answer.status, answer.by()), (200, "mps-1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_anyone_can_answer_is_spread_over_those_who_are_up() {
    let gateway = Gateway::before(3).await;
    gateway.set("mps-2", State::Draining);
    let mut counts = [0; 3];
    let mut client = gateway.client().await;
    for _ in 0..60 {
        let answer = client.ask(Method::GET, "/api/v1/devices", "").await;
        counts[usize::from(answer.by().as_bytes()[4] - b'0')] += 1;
    }
    assert!(counts[0] > 10 && counts[1] > 10 && counts[2] == 0, "{counts:?}");
    gateway.set("mps-0", State::Down);
    gateway.set("mps-1", State::Down);
    assert_eq!(gateway.get("/api/v1/devices").await.by(), "mps-2", "better than nobody");
    gateway.set("mps-2", State::Down);
    let answer = gateway.get("/api/v1/devices").await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "no-instance"));
    assert_eq!(answer.header("retry-after"), "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_no_known_instance_is_dialled_by_its_name_and_nonsense_is_nobody() {
    let mps = fleet(2).await;
    let (stranger, list) = (mps[1].http(), vec![instance(mps[0].name(), mps[0].http())]);
    let mut gateway = Gateway::of(list, |s| s.http_port = stranger.port()).await;
    mps[1].adopt(device(1));
    gateway.claim(device(1), "127.0.0.1").await;
    let answer = gateway.get(&owners(device(1))).await;
    assert_eq!((answer.status, answer.by()), (200, "mps-1"));
    assert_eq!(gateway.metric("request_routes_total{why=\"stranger\"}"), 1.0);
    for (number, nobody) in [(2, "NaN"), (3, "localhost")] {
        mps[0].adopt(device(number));
        gateway.claim(device(number), nobody).await;
        assert_eq!(gateway.get(&owners(device(number))).await.by(), "mps-0", "{nobody}: anyone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_sent_on_in_lower_case_unless_told_otherwise() {
    let mut gateway = Gateway::before(2).await;
    gateway.hold(device(0xabc), 1).await;
    let upper = device(0xabc).to_string().to_uppercase();
    let answer = gateway.get(&format!("/api/v1/amt/version/{upper}?x={upper}")).await;
    assert_eq!((answer.status, answer.by()), (200, "mps-1"));
    let asked = gateway.mps[1].asked().pop().expect("it was asked");
    assert_eq!(asked.target, format!("/api/v1/amt/version/{}?x={upper}", device(0xabc)));
    let told = gateway.get(&format!("/relay/webrelay.ashx?p=2&host={upper}&port=16994")).await;
    assert_eq!((told.status, told.by()), (404, "mps-1"));
    let asked = gateway.mps[1].asked().pop().expect("it was asked");
    assert_eq!(asked.target, format!("/relay/webrelay.ashx?p=2&host={}&port=16994", device(0xabc)));

    let settings = Settings { canonical_guid: false, ..Settings::default() };
    gateway.plane.reload(settings);
    assert_eq!(gateway.get(&format!("/api/v1/amt/version/{upper}")).await.status, 404, "as MPS has it");
    assert!(gateway.mps[1].asked().pop().expect("asked").target.ends_with(&upper), "the owner all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_leads_to_its_pool_and_takes_its_prefix_off() {
    let mps = fleet(2).await;
    let mut list: Vec<_> = mps.iter().map(|mps| instance(mps.name(), mps.http())).collect();
    list[1].pool = Pool::new("rps");
    let routes = ["/mps mps strip", "/rps rps strip"].map(|route| route.parse().expect(route)).to_vec();
    let gateway = Gateway::of(list, |s| s.routes = mps_gateway::http::routes::Routes::new(routes)).await;
    for (path, by, target) in [
        ("/mps/api/v1/version", "mps-0", "/api/v1/version"),
        ("/rps/api/v1/version?x=1", "mps-1", "/api/v1/version?x=1"),
        ("/rps?x=1", "mps-1", "/?x=1"),
    ] {
        let answer = gateway.get(path).await;
        let asked = mps.iter().find(|mps| mps.name() == by).expect(by).asked().pop().expect("it was asked");
        assert_eq!((answer.by(), asked.target.as_str()), (by, target), "{path}");
    }
    let answer = gateway.get("/other").await;
    assert_eq!((answer.status, answer.error().as_str()), (404, "no-route"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_told_who_asked_and_under_which_number() {
    let gateway = Gateway::before(1).await;
    let request = || {
        let builder = Request::get("/api/v1/version").header("host", "public.example");
        let claims = builder.header("x-forwarded-for", "203.0.113.7").header("x-forwarded-proto", "https");
        claims
            .header("x-request-id", "kong-17")
            .header("authorization", "Bearer secret")
            .header("te", "trailers")
    };
    let connection_header =
        request().header("connection", "x-mine, x-request-id, keep-alive").header("x-mine", "1");
    let answer = gateway.client().await.send(connection_header.body(Full::default()).expect("one")).await;
    assert_eq!(answer.header("x-request-id"), "kong-17");
    let asked = gateway.mps[0].asked().pop().expect("it was asked");
    for (name, value) in [
        ("host", "public.example"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "public.example"),
        ("x-request-id", "kong-17"),
        ("authorization", "Bearer secret"),
        ("connection", ""),
        ("x-mine", ""),
        ("te", "trailers"),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
    assert_eq!(asked.header("traceparent").len(), 55);

    let trusted = Network { address: IpAddr::V4(Ipv4Addr::LOCALHOST), prefix: 32 };
    gateway.plane.reload(Settings { trusted_proxies: vec![trusted], ..Settings::default() });
    gateway.client().await.send(request().body(Full::default()).expect("one")).await;
    let asked = gateway.mps[0].asked().pop().expect("it was asked");
    assert_eq!(asked.header("x-forwarded-for"), "203.0.113.7, 127.0.0.1");
    assert_eq!(asked.header("x-forwarded-proto"), "https");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_by_the_gateway_and_readiness_is_503_only_on_the_way_out() {
    let gateway = Gateway::before(1).await;
    assert_eq!(gateway.get("/-/livez").await.status, 200);
    gateway.store.set_away(true);
    gateway.mps[0].stop().await;
    gateway.set("mps-0", State::Down);
    let answer = gateway.get("/-/readyz").await;
    assert_eq!((answer.status, answer.json()["ready"].clone()), (200, json!(true)));
    let reasons = answer.json()["reasons"].to_string();
    assert!(reasons.contains("no-instance"), "{reasons}");
    assert_eq!(gateway.get("/-/other").await.status, 404);
    assert!(gateway.mps[0].asked().is_empty(), "nothing of ours reaches an instance");
    gateway.life.enter(Phase::Noticed);
    let answer = gateway.get("/-/readyz").await;
    assert_eq!((answer.status, answer.header("connection")), (503, "close"));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_drain_requests_under_way_are_answered_and_idle_connections_closed() {
    let mut gateway = Gateway::before(1).await;
    gateway.hold(device(1), 0).await;
    let (mut idle, mut busy) = (gateway.client().await, gateway.client().await);
    assert_eq!(idle.ask(Method::GET, &owners(device(1)), "").await.status, 200);
    gateway.mps[0].freeze(true);
    let path = owners(device(1));
    let asking = async {
        let answer = busy.ask(Method::GET, &path, "").await;
        (answer.status, answer.header("connection").to_owned())
    };
    let leaving = async {
        until("the request is under way", || gateway.metric("requests_in_flight") == 1.0).await;
        let thaw = async {
            within(async {
                while idle.0.ready().await.is_ok() {
                    tokio::task::yield_now().await
                }
            })
            .await;
            gateway.mps[0].freeze(false);
        };
        tokio::join!(gateway.finish(), thaw).0
    };
    let (answer, left) = tokio::join!(asking, leaving);
    assert_eq!(answer, (200, "close".to_owned()));
    left.expect("nothing outlives the drain");
    assert_eq!(gateway.metric("api_connections"), 0.0);
    tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(gateway.addr()))
        .await
        .expect("an answer")
        .expect_err("nobody listens any more");
}
