//! The device plane, from a device's socket to a simulated MPS and back.

mod bad_hellos;
mod bad_input;
mod bad_logins;
mod bounds;
#[cfg(feature = "redis")]
mod claim;
mod itinerary;
mod splice;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use mps_gateway::device::{self, Parts, Plane};
use mps_gateway::directory::{self, Answer, Freshness, Keeper};
use mps_gateway::instances::{self, Instance, Instances, State};
use mps_gateway::lifecycle::Drain;
use mps_gateway::model::{Claim, DeviceId, Secret};
use mps_gateway::net::instance_tls::{InstanceTls, Verify};
use mps_gateway::net::server_tls::ServerTls;
use mps_gateway::route::Router;
use mps_gateway::sessions::Sessions;
use mps_gateway::sim::device::{DeviceTls, RawDevice};
use mps_gateway::sim::mps::{Account, Database, Mps, MpsSettings};
use mps_gateway::sim::pki::{Authority, Keys};
use mps_gateway::telemetry::Metrics;
use mps_gateway::wire::apf::{Message, Preamble, UserauthRequest};
use tokio::net::{TcpSocket, TcpStream};

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

fn password() -> Secret {
    Account::default().password
}

/// A device plane with instances behind it. Everything dies with it.
struct Gateway {
    plane: Arc<Plane>,
    keeper: Arc<Keeper>,
    sessions: Arc<Sessions>,
    instances: Arc<Instances>,
    metrics: Arc<Metrics>,
    drain: Drain,
    mps: Vec<Mps>,
}

impl Gateway {
    /// A gateway before one MPS.
    async fn start() -> Self {
        Self::before(1, |_| {}).await
    }

    /// A gateway before so many MPS that share a database, with settings as changed.
    async fn before(count: usize, change: impl FnOnce(&mut device::Settings)) -> Self {
        let (fleet, tls) = Self::fleet(count).await;
        Self::with(fleet, tls, change).await
    }

    /// So many MPS that share a database, and a client that trusts them.
    async fn fleet(count: usize) -> (Vec<Mps>, InstanceTls) {
        let mut fleet = Vec::new();
        let authority = Authority::new(Keys::P256, "MPSRoot").expect("a root");
        let leaf = authority.issue("mps", &["mps"]).expect("a leaf");
        let database = Arc::new(Database::of_everyone(Account::default()));
        for number in 0..count {
            let settings =
                MpsSettings::new(&format!("mps-{number}"), Some(leaf.identity()), Arc::clone(&database));
            fleet.push(Mps::start(settings).await.expect("an MPS on ports of the kernel's choice"));
        }
        let pins = leaf.pins().to_vec();
        (fleet, InstanceTls::new(&Verify::Pin(pins)).expect("pins"))
    }

    async fn with(mps: Vec<Mps>, tls: InstanceTls, change: impl FnOnce(&mut device::Settings)) -> Self {
        Self::over(directory::Settings::default(), mps, tls, change).await
    }

    /// The same over a directory that is not in memory.
    async fn over(
        directory: directory::Settings,
        mps: Vec<Mps>,
        tls: InstanceTls,
        change: impl FnOnce(&mut device::Settings),
    ) -> Self {
        let authority = Authority::new(Keys::P256, "root").expect("a root");
        let shown = authority.issue("gateway", &["gateway"]).expect("a leaf").identity();
        let (metrics, sessions) = (Arc::new(Metrics::new()), Arc::new(Sessions::default()));
        let drain = Drain::new(Duration::from_secs(5));
        let instances = Arc::new(Instances::new(instances::Settings {
            list: mps.iter().map(instance).collect(),
            avoid: Duration::from_millis(300),
            connects_in_flight: 64,
            connects_per_second: 1_000,
        }));
        let keeper = Keeper::open(
            directory,
            Arc::clone(&sessions),
            Arc::clone(&metrics),
            Drain::new(Duration::from_secs(5)), // the directory stays while the plane drains
        );
        let keeper = keeper.await.expect("the directory opens");
        let mut settings = device::Settings {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            grace: Duration::from_millis(500),
            ..device::Settings::default()
        };
        change(&mut settings);
        let parts = Parts {
            tls: Arc::new(ServerTls::new(shown).expect("a good identity")),
            instance_tls: Arc::new(ArcSwapOption::from_pointee(tls)),
            router: Arc::new(Router::new(Arc::clone(&keeper), Arc::clone(&instances))),
            instances: Arc::clone(&instances),
            keeper: Arc::clone(&keeper),
            sessions: Arc::clone(&sessions),
            metrics: Arc::clone(&metrics),
            drain: drain.clone(),
        };
        let plane = Arc::new(Plane::bind(settings, parts).expect("a port of the kernel's choice"));
        drain.spawn(Arc::clone(&plane).run());
        Self { plane, keeper, sessions, instances, metrics, drain, mps }
    }

    fn addr(&self) -> SocketAddr {
        self.plane.addresses()[0]
    }

    /// A TLS connection that says what it is told to.
    async fn connect(&self) -> RawDevice {
        within(RawDevice::connect(self.addr())).await.expect("the gateway shakes hands")
    }

    /// A TCP connection from another address of this host.
    async fn tcp_from(&self, last: u8) -> TcpStream {
        self.tcp_from_address([127, 0, 0, last]).await
    }

    async fn tcp_from_address(&self, address: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((address, 0))).expect("all of 127/8 is ours");
        within(socket.connect(self.addr())).await.expect("the gateway listens")
    }

    /// The same with TLS.
    async fn connect_from(&self, last: u8) -> RawDevice {
        let tcp = self.tcp_from(last).await;
        within(RawDevice::over(tcp, &DeviceTls::trusting_anything())).await.expect("the gateway shakes hands")
    }

    /// A device that logged in.
    async fn proven(&self, id: DeviceId) -> RawDevice {
        let mut raw = self.connect().await;
        within(raw.log_in(id, "admin", &password())).await.expect("the login succeeds");
        raw
    }

    /// The claim that stands for a device.
    async fn claim(&self, id: DeviceId) -> Option<Claim> {
        match within(self.keeper.owner(id, Freshness::Fresh)).await {
            Answer::Owned { claim, .. } => Some(claim),
            Answer::Nobody => None,
            other => panic!("the memory directory is never away: {other:?}"),
        }
    }

    /// The value of a metric, by name and labels as rendered, without the `mps_gateway_` in front.
    fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("mps_gateway_")?.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
    }

    /// How often sessions ended for this reason, by this party's doing.
    fn ended(&self, reason: &str, blame: &str) -> f64 {
        self.metric(&format!("session_ends_total{{reason=\"{reason}\",blame=\"{blame}\"}}"))
    }

    /// Waits until the last session is over and everything it held is given back.
    async fn all_gone(&self) {
        until("no connection is left", || self.metric("device_connections") == 0.0).await;
        assert!(self.sessions.is_empty());
        assert_eq!(self.metric("sessions"), 0.0);
        assert_eq!(self.metric("devices_held"), 0.0);
    }

    /// A device still gets through, from a session's first byte to its last.
    async fn still_serves(&self, id: DeviceId) {
        let mut raw = self.proven(id).await;
        within(raw.offer(&[16992])).await.expect("the relay works");
    }
}

fn instance(mps: &Mps) -> Instance {
    Instance::mps(mps.name().parse().expect("a name"), mps.cira().into(), mps.http().into())
}

/// This host, under another address.
fn loopback(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

/// A device's first message.
fn preamble(id: DeviceId) -> Vec<u8> {
    Preamble { major: 1, minor: 0, trigger: 4, device: id }.to_bytes().to_vec()
}

fn disconnect() -> Vec<u8> {
    Message::Disconnect { reason: 11 }.to_bytes().to_vec()
}

fn login(password: &[u8]) -> Vec<u8> {
    Message::UserauthRequest(UserauthRequest::password(b"admin", password)).to_bytes().to_vec()
}

fn service(name: &[u8]) -> Vec<u8> {
    Message::ServiceRequest { service: name }.to_bytes().to_vec()
}
