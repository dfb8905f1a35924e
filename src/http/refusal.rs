//! Answers of ours: JSON with a word for programs and a sentence for people.

use std::fmt::Write as _;

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::forwarded::REQUEST_ID;

/// An answer of ours instead of an instance's.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// Its status.
    pub status: StatusCode,
    /// A word for programs.
    pub error: &'static str,
    /// A sentence for people.
    pub message: &'static str,
    /// Seconds after which to ask again.
    pub retry_after: Option<u16>,
}

impl Refusal {
    /// The answer to request `id`.
    pub fn answer(&self, id: &HeaderValue) -> Response<Bytes> {
        // Words of ours: nothing in them needs escaping.
        let body = format!("{{\"error\":\"{}\",\"message\":\"{}\"}}\n", self.error, self.message);
        let mut response = json(self.status, body);
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id.clone());
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A page of ours.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `response` as it goes over the wire, as the last one of its connection.
pub fn last_words(response: &Response<Bytes>) -> Bytes {
    let mut text = format!("HTTP/1.1 {}\r\n", response.status());
    for (name, value) in response.headers().iter().filter(|(name, _)| *name != CONTENT_LENGTH) {
        let _ = write!(text, "{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
    }
    let body = response.body();
    let _ = write!(text, "content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_json_with_the_number_of_its_request() {
        let refusal = Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error: "owner-down",
            message: "the instance that holds the device does not answer",
            retry_after: Some(5),
        };
        let response = refusal.answer(&HeaderValue::from_static("abc"));
        assert_eq!(response.headers()["retry-after"], "5");
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["error"], "owner-down");
        let raw = String::from_utf8(last_words(&response).to_vec()).expect("text");
        assert!(raw.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{raw}");
        assert!(raw.contains("x-request-id: abc\r\n") && raw.contains("connection: close\r\n\r\n{"), "{raw}");
    }
}
