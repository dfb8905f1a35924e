use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::directory;
use crate::directory::Claimed;
use crate::instances::{self, Instance};
use crate::lifecycle::{Drain, Life, Phase};
use crate::model::{DeviceId, Endpoint};
use crate::net::traffic::Traffic;
use crate::sessions::{Listed, Session};

/// What an admin listener looks at, without a gateway around it.
struct Desk {
    parts: Arc<Parts>,
    life: Life,
    reloads: mpsc::Receiver<ReloadRequest>,
}

async fn desk() -> Desk {
    let (metrics, sessions) = (Arc::new(Metrics::new()), Arc::new(Sessions::default()));
    let drain = Drain::new(Duration::from_secs(1));
    let settings = directory::Settings { replica_name: "here".to_owned(), ..directory::Settings::default() };
    let keeper = Keeper::open(settings, Arc::clone(&sessions), Arc::clone(&metrics), drain);
    let keeper = keeper.await.expect("memory opens");
    let instance = |name: &str| {
        Instance::mps(name.parse().expect(name), Endpoint::new(name, 4433), Endpoint::new(name, 3000))
    };
    let list = vec![instance("mps-a"), instance("mps-b")];
    let (avoid, connects_in_flight, connects_per_second) = (Duration::from_secs(5), 64, 200);
    let settings = instances::Settings { list, avoid, connects_in_flight, connects_per_second };
    let instances = Arc::new(Instances::new(settings));
    let router = Arc::new(Router::new(Arc::clone(&keeper), Arc::clone(&instances)));
    let (life, phases) = Life::start();
    let (reload, reloads) = mpsc::channel(1);
    let pulse = Arc::new(Pulse::start());
    let parts = Parts {
        api: false,
        instances,
        keeper,
        metrics,
        phases,
        plane: None,
        pulse,
        reloads: reload,
        router,
        sessions,
    };
    Desk { parts: Arc::new(parts), life, reloads }
}

/// Status and body; a body that is not JSON is a string.
struct Said {
    status: u16,
    body: Value,
}

impl Desk {
    async fn send(&self, loopback: bool, request: Request<Body>) -> Said {
        let response = routes(Arc::clone(&self.parts), loopback).oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1_000_000).await.expect("a body");
        let text = String::from_utf8(body.to_vec()).expect("text");
        Said { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    async fn get(&self, path: &str) -> Said {
        self.send(true, Request::get(path).body(Body::empty()).expect("a request")).await
    }

    /// A session proven at `instance`, claimed.
    async fn connect(&self, n: u8, instance: &str) -> Listed {
        let Parts { sessions, keeper, .. } = &*self.parts;
        let (source, traffic) = (IpAddr::V4(Ipv4Addr::LOCALHOST), Arc::new(Traffic::begin()));
        let instance = instance.parse().expect("a name");
        let session =
            Session::proven(DeviceId::from_bytes([n; 16]), sessions.next_id(), instance, source, traffic);
        let (listed, _) = sessions.insert(session);
        assert!(matches!(keeper.claim(&listed.session).await, Claimed::Granted(_)));
        listed
    }
}

const ONE: &str = "01010101-0101-0101-0101-010101010101";

#[tokio::test]
async fn readiness_is_refused_while_starting_and_leaving_only() {
    let desk = desk().await;
    let mut seen = vec![];
    for phase in [Phase::Starting, Phase::Serving, Phase::Noticed, Phase::Draining] {
        desk.life.enter(phase);
        let Said { status, body } = desk.get("/readyz").await;
        seen.push((status, body["phase"].clone(), body["reasons"][0]["reason"].clone()));
    }
    let expected = [(503, "starting"), (200, "serving"), (503, "noticed"), (503, "draining")];
    for ((status, phase, reason), (expected, name)) in seen.into_iter().zip(expected) {
        assert_eq!((status, &phase), (expected, &json!(name)));
        assert_eq!(reason, if expected == 200 { Value::Null } else { json!(name) });
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_data_runtime_is_not_alive() {
    let desk = desk().await;
    assert_eq!(desk.get("/livez").await.status, 200);
    tokio::time::advance(Duration::from_secs(6)).await; // and nobody beats
    let Said { status, body } = desk.get("/livez").await;
    assert_eq!((status, &body["alive"]), (503, &json!(false)), "{body}");
}

#[tokio::test]
async fn a_device_is_found_by_either_spelling_and_nobody_is_404() {
    let desk = desk().await;
    let _one = desk.connect(1, "mps-b").await;
    for path in
        [format!("/admin/v1/devices/{ONE}"), format!("/admin/v1/devices/{}?fresh=true", ONE.to_uppercase())]
    {
        let Said { status, body } = desk.get(&path).await;
        assert_eq!((status, &body["owner"], &body["device"]), (200, &json!("mps-b"), &json!(ONE)), "{body}");
        assert_eq!(body["replica"], json!(desk.parts.keeper.replica().to_string()));
        assert_eq!(body["standing"], json!("live"));
        assert!(body["epoch"].as_u64().is_some_and(|epoch| epoch > 0), "{body}");
    }
    let nobody = desk.get("/admin/v1/devices/02020202-0202-0202-0202-020202020202").await;
    assert_eq!((nobody.status, &nobody.body["error"]), (404, &json!("no-owner")));
    for path in ["/admin/v1/devices/xyz", "/admin/v1/devices/01010101010101010101010101010101"] {
        let Said { status, body } = desk.get(path).await;
        assert_eq!((status, &body["error"]), (400, &json!("bad-request")), "{path}");
    }
}

#[tokio::test]
async fn a_decision_is_explained_by_every_instance_considered() {
    let desk = desk().await;
    let _one = desk.connect(1, "mps-b").await;
    let Said { status, body } = desk.get(&format!("/admin/v1/devices/{ONE}/explain")).await;
    assert_eq!((status, &body["instance"], &body["why"]), (200, &json!("mps-b"), &json!("owner")), "{body}");
    assert_eq!(body["considered"].as_array().map(Vec::len), Some(2));
    assert_eq!(body["owner"]["owner"], json!("mps-b"));
    let stranger = desk.get("/admin/v1/devices/09090909-0909-0909-0909-090909090909/explain").await.body;
    assert_eq!((&stranger["why"], &stranger["owner"]["error"]), (&json!("placed"), &json!("no-owner")));
}

#[tokio::test]
async fn devices_come_in_pages_and_by_instance() {
    let desk = desk().await;
    let mut held = vec![];
    for n in 1..=30 {
        held.push(desk.connect(n, if n % 3 == 0 { "mps-a" } else { "mps-b" }).await);
    }
    let (mut found, mut path) = (vec![], "/admin/v1/devices?limit=7&instance=mps-a".to_owned());
    for _ in 0..100 {
        let Said { status, body } = desk.get(&path).await;
        assert_eq!(status, 200, "{body}");
        found.extend(body["devices"].as_array().expect("a list").clone());
        let Some(cursor) = body["cursor"].as_str() else { break };
        path = format!("/admin/v1/devices?limit=7&instance=mps-a&cursor={cursor}");
    }
    assert!(found.iter().all(|device| device["owner"] == json!("mps-a")));
    let mut guids: Vec<_> = found.iter().map(|device| device["device"].to_string()).collect();
    guids.sort();
    guids.dedup();
    assert_eq!(guids.len(), 10);
    for query in ["limit=0", "limit=1001", "limit=x", "instance=a%20b", "page=2", "cursor=x"] {
        assert_eq!(desk.get(&format!("/admin/v1/devices?{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn replicas_instances_and_contested_devices_are_listed() {
    let desk = desk().await;
    let _one = desk.connect(1, "mps-b").await;
    let replicas = desk.get("/admin/v1/replicas").await.body;
    assert_eq!(replicas["replicas"][0]["name"], json!("here"));
    assert_eq!(replicas["replicas"][0]["this"], json!(true));
    assert_eq!(replicas["directory"]["kind"], json!("memory"));
    let instances = desk.get("/admin/v1/instances").await.body;
    let sessions: Vec<_> = instances["instances"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|i| (&i["name"], &i["sessions"]))
        .collect();
    assert_eq!(sessions, [(&json!("mps-a"), &json!(0)), (&json!("mps-b"), &json!(1))]);
    assert_eq!(desk.get("/admin/v1/contested").await.body, json!({ "contested": [] }));
}

#[tokio::test]
async fn metrics_say_how_many_sessions_each_instance_has() {
    let desk = desk().await;
    let one = desk.connect(1, "mps-b").await;
    let text = desk.get("/metrics").await.body.to_string();
    for line in ["instance_sessions{instance=\\\"mps-b\\\"} 1", "mps_gateway_sessions 1", "breaker_open 0"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    drop(one);
    let text = desk.get("/metrics").await.body.to_string();
    assert!(text.contains("instance_sessions{instance=\\\"mps-b\\\"} 0"), "{text}");
}

#[tokio::test]
async fn a_reload_answers_what_it_did() {
    let mut desk = desk().await;
    for (told, status, member, expected) in [
        (Ok(vec!["device.listen"]), 200, "restart", json!(["device.listen"])),
        (
            Err(vec!["line 3: device.hold: ..".to_owned()]),
            422,
            "problems",
            json!(["line 3: device.hold: .."]),
        ),
    ] {
        let (parts, reloads) = (Arc::clone(&desk.parts), &mut desk.reloads);
        let request = Request::post("/-/reload").body(Body::empty()).expect("a request");
        let (response, ()) = tokio::join!(routes(parts, true).oneshot(request), async {
            let request = reloads.recv().await.expect("asked");
            request.answer.send(told).expect("somebody waits");
        });
        let response = response.expect("infallible");
        assert_eq!(response.status().as_u16(), status);
        let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body[member], expected);
    }
    desk.reloads.close();
    let request = Request::post("/-/reload").body(Body::empty()).expect("a request");
    assert_eq!(desk.send(true, request).await.status, 503, "leaving: nobody reloads any more");
}

#[tokio::test]
async fn off_loopback_only_probes_and_metrics_are_served() {
    let desk = desk().await;
    desk.life.enter(Phase::Serving);
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/-/reload", 403),
        ("/admin/v1/replicas", 403),
        ("/admin/v1/devices/xyz", 403),
        ("/elsewhere", 404),
    ] {
        let get = Request::get(path).body(Body::empty()).expect("a request");
        assert_eq!(desk.send(false, get).await.status, status, "GET {path}");
    }
    let post = Request::post("/-/reload").body(Body::empty()).expect("a request");
    let Said { status, body } = desk.send(false, post).await;
    assert_eq!((status, &body["error"]), (403, &json!("loopback-only")));
}

#[tokio::test]
async fn a_web_page_cannot_reach_the_api_through_a_browser() {
    let desk = desk().await;
    for (host, status) in [
        ("localhost:8004", 200),
        ("127.0.0.1:8004", 200),
        ("[::1]:8004", 200),
        ("LOCALHOST", 200),
        ("rebound.example.com:8004", 403),
        ("10.0.0.1", 403),
    ] {
        let request = Request::get("/admin/v1/replicas").header("host", host).body(Body::empty());
        assert_eq!(desk.send(true, request.expect("a request")).await.status, status, "{host}");
    }
    let request = Request::post("/-/reload").header("origin", "https://example.com").body(Body::empty());
    assert_eq!(desk.send(true, request.expect("a request")).await.status, 403);
    assert_eq!(desk.get("/-/reload").await.status, 405, "a reload is not a link");
}
