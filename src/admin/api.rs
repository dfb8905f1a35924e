//! The admin API, `/admin/v1`, and the reload.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::error::Refused;
use super::owner::{self, Owned, Record, Source};
use super::{Parts, ReloadRequest};
use crate::directory::{DirectoryError, Freshness};
use crate::model::{DeviceId, InstanceName};

type Answer<T> = Result<Json<T>, Refused>;

/// A reload reads a few files; more time means that something is stuck.
const RELOAD: Duration = Duration::from_secs(30);
/// Devices on one page, at most and unless asked for.
const PAGE: (usize, usize) = (1_000, 100);

fn bad(message: impl Into<String>) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "bad-request", message)
}

fn parse(guid: &str) -> Result<DeviceId, Refused> {
    guid.parse().map_err(|error| bad(format!("{error}")))
}

/// How fresh an answer must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Past own sessions and cache.
    #[serde(default)]
    fresh: bool,
}

/// Who owns a device.
pub async fn device(
    State(parts): State<Arc<Parts>>,
    Path(guid): Path<String>,
    ask: Result<Query<Ask>, QueryRejection>,
) -> Answer<Owned> {
    let Query(Ask { fresh }) = ask.map_err(|error| bad(error.body_text()))?;
    let device = parse(&guid)?;
    let (freshness, source) =
        if fresh { (Freshness::Fresh, Source::Directory) } else { (Freshness::Cached, Source::Cached) };
    let answer = parts.keeper.owner(device, freshness).await;
    owner::answer(device, &answer, parts.keeper.replica(), source).map(Json)
}

/// Why a device would go where it would go now.
pub async fn explain(State(parts): State<Arc<Parts>>, Path(guid): Path<String>) -> Answer<Value> {
    let device = parse(&guid)?;
    let answer = parts.keeper.owner(device, Freshness::Fresh).await;
    let owner = match owner::answer(device, &answer, parts.keeper.replica(), Source::Directory) {
        Ok(owned) => json!(owned),
        Err(refused) => refused.into_json(),
    };
    let (instance, why, considered) = parts.router.explain(device).await;
    Ok(Json(json!({
        "device": device.to_string(),
        "owner": owner,
        "instance": instance.map(|name| name.to_string()),
        "why": why,
        "considered": considered,
    })))
}

/// Which page of which devices.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    instance: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A page of devices. It may be short, or empty, and still have a cursor.
pub async fn devices(
    State(parts): State<Arc<Parts>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Answer<Value> {
    let Query(Page { instance, limit, cursor }) = page.map_err(|error| bad(error.body_text()))?;
    let instance: Option<InstanceName> = match instance {
        Some(name) => Some(name.parse().map_err(|error| bad(format!("instance: {error}")))?),
        None => None,
    };
    let limit = limit.unwrap_or(PAGE.1);
    if !(1..=PAGE.0).contains(&limit) {
        return Err(bad(format!("limit: from 1 to {}", PAGE.0)));
    }
    let found = parts.keeper.devices(instance.as_ref(), limit, cursor.as_deref()).await;
    let (devices, next) = found.map_err(|error| match error {
        DirectoryError::Cursor => bad(format!("cursor: {error}")),
        _ => Refused::later("directory-unreachable", error.to_string(), 5),
    })?;
    let devices: Vec<_> = devices.iter().map(|(device, claim)| Record::of(*device, claim)).collect();
    Ok(Json(json!({ "devices": devices, "cursor": next })))
}

/// All replicas with a lease.
pub async fn replicas(State(parts): State<Arc<Parts>>) -> Json<Value> {
    Json(json!({ "replicas": parts.keeper.replicas(), "directory": parts.keeper.status() }))
}

/// All instances that are known.
pub async fn instances(State(parts): State<Arc<Parts>>) -> Json<Value> {
    let snapshot = parts.instances.snapshot();
    let instances: Vec<_> = snapshot
        .instances
        .iter()
        .map(|instance| {
            json!({
                "name": instance.name.as_str(),
                "pool": instance.pool.to_string(),
                "cira": instance.cira.to_string(),
                "http": instance.http.to_string(),
                "weight": instance.weight,
                "zone": instance.zone,
                "max-sessions": instance.max_sessions,
                "state": instance.state,
                "avoided": parts.instances.avoided(&instance.name),
                "sessions": parts.keeper.sessions_at(&instance.name),
                "sessions-here": parts.sessions.at(&instance.name),
                "spliced-here": parts.sessions.spliced().at(&instance.name),
            })
        })
        .collect();
    Json(json!({ "instances": instances }))
}

/// GUIDs that more than one active device claims to have, as this replica sees it.
pub async fn contested(State(parts): State<Arc<Parts>>) -> Json<Value> {
    let devices = parts.plane.as_ref().map(|plane| plane.contested()).unwrap_or_default();
    let devices: Vec<_> = devices.iter().map(DeviceId::to_string).collect();
    Json(json!({ "contested": devices }))
}

/// Reads certificates and settings again. Live connections stay.
pub async fn reload(State(parts): State<Arc<Parts>>) -> Answer<Value> {
    let leaving = || Refused::later("not-serving", "the gateway is starting or leaving", 5);
    let (answer, told) = oneshot::channel();
    parts.reloads.try_send(ReloadRequest { answer }).map_err(|error| match error {
        tokio::sync::mpsc::error::TrySendError::Full(_) => {
            Refused::later("busy", "a reload is on its way", 1)
        }
        tokio::sync::mpsc::error::TrySendError::Closed(_) => leaving(),
    })?;
    let told =
        timeout(RELOAD, told).await.map_err(|_| Refused::later("busy", "the reload takes too long", 5))?;
    match told.map_err(|_| leaving())? {
        Ok(restart) => Ok(Json(json!({ "reloaded": true, "restart": restart }))),
        Err(problems) => {
            let message = "the configuration has problems; everything stays as it was";
            let refused = Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "configuration", message);
            Err(refused.with("problems", json!(problems)))
        }
    }
}
