//! What supervisors, balancers and Prometheus ask.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::json;

use super::Parts;
use crate::route::readiness;

/// A data runtime that ran nothing for so long is stuck: ten missed beats.
const STUCK: Duration = Duration::from_secs(5);

/// Whether the data runtime runs at all. 503 means: start me again.
pub async fn livez(State(parts): State<Arc<Parts>>) -> impl IntoResponse {
    let age = parts.pulse.age();
    let status = if age < STUCK { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "alive": age < STUCK, "heartbeat-age-ms": age.as_millis() })))
}

/// Whether a balancer should send new connections, and everything that is not as it should be.
///
/// 503 only while starting or draining: an outage of the directory must not take every replica out of
/// the balancer.
pub async fn readyz(State(parts): State<Arc<Parts>>) -> impl IntoResponse {
    let Parts { keeper, instances, .. } = &*parts;
    let serving = parts.plane.is_some() || parts.api;
    let readiness = readiness(*parts.phases.borrow(), keeper, instances, serving);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

/// Everything that is counted, in Prometheus' text format.
pub async fn metrics(State(parts): State<Arc<Parts>>) -> impl IntoResponse {
    let Parts { metrics, sessions, instances, .. } = &*parts;
    metrics.sessions.set(sessions.len() as f64);
    // Those without sessions too: a gauge that is not set keeps its last value.
    for instance in &instances.snapshot().instances {
        metrics.sessions_at(&instance.name).set(sessions.at(&instance.name) as f64);
    }
    for (name, count) in sessions.by_instance() {
        metrics.sessions_at(&name).set(count as f64);
    }
    let directory = parts.keeper.status();
    metrics.breaker_open.set(if directory.reachable { 0.0 } else { 1.0 });
    metrics.claims_pending.set(directory.pending as f64);
    if let Some(plane) = &parts.plane {
        metrics.contested_devices.set(plane.contested().len() as f64);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}
