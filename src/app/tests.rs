#![allow(clippy::disallowed_methods, reason = "tests spawn what no drain need count")]

use std::future::Future;
use std::path::Path;
use std::sync::Mutex;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::model::Endpoint;
use crate::{directory, instances};

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.expect("within 20 s")
}

/// No device plane, a memory directory, an admin listener on a free port.
fn settings() -> Settings {
    Settings {
        admin: Some(admin::Settings {
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            optional: false,
        }),
        api: None,
        device: None,
        directory: directory::Settings { replica_name: "here".to_owned(), ..directory::Settings::default() },
        drain: DrainSettings { notice: Duration::from_millis(300), window: Duration::from_secs(2) },
        instance_tls: None,
        instances: instances::Settings {
            list: vec![],
            avoid: Duration::from_secs(5),
            connects_in_flight: 64,
            connects_per_second: 200,
        },
        log: Log { filter: "info".to_owned(), format: None },
        restart: RestartKeys::default(),
    }
}

async fn ask(address: SocketAddr, method: Method, path: &str) -> (u16, Value) {
    let io = TokioIo::new(TcpStream::connect(address).await.expect("it listens"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("HTTP");
    let request = Request::builder().method(method).uri(path).body(Empty::<Bytes>::new()).expect("a request");
    let answer = async move {
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    };
    let (answer, _) = within(async { tokio::join!(answer, connection) }).await;
    answer
}

/// A gateway that serves, and how to wish it something.
async fn serve(outside: Outside, settings: Settings) -> (SocketAddr, mpsc::Sender<Wish>, JoinHandle<Ended>) {
    let app = App::bind(settings, outside).await.expect("it binds");
    let (admin, mut phases) = (app.addresses().admin[0], app.phases().clone());
    let (wish, wishes) = mpsc::channel(4);
    let running = tokio::spawn(app.run(wishes));
    within(phases.wait_for(|phase| phase.ready())).await.expect("it serves");
    (admin, wish, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_ready_until_told_to_stop_and_then_leaves() {
    let (admin, wish, running) = serve(Outside::default(), settings()).await;
    assert_eq!(ask(admin, Method::GET, "/readyz").await.0, 200);
    assert_eq!(ask(admin, Method::GET, "/livez").await.0, 200);
    wish.send(Wish::Stop).await.expect("it listens");
    within(async { while ask(admin, Method::GET, "/readyz").await.0 == 200 {} }).await;
    let (status, body) = ask(admin, Method::GET, "/readyz").await;
    assert_eq!(
        (status, &body["phase"]),
        (503, &Value::from("noticed")),
        "still there, so that all can see it"
    );
    assert_eq!(within(running).await.expect("no panic"), Ended::Drained);
    assert!(TcpStream::connect(admin).await.is_err(), "the admin listener is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_wish_to_stop_cuts_the_drain_short() {
    let drain = DrainSettings { notice: Duration::from_secs(3600), window: Duration::from_secs(3600) };
    let (_, wish, running) = serve(Outside::default(), Settings { drain, ..settings() }).await;
    wish.send(Wish::Stop).await.expect("it listens");
    wish.send(Wish::Reload).await.expect("it listens");
    wish.send(Wish::Stop).await.expect("it listens");
    assert_eq!(within(running).await.expect("no panic"), Ended::CutShort);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_left_to_wish_is_a_wish_to_stop() {
    let (_, wish, running) = serve(Outside::default(), settings()).await;
    drop(wish);
    assert_eq!(within(running).await.expect("no panic"), Ended::Drained);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_admin_port_is_an_error_unless_nobody_asked_for_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = vec![taken.local_addr().expect("bound")];
    let wanted =
        Settings { admin: Some(admin::Settings { listen: listen.clone(), optional: false }), ..settings() };
    let error = App::bind(wanted, Outside::default()).await.err().expect("the port is taken").to_string();
    assert!(error.starts_with(&format!("admin.listen: cannot listen on {}: ", listen[0])), "{error}");
    let unasked = Settings { admin: Some(admin::Settings { listen, optional: true }), ..settings() };
    let app = App::bind(unasked, Outside::default()).await.expect("only a warning");
    assert!(app.addresses().admin.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_does_what_it_can_and_names_the_rest_each_time() {
    let instance = |name: &str| {
        let at = |port| Endpoint::new(name, port);
        instances::Instance::mps(name.parse().expect(name), at(4433), at(3000))
    };
    let mut changed = settings();
    changed.instances.list = vec![instance("mps-a")];
    changed.restart = RestartKeys([("directory.prefix", 2)].into());
    let next = Arc::new(Mutex::new(Ok(changed)));
    let read = Arc::clone(&next);
    let source: Source = Arc::new(move || read.lock().expect("no panic").clone());
    let started = Settings { restart: RestartKeys([("directory.prefix", 1)].into()), ..settings() };
    let (admin, wish, running) = serve(Outside { source: Some(source), store: None }, started).await;
    for _ in 0..2 {
        let (status, body) = ask(admin, Method::POST, "/-/reload").await;
        assert_eq!((status, &body["restart"]), (200, &serde_json::json!(["directory.prefix"])));
    }
    let (_, body) = ask(admin, Method::GET, "/admin/v1/instances").await;
    assert_eq!(body["instances"][0]["name"], Value::from("mps-a"));

    *next.lock().expect("no panic") = Err(vec!["line 1: nonsense".to_owned()]);
    let (status, body) = ask(admin, Method::POST, "/-/reload").await;
    assert_eq!((status, &body["problems"][0]), (422, &Value::from("line 1: nonsense")));
    let (_, body) = ask(admin, Method::GET, "/admin/v1/instances").await;
    assert_eq!(body["instances"][0]["name"], Value::from("mps-a"), "everything stays as it was");
    drop(wish);
    assert_eq!(within(running).await.expect("no panic"), Ended::Drained);
}

/// Writes a leaf and its key where `from` names them.
fn write(from: &Certificate, common_name: &str) {
    use crate::sim::pki::{Authority, Keys};
    let Certificate::Files { certificate, private_key } = from else { panic!("files") };
    let authority = Authority::new(Keys::P256, "root").expect("made");
    let leaf = authority.issue(common_name, &[]).expect("made");
    std::fs::write(certificate, leaf.pem()).expect("written");
    std::fs::write(private_key, leaf.key_pem().expose()).expect("written");
}

fn expiry(metrics: &Metrics) -> String {
    let text = metrics.render();
    let line = text.lines().find(|line| line.starts_with("mps_gateway_certificate_expiry"));
    line.expect("it is counted").to_owned()
}

#[tokio::test]
async fn a_changed_certificate_is_shown_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| Path::join(folder.path(), name);
    let from = Certificate::Files { certificate: path("c.crt"), private_key: path("c.key") };
    write(&from, "one");
    let metrics = Arc::new(Metrics::new());
    let mut shown = Shown::load(&from, "here", Arc::clone(&metrics)).await.expect("it loads");
    assert!(!expiry(&metrics).ends_with(" 0"), "{}", expiry(&metrics));

    assert!(!shown.look().await, "nothing changed");
    std::fs::write(path("c.key"), "half a key").expect("written");
    assert!(!shown.look().await, "the old one stays");
    assert!(shown.replace(&from).await.is_err(), "a reload says so");
    write(&from, "two");
    assert!(shown.look().await, "whole again");
    assert!(!shown.look().await, "and seen");
    std::fs::remove_file(path("c.crt")).expect("it was there");
    assert!(!shown.look().await, "about to be written again");
}

#[tokio::test]
async fn a_certificate_is_made_up_when_nobody_else_must_show_it() {
    let metrics = Arc::new(Metrics::new());
    let shown = Shown::load(&Certificate::Generated, "here", metrics).await.expect("made");
    assert!(shown.tls.not_after() > std::time::SystemTime::now());
}

#[tokio::test(start_paused = true)]
async fn bytes_of_sessions_that_live_on_are_counted_every_few_seconds_and_once() {
    let (metrics, sessions) = (Arc::new(Metrics::new()), Arc::new(Sessions::default()));
    let traffic = Arc::new(crate::net::traffic::Traffic::begin());
    let device = crate::model::DeviceId::from_bytes([1; 16]);
    let (number, instance) = (sessions.next_id(), "mps".parse().expect("a name"));
    let source = "203.0.113.1".parse().expect("an address");
    let session = crate::sessions::Session::proven(device, number, instance, source, Arc::clone(&traffic));
    let (_listed, _) = sessions.insert(session);
    let house = keep_house(Arc::new(Pulse::start()), Arc::clone(&metrics), Arc::clone(&sessions));
    for total in [700, 1_400] {
        traffic.heard_device(700);
        tokio::time::sleep(UPKEEP * 3).await;
        let line = format!("mps_gateway_bytes_total{{direction=\"from-device\"}} {total}");
        let text = metrics.render();
        assert!(text.lines().any(|l| l == line), "{line} not in {text}");
    }
    house.finish().await.expect("it ends");
}

#[tokio::test]
async fn bytes_of_spliced_sessions_are_counted_while_they_live() {
    let (sessions, metrics) = (Sessions::default(), Metrics::new());
    let traffic = Arc::new(crate::net::traffic::Traffic::begin());
    let (source, shown_out) = (crate::model::Source::of([127, 0, 0, 1].into()), Default::default());
    let splice = sessions.spliced().enter(source, Arc::clone(&traffic), shown_out, 1);
    let _splice = splice.expect("there is room");
    traffic.heard_device(68);
    traffic.heard_instance(7);
    for _ in 0..2 {
        report_bytes(&sessions, &metrics).await;
        let text = metrics.render();
        for line in
            ["bytes_total{direction=\"from-device\"} 68", "bytes_total{direction=\"from-instance\"} 7"]
        {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
