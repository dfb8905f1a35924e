//! A simulated MPS: CIRA server and web server of one instance.

mod channels;
mod cira;
mod database;
mod relay;
mod rest;
mod services;
mod state;
#[cfg(test)]
mod tests;
mod wsman;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use channels::Channel;
pub use database::{Account, Database, Row};
pub use rest::{Asked, INSTANCE_HEADER};
pub use state::{Connection, Counts, Ending};

use self::cira::Cira;
use self::state::State;
use crate::lifecycle::Drain;
use crate::model::DeviceId;
use crate::net::identity::{Identity, IdentityError};
use crate::net::listener::{Accepted, Listener};
use crate::net::server_tls::ServerTls;
use crate::sim::transfer;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How it behaves where real ones differ or tests want another time.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Answers PROTOCOL_VERSION by the same, as Console does. MPS does not.
    pub echo_version: bool,
    /// A refused login is answered by 15 bytes, as MPS does; else by 14, as Console does.
    pub padded_failure: bool,
    /// Closes after it refused a login, as Console and MeshCentral do. MPS lets the device try again.
    pub closes_refused: bool,
    /// Silence after which a connection ends.
    pub idle: Duration,
    /// How long the database takes to find an account.
    pub lookup: Duration,
    /// Interval and timeout, in seconds, of the keep-alives asked for after port 5900 was offered.
    pub options: Option<(u32, u32)>,
    /// Receive window of a channel it opens, in bytes.
    pub window: u32,
    /// Receive window of a channel that a device opens to one of our services (see
    /// [`transfer`]), in bytes. `None`: every channel of a device is refused, as by real ones.
    pub service_window: Option<u32>,
    /// How long the other side may take to close once we were told to stop.
    pub stop_grace: Duration,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            echo_version: false,
            padded_failure: true,
            closes_refused: false,
            idle: Duration::from_secs(90),
            lookup: Duration::ZERO,
            options: Some((30, 0)),
            window: 81_920,
            service_window: Some(transfer::WINDOW),
            stop_grace: Duration::from_secs(1),
        }
    }
}

/// What a simulated MPS is made of.
#[derive(Clone, Debug)]
pub struct MpsSettings {
    /// Its `instance_name`.
    pub name: String,
    /// Where it listens for devices; port 0: any.
    pub cira: SocketAddr,
    /// Where it listens for requests; port 0: any.
    pub http: SocketAddr,
    /// What it shows to devices: the same for all instances, as with MPS. `None`: plain TCP.
    pub identity: Option<Identity>,
    /// Shared by all instances, as with MPS.
    pub database: Arc<Database>,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// Connections it takes at once, of each kind.
    pub max_connections: usize,
}

impl MpsSettings {
    /// An MPS on loopback, on ports of the kernel's choice.
    pub fn new(name: &str, identity: Option<Identity>, database: Arc<Database>) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            name: name.to_owned(),
            cira: any,
            http: any,
            identity,
            database,
            behaviour: Behaviour::default(),
            max_connections: 65_536,
        }
    }
}

/// Why an MPS cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is not to be had.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// One run, from start to stop.
struct Running {
    drain: Drain,
    /// Ends every task where it stands.
    kill: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}

/// A simulated MPS. It can be stopped and started again on the same ports; dropping it kills it.
pub struct Mps {
    state: Arc<State>,
    behaviour: Arc<Behaviour>,
    tls: Option<Arc<ServerTls>>,
    cira: SocketAddr,
    http: SocketAddr,
    max_connections: usize,
    running: Mutex<Option<Running>>,
}

impl Mps {
    /// Binds, and serves from now on.
    pub async fn start(settings: MpsSettings) -> Result<Self, StartError> {
        let tls = settings.identity.map(ServerTls::new).transpose()?.map(Arc::new);
        let mut mps = Self {
            state: Arc::new(State::new(&settings.name, settings.database)),
            behaviour: Arc::new(settings.behaviour),
            tls,
            cira: settings.cira,
            http: settings.http,
            max_connections: settings.max_connections,
            running: Mutex::new(None),
        };
        let (cira, http) = mps.bind()?;
        (mps.cira, mps.http) = (cira.local_addr(), http.local_addr());
        *mps.running.get_mut() = Some(mps.serve(cira, http));
        Ok(mps)
    }

    /// Its `instance_name`.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Where it listens for devices.
    pub const fn cira(&self) -> SocketAddr {
        self.cira
    }

    /// Where it listens for requests.
    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// Dies as by `kill -9`: sockets close without a word of TLS, the database keeps its rows.
    pub async fn stop(&self) {
        let Some(running) = self.running.lock().await.take() else { return };
        running.kill.cancel();
        // A killed task ends as soon as it gets its turn: only a starved runtime needs longer.
        let _ = running.drain.finish().await;
        self.state.die();
    }

    /// Leaves in order: every connection is closed by TLS and TCP, the database is told.
    pub async fn leave(&self) {
        let Some(running) = self.running.lock().await.take() else { return };
        // Whoever will not close is cut by dropping `running`.
        let _ = running.drain.finish().await;
        self.state.die();
    }

    /// Serves again, on the same ports. Does nothing if it is running.
    pub async fn restart(&self) -> Result<(), StartError> {
        let mut running = self.running.lock().await;
        if running.is_none() {
            let (cira, http) = self.bind()?;
            *running = Some(self.serve(cira, http));
        }
        Ok(())
    }

    /// Whether it is running.
    pub async fn is_running(&self) -> bool {
        self.running.lock().await.is_some()
    }

    /// Stops reading, writing and accepting, as by SIGSTOP; the kernel goes on answering TCP. And back.
    pub fn freeze(&self, frozen: bool) {
        self.state.frozen.send_replace(frozen);
    }

    /// The status of `GET /api/v1/health` from now on: 200, or 503 when the database hiccups.
    pub fn set_health(&self, status: u16) {
        self.state.health.send_replace(status);
    }

    /// The devices it holds: those whose login it accepted and whose connection is there, as it believes.
    pub fn connected(&self) -> Vec<DeviceId> {
        self.state.connected()
    }

    /// How many devices it holds.
    pub fn count(&self) -> usize {
        self.state.count_connected()
    }

    /// Whether it holds `device`.
    pub fn holds(&self, device: DeviceId) -> bool {
        self.state.device(device).is_some()
    }

    /// Ends the connection of `device`; `false`: it does not hold it.
    pub fn end(&self, device: DeviceId) -> bool {
        self.state.end(device)
    }

    /// Opens a channel to a port of a device; `None`: it does not hold it, or the device refuses.
    pub async fn open(&self, device: DeviceId, port: u32) -> Option<Channel> {
        channels::open(&self.state.device(device)?, port).await
    }

    /// Holds `device` from now on as if it had logged in, though nobody is there to speak with.
    pub fn adopt(&self, device: DeviceId) {
        let (commands, _) = tokio::sync::mpsc::channel(1);
        self.state.register(0, device, commands, CancellationToken::new());
    }

    /// Holds `device` no longer, as after an adoption, or a DISCONNECT.
    pub fn lose(&self, device: DeviceId) {
        self.state.forget(device);
    }

    /// The last 256 requests, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().iter().cloned().collect()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.state.counts()
    }

    /// Every CIRA connection remembered (the last 1,024 of those that ended), oldest first.
    pub fn connections(&self) -> Vec<Connection> {
        self.state.connections()
    }

    /// Waits until `condition` holds; looked at after every change. Not bounded in time.
    pub async fn until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut changes = self.state.changes();
        while !condition(self) {
            changes.changed().await.expect("the sender is in our own state");
        }
    }

    fn bind(&self) -> Result<(Listener, Listener), StartError> {
        let bind = |addr| {
            let room = Arc::new(Semaphore::new(self.max_connections));
            Listener::bind(addr, room).map_err(|error| StartError::Listen(addr, error))
        };
        Ok((bind(self.cira)?, bind(self.http)?))
    }

    fn serve(&self, cira: Listener, http: Listener) -> Running {
        let (drain, kill) = (Drain::new(self.behaviour.stop_grace * 5), CancellationToken::new());
        let plane = Plane {
            state: Arc::clone(&self.state),
            behaviour: Arc::clone(&self.behaviour),
            tls: self.tls.clone(),
            drain: drain.clone(),
            kill: kill.clone(),
        };
        plane.spawn(plane.clone().accept_devices(cira));
        plane.spawn(plane.clone().accept_requests(http));
        Running { drain, kill }
    }
}

/// What the accept loops need.
#[derive(Clone)]
struct Plane {
    state: Arc<State>,
    behaviour: Arc<Behaviour>,
    tls: Option<Arc<ServerTls>>,
    drain: Drain,
    kill: CancellationToken,
}

impl Plane {
    async fn next(&self, listener: &Listener) -> Option<Accepted> {
        let mut frozen = self.state.frozen.subscribe();
        let accepting = async {
            // It cannot be closed: our state holds the sender.
            let _ = frozen.wait_for(|frozen| !frozen).await;
            listener.accept().await
        };
        tokio::select! {
            biased;
            () = self.drain.begun() => None,
            accepted = accepting => Some(accepted),
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let kill = self.kill.clone();
        self.drain.spawn(async move {
            tokio::select! {
                biased; // the killed get no last word
                () = kill.cancelled() => {}
                () = task => {}
            }
        });
    }

    async fn accept_devices(self, listener: Listener) {
        while let Some(Accepted { tcp, peer, room }) = self.next(&listener).await {
            let number = self.state.begin(peer);
            let plane = self.clone();
            self.spawn(async move {
                plane.device(tcp, number).await;
                drop(room);
            });
        }
    }

    async fn device(self, tcp: TcpStream, number: u64) {
        let Self { state, behaviour, tls, drain, .. } = self;
        let Some(tls) = tls else {
            return Box::pin(Cira::new(tcp, number, state, behaviour, drain).run()).await;
        };
        match timeout(HANDSHAKE, tls.handshake(tcp)).await {
            Ok(Ok(stream)) => Box::pin(Cira::new(stream, number, state, behaviour, drain).run()).await,
            Ok(Err(_)) | Err(_) => {
                state.count(|counts| counts.failed_handshakes += 1);
                state.finish(number, None, Ending::Closed);
            }
        }
    }

    async fn accept_requests(self, listener: Listener) {
        while let Some(Accepted { tcp, room, .. }) = self.next(&listener).await {
            let (plane, drain) = (self.clone(), self.drain.clone());
            self.spawn(async move {
                let service = service_fn(move |request| rest::answer(request, plane.clone()));
                let connection =
                    http1::Builder::new().half_close(true).serve_connection(TokioIo::new(tcp), service);
                let mut connection = std::pin::pin!(connection.with_upgrades());
                tokio::select! {
                    // How it ended is the client's business.
                    _ = connection.as_mut() => {}
                    () = drain.begun() => {
                        connection.as_mut().graceful_shutdown();
                        let _ = connection.await;
                    }
                }
                drop(room);
            });
        }
    }
}
