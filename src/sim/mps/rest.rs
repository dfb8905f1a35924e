//! The web server of a simulated MPS: the few requests that demo and tests ask.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::database::Row;
use super::state::State;
use super::wsman::power_state;
use super::{Plane, relay};
use crate::model::DeviceId;

/// What MPS answers when it does not hold the device.
const NOT_CONNECTED: &str = "Device not found/connected. Please connect again using CIRA.";

/// Response header that tells which instance answered.
pub const INSTANCE_HEADER: &str = "x-sim-instance";

/// Requests remembered.
const REMEMBERED: usize = 256;
/// Longest body taken, in bytes; Express takes 100 kB of JSON.
const LONGEST: usize = 100 * 1024;

/// One request, as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
}

impl Asked {
    /// The values of the header `name`, joined by a bar; empty: there is none.
    pub fn header(&self, name: &str) -> String {
        let of_name = self.headers.iter().filter(|(found, _)| found == name);
        of_name.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("|")
    }
}

/// Answers one request.
pub(super) async fn answer(
    mut request: Request<Incoming>,
    plane: Plane,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let state = Arc::clone(&plane.state);
    let mut frozen = state.frozen.subscribe();
    // It cannot be closed: `state` holds the sender.
    let _ = frozen.wait_for(|frozen| !frozen).await;
    if request.headers().contains_key(UPGRADE) {
        remember(&state, &request, Bytes::new());
        return Ok(relay::answer(&mut request, &plane));
    }
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, LONGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            let mut refused = Response::new(Full::from("{\"error\":\"Payload Too Large\"}"));
            *refused.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            return Ok(refused);
        }
    };
    let request = Request::from_parts(parts, ());
    remember(&state, &request, body);
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

fn remember<B>(state: &State, request: &Request<B>, body: Bytes) {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
    let asked = Asked {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        headers: headers.collect(),
        body,
    };
    let mut all = state.asked.lock();
    all.push_back(asked);
    if all.len() > REMEMBERED {
        all.pop_front();
    }
}

async fn route(request: &Request<()>, state: &State) -> (StatusCode, Value) {
    let not_found = || (StatusCode::NOT_FOUND, json!({ "error": "Not Found" }));
    let Some(path) = request.uri().path().strip_prefix("/api/v1/") else { return not_found() };
    let segments: Vec<_> = path.split('/').collect();
    match (request.method(), &segments[..]) {
        (&Method::GET, ["amt", "power", "state", guid]) => power(guid, state).await,
        (_, ["amt", _, guid] | ["amt", _, _, guid]) => of_device(guid, state),
        (&Method::DELETE, ["devices", "refresh", guid]) => of_device(guid, state),
        (&Method::GET, ["authorize", "redirection", guid]) => {
            (StatusCode::OK, json!({ "token": relay::token(guid) }))
        }
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
pub(super) fn connected(guid: &str, state: &State) -> Option<DeviceId> {
    let device: DeviceId = guid.parse().ok()?;
    (device.to_string() == guid && state.device(device).is_some()).then_some(device)
}

fn not_connected() -> (StatusCode, Value) {
    (StatusCode::NOT_FOUND, json!({ "error": "Not Found", "errorDescription": NOT_CONNECTED }))
}

/// Whatever is asked of a device: that it is here is the answer.
fn of_device(guid: &str, state: &State) -> (StatusCode, Value) {
    match connected(guid, state) {
        Some(device) => (StatusCode::OK, json!({ "device": device.to_string() })),
        None => not_connected(),
    }
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
