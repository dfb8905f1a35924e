//! Refusals: JSON with a word for programs and a sentence for people.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Why a call is not answered as asked.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    error: &'static str,
    message: String,
    /// Seconds after which to ask again.
    retry_after: Option<u16>,
    /// Further members of the JSON object.
    more: Option<(&'static str, Value)>,
}

impl Refused {
    /// A refusal that asking again will not change.
    pub fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self { status, error, message: message.into(), retry_after: None, more: None }
    }

    /// 503: ask again in some seconds.
    pub fn later(error: &'static str, message: impl Into<String>, seconds: u16) -> Self {
        let refused = Self::new(StatusCode::SERVICE_UNAVAILABLE, error, message);
        Self { retry_after: Some(seconds), ..refused }
    }

    /// With one more member.
    pub fn with(self, name: &'static str, value: Value) -> Self {
        Self { more: Some((name, value)), ..self }
    }

    /// The body alone.
    pub fn into_json(self) -> Value {
        let mut body = json!({ "error": self.error, "message": self.message });
        if let Some((name, value)) = self.more {
            body[name] = value;
        }
        body
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, retry_after) = (self.status, self.retry_after);
        let mut response = (status, Json(self.into_json())).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The API where it is not served.
pub async fn off_loopback() -> Refused {
    let message =
        "without tokens the admin API is served on loopback only: add a loopback address to admin.listen";
    Refused::new(StatusCode::FORBIDDEN, "loopback-only", message)
}

/// Any other path.
pub async fn no_such_page() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "no-such-page", "there is nothing here")
}

/// A path that is there, by another method.
pub async fn wrong_method() -> Refused {
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "this page takes another method")
}
