//! The api plane, from a caller's socket to simulated MPS and back.

mod drop_in;
mod framing;
mod instance;
mod raw;
mod retry;
mod routing;
mod smuggling;
mod upgrade;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use mps_gateway::api::{Parts, Plane, Settings};
use mps_gateway::directory::memory::Memory;
use mps_gateway::directory::{self, Claimed, Directory, Keeper};
use mps_gateway::instances::{self, Instance, Instances, State};
use mps_gateway::lifecycle::{Drain, Life, Outlived, Phase};
use mps_gateway::model::{DeviceId, Endpoint, Pool};
use mps_gateway::net::identity::Identity;
use mps_gateway::net::traffic::Traffic;
use mps_gateway::route::Router;
use mps_gateway::sessions::{Listed, Session, Sessions};
use mps_gateway::sim::mps::{Account, Database, INSTANCE_HEADER, Mps, MpsSettings};
use mps_gateway::telemetry::Metrics;
use serde_json::Value;
use tokio::net::TcpStream;

/// Limit of every wait in these tests.
const LIMIT: Duration = Duration::from_secs(20);

/// Every wait goes through here.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work).await.expect("within the limit of a test")
}

/// Looks until `condition` holds.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let looking = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("in time: {what}"));
}

/// A device of its own for each number.
fn device(number: u16) -> DeviceId {
    let [a, b] = number.to_be_bytes();
    DeviceId::from_bytes([0x4c, 0x4c, 0x45, 0x44, 0, 0x4d, 0x4d, 0x10, 0x80, 0x50, 0, 0, 0, 1, a, b])
}

/// A path that only the owner of a device can answer.
fn owners(id: DeviceId) -> String {
    format!("/api/v1/amt/version/{id}")
}

/// One replica's view of the directory.
struct Replica {
    keeper: Arc<Keeper>,
    sessions: Arc<Sessions>,
}

impl Replica {
    async fn open(store: &Arc<Memory>, metrics: Arc<Metrics>) -> Self {
        let sessions = Arc::new(Sessions::default());
        let settings = directory::Settings {
            cache_ttl: Duration::from_secs(60),
            republish_spread: Duration::from_secs(600), // a resync lasts as long as a test wants
            beat: Duration::from_millis(500),
            ..Default::default()
        };
        let store: Arc<dyn Directory> = Arc::clone(store) as _;
        let drain = Drain::new(Duration::from_secs(5));
        let keeper = Keeper::with_store(settings, store, Arc::clone(&sessions), metrics, drain).await;
        Self { keeper: keeper.expect("memory opens"), sessions }
    }

    /// A session of a device, proven at `instance`. It is over when what is returned is released.
    async fn claim(&self, device: DeviceId, instance: &str) -> Listed {
        let (id, source) = (self.sessions.next_id(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let instance = instance.parse().expect("a name");
        let session = Session::proven(device, id, instance, source, Arc::new(Traffic::begin()));
        let listed = self.sessions.insert(session).0;
        let claimed = self.keeper.claim(&listed.session).await;
        assert!(matches!(claimed, Claimed::Granted(_)), "{claimed:?}");
        listed
    }
}

/// An api plane with instances behind it, and another replica that holds the devices. Everything dies
/// with it.
struct Gateway {
    plane: Arc<Plane>,
    keeper: Arc<Keeper>,
    /// Holds the devices' sessions.
    other: Replica,
    store: Arc<Memory>,
    instances: Arc<Instances>,
    metrics: Arc<Metrics>,
    life: Life,
    drain: Drain,
    mps: Vec<Mps>,
    devices: Vec<Listed>,
}

impl Gateway {
    /// A gateway before so many MPS.
    async fn before(count: usize) -> Self {
        Self::with(fleet(count).await, |_| {}).await
    }

    async fn with(mps: Vec<Mps>, change: impl FnOnce(&mut Settings)) -> Self {
        let list = mps.iter().map(|mps| instance(mps.name(), mps.http())).collect();
        Self { mps, ..Self::of(list, change).await }
    }

    /// A gateway before instances that are none of ours.
    async fn of(list: Vec<Instance>, change: impl FnOnce(&mut Settings)) -> Self {
        let (metrics, store) = (Arc::new(Metrics::new()), Arc::new(Memory::default()));
        let here = Replica::open(&store, Arc::clone(&metrics)).await;
        let other = Replica::open(&store, Arc::new(Metrics::new())).await;
        let instances = Arc::new(Instances::new(instances_of(list)));
        let drain = Drain::new(Duration::from_secs(3));
        let (life, phases) = Life::start();
        let mut settings = Settings {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            grace: Duration::from_millis(500),
            ..Settings::default()
        };
        change(&mut settings);
        let parts = Parts {
            router: Arc::new(Router::new(Arc::clone(&here.keeper), Arc::clone(&instances))),
            keeper: Arc::clone(&here.keeper),
            instances: Arc::clone(&instances),
            metrics: Arc::clone(&metrics),
            phases,
            drain: drain.clone(),
        };
        let plane = Arc::new(Plane::bind(settings, parts).expect("a port of the kernel's choice"));
        drain.spawn(Arc::clone(&plane).run());
        life.enter(Phase::Serving);
        Self {
            plane,
            keeper: here.keeper,
            other,
            store,
            instances,
            metrics,
            life,
            drain,
            mps: vec![],
            devices: vec![],
        }
    }

    fn addr(&self) -> SocketAddr {
        self.plane.addresses()[0]
    }

    /// The device is at this MPS, and the directory says so.
    async fn hold(&mut self, id: DeviceId, at: usize) {
        self.mps[at].adopt(id);
        let name = self.mps[at].name().to_owned();
        self.claim(id, &name).await;
    }

    /// The directory says that the device is at `instance`.
    async fn claim(&mut self, id: DeviceId, instance: &str) {
        let listed = within(self.other.claim(id, instance)).await;
        self.devices.push(listed);
    }

    /// Changes how an instance stands.
    fn set(&self, name: &str, state: State) {
        let snapshot = self.instances.snapshot();
        let changed = snapshot.instances.iter().map(|instance| {
            let mut instance = (**instance).clone();
            if instance.name.as_str() == name {
                instance.state = state;
            }
            instance
        });
        self.instances.replace(instances_of(changed.collect()));
    }

    async fn client(&self) -> Client {
        Client::to(self.addr()).await
    }

    /// `GET path` on a connection of its own.
    async fn get(&self, path: &str) -> Answer {
        self.client().await.ask(Method::GET, path, "").await
    }

    /// The value of a metric, by name and labels as rendered, without the `mps_gateway_` in front.
    fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("mps_gateway_")?.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
    }

    /// How often requests ended for this reason, by this party's doing.
    fn ended(&self, reason: &str, blame: &str) -> f64 {
        self.metric(&format!("requests_total{{reason=\"{reason}\",blame=\"{blame}\"}}"))
    }

    /// How often a request was sent once more, for this reason.
    fn resent(&self, cause: &str) -> f64 {
        self.metric(&format!("request_resends_total{{cause=\"{cause}\"}}"))
    }

    async fn finish(&self) -> Result<(), Outlived> {
        self.life.enter(Phase::Noticed);
        self.life.enter(Phase::Draining);
        self.drain.finish().await
    }
}

/// So many MPS that share a database.
async fn fleet(count: usize) -> Vec<Mps> {
    fleet_showing(count, None).await
}

/// The same with a certificate for devices.
async fn fleet_showing(count: usize, identity: Option<Identity>) -> Vec<Mps> {
    let database = Arc::new(Database::of_everyone(Account::default()));
    let mut fleet = Vec::new();
    for number in 0..count {
        let settings = MpsSettings::new(&format!("mps-{number}"), identity.clone(), Arc::clone(&database));
        fleet.push(Mps::start(settings).await.expect("an MPS on ports of the kernel's choice"));
    }
    fleet
}

fn instance(name: &str, http: SocketAddr) -> Instance {
    Instance {
        name: name.parse().expect("a name"),
        pool: Pool::mps(),
        cira: Endpoint::new("192.0.2.1", 4433),
        http: http.into(),
        weight: 1.0,
        zone: None,
        max_sessions: None,
        state: State::Up,
    }
}

fn instances_of(list: Vec<Instance>) -> instances::Settings {
    instances::Settings {
        list,
        avoid: Duration::from_millis(300),
        connects_in_flight: 64,
        connects_per_second: 1_000,
    }
}

/// What a caller heard.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// Which simulated instance answered; empty: we did.
    fn by(&self) -> &str {
        self.header(INSTANCE_HEADER)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("JSON: {:?}", self.body))
    }

    /// The word of our own refusals.
    fn error(&self) -> String {
        self.json()["error"].as_str().expect("a word").to_owned()
    }
}

/// One kept-alive connection of a caller.
struct Client(SendRequest<Full<Bytes>>);

impl Client {
    #[expect(clippy::disallowed_methods, reason = "ends with the connection")]
    async fn to(addr: SocketAddr) -> Self {
        let tcp = within(TcpStream::connect(addr)).await.expect("it listens");
        let (sender, connection) = handshake(TokioIo::new(tcp)).await.expect("HTTP");
        tokio::spawn(connection);
        Self(sender)
    }

    async fn ask(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::builder().method(method).uri(path).header("host", "gateway.example");
        self.send(request.body(Full::new(body.into())).expect("a request")).await
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let exchange = async {
            self.0.ready().await.expect("the connection is kept");
            let response = self.0.send_request(request).await.expect("an answer");
            let (parts, body) = response.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            Answer { status: parts.status.as_u16(), headers: parts.headers, body }
        };
        within(exchange).await
    }
}
