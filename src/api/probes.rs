//! Our own pages on the api listener: balancers probe the port that they send requests to.

use bytes::Bytes;
use hyper::{Method, Response, StatusCode};

use super::Plane;
use crate::http::refusal::json;
use crate::route::readiness;

/// Paths that are ours begin so.
pub const OURS: &str = "/-/";

/// The page at `path`; `None`: there is none.
pub fn page(plane: &Plane, method: &Method, path: &str) -> Option<Response<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    match path.strip_prefix(OURS)? {
        // On the data runtime: that it answers is the answer.
        "livez" => Some(json(StatusCode::OK, "{\"alive\":true}\n")),
        "readyz" => {
            let parts = &plane.parts;
            let readiness = readiness(*parts.phases.borrow(), &parts.keeper, &parts.instances, true);
            let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            Some(json(status, serde_json::to_vec(&readiness).unwrap_or_default()))
        }
        _ => None,
    }
}
