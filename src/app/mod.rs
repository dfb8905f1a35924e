//! Binds all, wires all, runs, drains: the only place that names every plane.
//!
//! [`App::bind`] has addresses before any traffic flows; [`App::run`] takes wishes from whoever has
//! them (signals, a test), so nothing in here knows of either.

mod certificate;
mod error;
mod leave;
mod limits;
mod reload;
mod settings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

pub use error::BindError;
pub use leave::Ended;
pub use settings::{Certificate, Device, DrainSettings, Log, RestartKeys, Settings, Source};

use crate::device::{self, Plane};
use crate::directory::{Directory, Keeper};
use crate::instances::Instances;
use crate::lifecycle::{Drain, Life, Phase, Phases, Pulse, Wish};
use crate::net::instance_tls::{InstanceTls, Verify};
use crate::route::Router;
use crate::sessions::Sessions;
use crate::telemetry::{Direction, Metrics};
use crate::{admin, api};
use certificate::Shown;

/// How often the certificate's content is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How often histograms are tidied up, and the bytes of live sessions counted.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a gateway may be lent by whoever starts it.
#[derive(Default)]
pub struct Outside {
    /// Reads the settings again for a reload; without it a reload only reads the certificate.
    pub source: Option<Source>,
    /// A directory that several gateways of one process share, in place of `directory.url`.
    pub store: Option<Arc<dyn Directory>>,
}

/// The addresses of a gateway, with the ports that the kernel chose.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Addresses {
    /// Where operators ask.
    pub admin: Vec<SocketAddr>,
    /// Where requests come.
    pub api: Vec<SocketAddr>,
    /// Where devices call.
    pub device: Vec<SocketAddr>,
}

/// A gateway, bound and not yet accepting.
pub struct App {
    addresses: Addresses,
    admin: Option<admin::Running>,
    api: Option<Arc<api::Plane>>,
    drain: Drain,
    house: Drain,
    instance_tls: Arc<ArcSwapOption<InstanceTls>>,
    instances: Arc<Instances>,
    keeper: Arc<Keeper>,
    life: Life,
    metrics: Arc<Metrics>,
    outside: Outside,
    phases: Phases,
    plane: Option<Arc<Plane>>,
    reloads: mpsc::Receiver<admin::ReloadRequest>,
    sessions: Arc<Sessions>,
    settings: Settings,
    shown: Option<Shown>,
}

impl App {
    /// Binds every address, opens the directory, starts the admin thread. To be called on the data
    /// runtime.
    pub async fn bind(settings: Settings, outside: Outside) -> Result<Self, BindError> {
        let metrics = Arc::new(Metrics::new());
        let admin = bind_admin(&settings)?;
        let shown = load_certificate(&settings, &metrics).await?;
        let instance_tls = Arc::new(ArcSwapOption::from(instance_client(settings.instance_tls.as_ref())?));
        let drain = Drain::new(settings.drain.window);
        let sessions = Arc::new(Sessions::default());
        let pulse = Arc::new(Pulse::start());
        let house = keep_house(Arc::clone(&pulse), Arc::clone(&metrics), Arc::clone(&sessions));
        let keeper = open(&settings, &outside, &sessions, &metrics, &house).await?;
        let instances = Arc::new(Instances::new(settings.instances.clone()));
        let router = Arc::new(Router::new(Arc::clone(&keeper), Arc::clone(&instances)));
        let parts = |shown: &Shown| device::Parts {
            tls: Arc::clone(&shown.tls),
            instance_tls: Arc::clone(&instance_tls),
            router: Arc::clone(&router),
            instances: Arc::clone(&instances),
            keeper: Arc::clone(&keeper),
            sessions: Arc::clone(&sessions),
            metrics: Arc::clone(&metrics),
            drain: drain.clone(),
        };
        let plane = bind_plane(&settings, shown.as_ref().map(parts)).await?;
        let (life, phases) = Life::start();
        let parts = || api::Parts {
            keeper: Arc::clone(&keeper),
            instances: Arc::clone(&instances),
            router: Arc::clone(&router),
            metrics: Arc::clone(&metrics),
            phases: phases.clone(),
            drain: drain.clone(),
        };
        let api = bind_api(&settings, parts).await?;
        let (reload, reloads) = mpsc::channel(1);
        let addresses = Addresses {
            admin: admin.as_ref().map(admin::Bound::addresses).unwrap_or_default(),
            api: api.as_ref().map(|api| api.addresses()).unwrap_or_default(),
            device: plane.as_ref().map(|plane| plane.addresses()).unwrap_or_default(),
        };
        let parts = admin::Parts {
            api: api.is_some(),
            instances: Arc::clone(&instances),
            keeper: Arc::clone(&keeper),
            metrics: Arc::clone(&metrics),
            phases: phases.clone(),
            plane: plane.clone(),
            pulse,
            reloads: reload,
            router,
            sessions: Arc::clone(&sessions),
        };
        let admin = start_admin(admin, parts)?;
        Ok(Self {
            addresses,
            admin,
            api,
            drain,
            house,
            instance_tls,
            instances,
            keeper,
            life,
            metrics,
            outside,
            phases,
            plane,
            reloads,
            sessions,
            settings,
            shown,
        })
    }

    /// Where it listens.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Who owns which device, as this replica sees it.
    pub const fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    /// What it counts.
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Where it is in its life.
    pub const fn phases(&self) -> &Phases {
        &self.phases
    }

    /// Its live sessions.
    pub const fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Accepts and serves until a wish to stop, then drains. Nobody left to wish is such a wish.
    ///
    /// A second wish to stop ends the drain at once.
    pub async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) -> Ended {
        if let Some(plane) = &self.plane {
            self.drain.spawn(Arc::clone(plane).run());
        }
        if let Some(api) = &self.api {
            self.drain.spawn(Arc::clone(api).run());
        }
        self.life.enter(Phase::Serving);
        let Addresses { admin, api, device } = &self.addresses;
        info!(?device, ?api, ?admin, replica = %self.keeper.replica(), directory = self.keeper.status().kind, "serving");
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased; // to stop matters more than to reload
                wish = wishes.recv() => match wish {
                    Some(Wish::Reload) => drop(self.reload().await),
                    Some(Wish::Stop) | None => break,
                },
                Some(request) = self.reloads.recv() => {
                    let done = self.reload().await;
                    // Whoever asked may have gone: the reload is done all the same.
                    let _ = request.answer.send(done);
                }
                _ = look.tick() => if let Some(shown) = &mut self.shown {
                    let _new = shown.look().await; // it has said so itself
                },
            }
        }
        self.leave(wishes).await
    }
}

async fn open(
    settings: &Settings,
    outside: &Outside,
    sessions: &Arc<Sessions>,
    metrics: &Arc<Metrics>,
    house: &Drain,
) -> Result<Arc<Keeper>, BindError> {
    let (directory, sessions, metrics) =
        (settings.directory.clone(), Arc::clone(sessions), Arc::clone(metrics));
    let opened = match &outside.store {
        Some(store) => {
            Keeper::with_store(directory, Arc::clone(store), sessions, metrics, house.clone()).await
        }
        None => Keeper::open(directory, sessions, metrics, house.clone()).await,
    };
    Ok(opened?)
}

async fn load_certificate(settings: &Settings, metrics: &Arc<Metrics>) -> Result<Option<Shown>, BindError> {
    let Some(device) = &settings.device else { return Ok(None) };
    let name = &settings.directory.replica_name;
    Ok(Some(Shown::load(&device.certificate, name, Arc::clone(metrics)).await?))
}

fn bind_admin(settings: &Settings) -> Result<Option<admin::Bound>, BindError> {
    let Some(admin) = &settings.admin else { return Ok(None) };
    match admin::Bound::bind(admin) {
        Ok(bound) => Ok(Some(bound)),
        Err((address, error)) if admin.optional => {
            warn!(%address, %error, "no admin listener; configure [admin] to be sure of it");
            Ok(None)
        }
        Err((address, source)) => Err(BindError::Address { key: "admin.listen", address, source }),
    }
}

async fn bind_plane(
    settings: &Settings,
    parts: Option<device::Parts>,
) -> Result<Option<Arc<Plane>>, BindError> {
    let Some((parts, device)) = parts.zip(settings.device.as_ref()) else { return Ok(None) };
    let keeper = Arc::clone(&parts.keeper);
    let max_connections = limits::allowed("device.max-connections", device.settings.max_connections);
    match Plane::bind(device::Settings { max_connections, ..device.settings.clone() }, parts) {
        Ok(plane) => Ok(Some(Arc::new(plane))),
        Err((address, source)) => {
            keeper.leave().await; // no lease of a replica that never served
            Err(BindError::Address { key: "device.listen", address, source })
        }
    }
}

async fn bind_api(
    settings: &Settings,
    parts: impl FnOnce() -> api::Parts,
) -> Result<Option<Arc<api::Plane>>, BindError> {
    let Some(api) = &settings.api else { return Ok(None) };
    let parts = parts();
    let keeper = Arc::clone(&parts.keeper);
    let max_connections = limits::allowed("api.max-connections", api.max_connections);
    match api::Plane::bind(api::Settings { max_connections, ..api.clone() }, parts) {
        Ok(plane) => Ok(Some(Arc::new(plane))),
        Err((address, source)) => {
            keeper.leave().await; // no lease of a replica that never served
            Err(BindError::Address { key: "api.listen", address, source })
        }
    }
}

fn start_admin(
    bound: Option<admin::Bound>,
    parts: admin::Parts,
) -> Result<Option<admin::Running>, BindError> {
    let what = "cannot start the admin thread";
    let started = bound.map(|bound| bound.start(parts)).transpose();
    started.map_err(|source| BindError::System { what, source })
}

fn instance_client(verify: Option<&Verify>) -> Result<Option<Arc<InstanceTls>>, BindError> {
    verify.map(|verify| InstanceTls::new(verify).map(Arc::new).map_err(BindError::InstanceTls)).transpose()
}

/// What goes on beside the planes, and on while they drain.
fn keep_house(pulse: Arc<Pulse>, metrics: Arc<Metrics>, sessions: Arc<Sessions>) -> Drain {
    let house = Drain::new(Duration::from_secs(1));
    let done = house.clone();
    house.spawn(async move {
        let tidy = async {
            let mut ticks = interval(UPKEEP);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                metrics.upkeep();
                report_bytes(&sessions, &metrics).await;
            }
        };
        tokio::select! {
            () = done.begun() => {}
            () = pulse.beat() => {}
            () = tidy => {}
        }
    });
    house
}

/// Counts what live sessions relayed since the last time: some last for weeks.
async fn report_bytes(sessions: &Sessions, metrics: &Metrics) {
    for part in 0..Sessions::PARTS {
        let (mut from_device, mut from_instance) = (0, 0);
        for session in sessions.part(part) {
            let unreported = session.traffic.unreported();
            (from_device, from_instance) = (from_device + unreported.0, from_instance + unreported.1);
        }
        metrics.bytes.of(Direction::FromDevice).increment(from_device);
        metrics.bytes.of(Direction::FromInstance).increment(from_instance);
        tokio::task::yield_now().await; // sessions have their turn between parts
    }
    for spliced in sessions.spliced().all() {
        let (from_device, from_instance) = spliced.traffic.unreported();
        metrics.bytes.of(Direction::FromDevice).increment(from_device);
        metrics.bytes.of(Direction::FromInstance).increment(from_instance);
    }
}

#[cfg(test)]
mod tests;
