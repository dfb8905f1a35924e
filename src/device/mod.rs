//! The CIRA plane: one device session, first byte to last.
//!
//! [`Plane::run`] accepts; `session` tells the whole trip of one device; [`guard`] decides which
//! bytes may pass.

mod admission;
mod backoff;
mod contested;
pub mod guard;
mod settings;

pub use settings::{GuardMode, LegacyTls, Network, Settings};

use std::net::SocketAddr;
use std::sync::Arc;

use crate::directory::Keeper;
use crate::instances::Instances;
use crate::lifecycle::Drain;
use crate::net::instance_tls::InstanceTls;
use crate::net::server_tls::ServerTls;
use crate::route::Router;
use crate::sessions::Sessions;
use crate::telemetry::Metrics;

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
pub struct Plane {}

impl Plane {
    /// Binds every address of `settings.listen`.
    pub fn bind(_settings: Settings, _parts: Parts) -> std::io::Result<Self> {
        todo!()
    }

    /// The addresses bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        todo!()
    }

    /// New settings for sessions from now on (a reload).
    pub fn reload(&self, _settings: Settings) {
        todo!()
    }

    /// GUIDs contested now, for the admin API.
    pub fn contested(&self) -> Vec<crate::model::DeviceId> {
        todo!()
    }

    /// Accepts until the drain begins.
    pub async fn run(self: Arc<Self>) {
        todo!()
    }
}
