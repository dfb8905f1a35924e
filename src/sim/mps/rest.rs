//! The web server of a simulated MPS: the few requests that demo and tests ask.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::database::Row;
use super::state::State;
use super::wsman::power_state;
use crate::model::DeviceId;

/// What MPS answers when it does not hold the device.
const NOT_CONNECTED: &str = "Device not found/connected. Please connect again using CIRA.";

/// Response header that tells which instance answered.
pub const INSTANCE_HEADER: &str = "x-sim-instance";

/// Answers one request.
pub(super) async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut frozen = state.frozen.subscribe();
    // It cannot be closed: `state` holds the sender.
    let _ = frozen.wait_for(|frozen| !frozen).await;
    let (status, body) = route(&request, &state).await;
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    if let Ok(name) = HeaderValue::from_str(&state.name) {
        headers.insert(INSTANCE_HEADER, name);
    }
    Ok(response)
}

async fn route(request: &Request<Incoming>, state: &State) -> (StatusCode, Value) {
    let not_found = || (StatusCode::NOT_FOUND, json!({ "error": "Not Found" }));
    let Some(path) = request.uri().path().strip_prefix("/api/v1/") else { return not_found() };
    let segments: Vec<_> = path.split('/').collect();
    match (request.method(), &segments[..]) {
        (&Method::GET, ["amt", "power", "state", guid]) => power(guid, state).await,
        (&Method::DELETE, ["devices", "disconnect", guid]) => disconnect(guid, state),
        (&Method::GET, ["devices"]) => {
            let rows = state.database.rows();
            (StatusCode::OK, rows.iter().map(|(device, row)| as_json(*device, row)).collect())
        }
        (&Method::GET, ["devices", guid]) => {
            let found = guid.parse().ok().and_then(|device| Some((device, state.database.row(device)?)));
            match found {
                Some((device, row)) => (StatusCode::OK, as_json(device, &row)),
                None => (StatusCode::NOT_FOUND, json!({ "error": format!("Device ID {guid} not found") })),
            }
        }
        (&Method::GET, ["health"]) => health(state),
        (&Method::GET, ["version"]) => {
            (StatusCode::OK, json!({ "serviceVersion": "0.0.0-simulated", "protocolVersion": "4.0.0" }))
        }
        _ => not_found(),
    }
}

fn as_json(device: DeviceId, row: &Row) -> Value {
    json!({
        "guid": device.to_string(),
        "hostname": Value::Null,
        "tags": [],
        "mpsInstance": row.instance,
        "connectionStatus": row.connected,
        "tenantId": "",
    })
}

/// Who is meant; `None`: not connected here. As in MPS an upper-case spelling never is.
fn connected(guid: &str, state: &State) -> Option<DeviceId> {
    let device: DeviceId = guid.parse().ok()?;
    (device.to_string() == guid && state.device(device).is_some()).then_some(device)
}

fn not_connected() -> (StatusCode, Value) {
    (StatusCode::NOT_FOUND, json!({ "error": "Not Found", "errorDescription": NOT_CONNECTED }))
}

async fn power(guid: &str, state: &State) -> (StatusCode, Value) {
    let Some(device) = connected(guid, state) else { return not_connected() };
    let (Some(commands), Some(account)) = (state.device(device), state.database.account(device)) else {
        return not_connected();
    };
    match power_state(&commands, guid, &account).await {
        Ok(powerstate) => (StatusCode::OK, json!({ "powerstate": powerstate })),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            json!({ "error": "Power State", "errorDescription": error.to_string() }),
        ),
    }
}

fn disconnect(guid: &str, state: &State) -> (StatusCode, Value) {
    match connected(guid, state).filter(|device| state.end(*device)) {
        Some(_) => (StatusCode::OK, json!({ "success": "Device Disconnected" })),
        None => not_connected(),
    }
}

fn health(state: &State) -> (StatusCode, Value) {
    let status = *state.health.borrow();
    let word = if status == 200 { "OK" } else { "FAIL" };
    let body = json!({
        "db": { "name": "POSTGRES", "status": word },
        "secretStore": { "name": "VAULT", "status": "OK" },
    });
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body)
}
