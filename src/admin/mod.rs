//! Probes, metrics and the admin API, on a thread of their own: they answer while the data runtime is
//! busy, and say so when it is stuck.
//!
//! Until tokens exist, the API is served on loopback addresses only; elsewhere it is refused with the
//! reason, and only `/livez`, `/readyz` and `/metrics` answer. Reads only, but for `POST /-/reload`.

mod api;
mod error;
mod owner;
mod probes;
mod serve;
mod settings;

use std::sync::Arc;

use axum::Router as Routes;
use axum::routing::{get, post};
use tokio::sync::{mpsc, oneshot};

pub use serve::{Bound, Running};
pub use settings::Settings;

use crate::device::Plane;
use crate::directory::Keeper;
use crate::instances::Instances;
use crate::lifecycle::{Phases, Pulse};
use crate::route::Router;
use crate::sessions::Sessions;
use crate::telemetry::Metrics;

/// Exactly what the admin listener looks at.
pub struct Parts {
    /// Whether the api plane is open.
    pub api: bool,
    /// Who is behind us.
    pub instances: Arc<Instances>,
    /// Who owns which device.
    pub keeper: Arc<Keeper>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where the gateway is in its life.
    pub phases: Phases,
    /// The device plane, if it is open.
    pub plane: Option<Arc<Plane>>,
    /// Whether the data runtime runs.
    pub pulse: Arc<Pulse>,
    /// Who reloads.
    pub reloads: mpsc::Sender<ReloadRequest>,
    /// Why a device goes where it goes.
    pub router: Arc<Router>,
    /// Live sessions of this replica.
    pub sessions: Arc<Sessions>,
}

/// Asks for a reload; the answer comes back through it.
pub struct ReloadRequest {
    /// Where the answer goes.
    pub answer: oneshot::Sender<Reloaded>,
}

/// What a reload did: the keys that need a restart, or every problem of the new settings.
pub type Reloaded = Result<Vec<&'static str>, Vec<String>>;

/// All routes of a listener. `loopback`: nobody but this machine reaches it.
fn routes(parts: Arc<Parts>, loopback: bool) -> Routes {
    let probes = Routes::new()
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics));
    let api = Routes::new()
        .route("/-/reload", post(api::reload))
        .route("/admin/v1/contested", get(api::contested))
        .route("/admin/v1/devices", get(api::devices))
        .route("/admin/v1/devices/{guid}", get(api::device))
        .route("/admin/v1/devices/{guid}/explain", get(api::explain))
        .route("/admin/v1/instances", get(api::instances))
        .route("/admin/v1/replicas", get(api::replicas));
    let routes = if loopback {
        probes.merge(api.layer(axum::middleware::from_fn(serve::only_from_here)))
    } else {
        probes
            .route("/-/reload", axum::routing::any(error::off_loopback))
            .nest("/admin", Routes::new().fallback(error::off_loopback))
    };
    routes.fallback(error::no_such_page).method_not_allowed_fallback(error::wrong_method).with_state(parts)
}

#[cfg(test)]
mod tests;
