//! The CIRA plane: one device session, first byte to last.
//!
//! [`Plane::run`] accepts; `session` tells the whole trip of one device, whose stages are in `greet`
//! (PROXY header, hello, handshake, preamble), `dial` (route, connect, hold), `prove` and `relaying`;
//! [`guard`] decides which bytes may pass. `splice` is the way of legacy TLS around all that, if an
//! operator opened it.

mod admission;
mod backoff;
mod contested;
mod counts;
mod dial;
mod ending;
mod greet;
pub mod guard;
mod prove;
mod relaying;
mod session;
mod settings;
mod splice;

pub use settings::{GuardMode, LegacyTls, LoginBackoff, Settings};

pub use crate::net::network::Network;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval};

use crate::directory::Keeper;
use crate::instances::Instances;
use crate::lifecycle::Drain;
use crate::model::DeviceId;
use crate::net::instance_tls::InstanceTls;
use crate::net::listener::Listener;
use crate::net::server_tls::ServerTls;
use crate::route::Router;
use crate::sessions::Sessions;
use crate::telemetry::Metrics;
use admission::Admission;
use backoff::Backoff;
use contested::Contested;
use counts::Counts;
use splice::Told;

/// How often what is over is forgotten.
const TIDY: Duration = Duration::from_secs(5);

/// Exactly what the device plane uses.
pub struct Parts {
    /// TLS towards devices.
    pub tls: Arc<ServerTls>,
    /// TLS towards instances; `None`: in clear.
    pub instance_tls: Arc<arc_swap::ArcSwapOption<InstanceTls>>,
    /// Where devices go.
    pub router: Arc<Router>,
    /// Permits to connect.
    pub instances: Arc<Instances>,
    /// Claims.
    pub keeper: Arc<Keeper>,
    /// The table of proven sessions.
    pub sessions: Arc<Sessions>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Tasks and leaving.
    pub drain: Drain,
}

/// The plane, bound and not yet accepting.
pub struct Plane {
    parts: Parts,
    settings: ArcSwap<Settings>,
    /// Connections there is room for until a restart, which may be fewer than the settings say.
    max_connections: usize,
    addresses: Vec<SocketAddr>,
    /// Taken by [`Plane::run`], so that they are closed when it is over, whatever sessions remain.
    listeners: Mutex<Vec<Listener>>,
    admission: Arc<Admission>,
    /// Turns at the work of a handshake.
    handshakes: Arc<Semaphore>,
    /// Room for devices that wait for an instance.
    held: Arc<Semaphore>,
    contested: Mutex<Contested>,
    backoff: Mutex<Backoff>,
    told: Mutex<Told>,
    counts: Counts,
}

impl Plane {
    /// Binds every address of `settings.listen`; on failure says which. Must be called within a Tokio
    /// runtime.
    pub fn bind(settings: Settings, parts: Parts) -> Result<Self, (SocketAddr, io::Error)> {
        let room = Arc::new(Semaphore::new(settings.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        let bind = |address: &SocketAddr| {
            Listener::bind(*address, Arc::clone(&room)).map_err(|error| (*address, error))
        };
        let listeners = settings.listen.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            addresses: listeners.iter().map(Listener::local_addr).collect(),
            listeners: Mutex::new(listeners),
            admission: Admission::new(settings.max_preauth),
            handshakes: Arc::new(Semaphore::new(settings.max_handshakes.clamp(1, Semaphore::MAX_PERMITS))),
            held: Arc::new(Semaphore::new((settings.max_connections / 2).clamp(1, Semaphore::MAX_PERMITS))),
            contested: Mutex::default(),
            backoff: Mutex::default(),
            told: Mutex::default(),
            counts: Counts::new(&parts.metrics),
            max_connections: settings.max_connections,
            settings: ArcSwap::from_pointee(settings),
            parts,
        })
    }

    /// The addresses bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// New settings for sessions from now on (a reload). The addresses, `max_connections` (and with it
    /// how many may be held) and `max_handshakes` stay as they were: they take a restart.
    pub fn reload(&self, settings: Settings) {
        self.admission.resize(settings.max_preauth);
        self.settings.store(Arc::new(settings));
    }

    /// GUIDs contested now, for the admin API.
    pub fn contested(&self) -> Vec<DeviceId> {
        self.contested.lock().list(Instant::now())
    }

    /// Accepts until the drain begins; then the addresses are closed. Sessions go on, counted by the
    /// drain. A second call returns at once.
    pub async fn run(self: Arc<Self>) {
        let listeners = std::mem::take(&mut *self.listeners.lock());
        let accepting = join_all(listeners.iter().map(|listener| self.accept(listener)));
        tokio::select! {
            biased;
            () = self.parts.drain.begun() => {}
            _ = accepting => {}
            () = self.tidy() => {}
        }
    }

    /// One listener's connections, each a task of its own. Never ends.
    async fn accept(self: &Arc<Self>, listener: &Listener) {
        loop {
            let accepted = listener.accept().await;
            // Before the next accept: what finds no place waits here, the rest in the kernel.
            let place = self.admission.enter().await;
            self.parts.drain.spawn(session::session(Arc::clone(self), accepted, place));
        }
    }

    /// Forgets what is over. Never ends.
    async fn tidy(&self) {
        let mut ticks = interval(TIDY);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let contested = {
                let mut contested = self.contested.lock();
                contested.forget(now);
                contested.list(now).len()
            };
            self.parts.metrics.contested_devices.set(contested as f64);
        }
    }
}
