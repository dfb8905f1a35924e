//! What is known of a device's owner, as JSON. *Nobody* and *unreachable* stay different answers.

use std::time::SystemTime;

use axum::http::StatusCode;
use serde::Serialize;

use super::error::Refused;
use crate::directory::{Answer, Keeper, Standing};
use crate::model::{Claim, DeviceId, ReplicaId};

/// How the directory came to its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Own sessions, the cache (3 s), or the directory.
    Cached,
    /// The directory itself.
    Directory,
}

/// One claim.
#[derive(Debug, Serialize)]
pub struct Record {
    /// Whose.
    pub device: String,
    /// The instance the session ends at.
    pub owner: String,
    /// The replica that holds the connection.
    pub replica: String,
    /// The session's number there, in hexadecimal.
    pub session: String,
    /// Orders claims of one device; null while the directory has not granted one.
    pub epoch: Option<u64>,
    /// When the session was proven, RFC 3339; null like the epoch.
    pub since: Option<String>,
}

/// Who owns a device.
#[derive(Debug, Serialize)]
pub struct Owned {
    /// The claim.
    #[serde(flatten)]
    pub record: Record,
    /// How the replica stands.
    pub standing: Standing,
    /// Who said so.
    pub source: Source,
}

impl Record {
    /// The claim that `device` is under.
    pub fn of(device: DeviceId, claim: &Claim) -> Self {
        Self {
            device: device.to_string(),
            owner: claim.instance.to_string(),
            replica: claim.key.replica.to_string(),
            session: claim.key.session.to_string(),
            epoch: Some(claim.epoch.micros()),
            since: Some(time(Keeper::since(claim.epoch))),
        }
    }
}

/// RFC 3339 with microseconds.
fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_micros(at).to_string()
}

/// The answer to who owns `device`; `here` is this replica.
pub fn answer(device: DeviceId, answer: &Answer, here: ReplicaId, source: Source) -> Result<Owned, Refused> {
    match answer {
        Answer::Owned { claim, standing } => {
            Ok(Owned { record: Record::of(device, claim), standing: *standing, source })
        }
        Answer::Pending { session, instance } => Ok(Owned {
            record: Record {
                device: device.to_string(),
                owner: instance.to_string(),
                replica: here.to_string(),
                session: session.to_string(),
                epoch: None,
                since: None,
            },
            standing: Standing::Live,
            source: Source::Cached,
        }),
        Answer::Nobody => {
            Err(Refused::new(StatusCode::NOT_FOUND, "no-owner", format!("no instance has {device} now")))
        }
        Answer::Resyncing { stale } => {
            let message =
                "the directory lost its data and is being filled again: \"nobody\" would be a guess";
            Err(Refused::later("resyncing", message, 5).with("stale", self::stale(device, stale)))
        }
        Answer::Unreachable { stale } => {
            let refused = Refused::later("directory-unreachable", "the directory does not answer", 5);
            Err(refused.with("stale", self::stale(device, stale)))
        }
    }
}

/// The last record seen.
fn stale(device: DeviceId, stale: &Option<Claim>) -> serde_json::Value {
    serde_json::json!(stale.as_ref().map(|claim| Record::of(device, claim)))
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::response::IntoResponse;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{Epoch, SessionId, SessionKey};

    const DEVICE: DeviceId = DeviceId::from_bytes([7; 16]);
    const GUID: &str = "07070707-0707-0707-0707-070707070707";

    fn claim() -> Claim {
        Claim {
            epoch: Epoch::new(1_790_000_000_123_456).expect("not zero"),
            key: SessionKey { replica: ReplicaId::new(1), session: SessionId(0x1f) },
            instance: "mps-a".parse().expect("a name"),
        }
    }

    fn record() -> Value {
        json!({
            "device": GUID, "owner": "mps-a", "replica": "baaaaaaa", "session": "1f",
            "epoch": 1_790_000_000_123_456_u64, "since": "2026-09-21T14:13:20.123456Z",
        })
    }

    /// Status, `Retry-After` and body of what is said to a caller.
    async fn said(known: Answer) -> (u16, Option<String>, Value) {
        let response = match answer(DEVICE, &known, ReplicaId::new(0), Source::Directory) {
            Ok(owned) => axum::Json(owned).into_response(),
            Err(refused) => refused.into_response(),
        };
        let retry = response.headers().get("retry-after").map(|v| v.to_str().expect("a number").to_owned());
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
        (status, retry, serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn an_owner_is_told_with_epoch_and_time() {
        let (status, _, body) = said(Answer::Owned { claim: claim(), standing: Standing::Suspect }).await;
        let mut expected = record();
        expected["standing"] = json!("suspect");
        expected["source"] = json!("directory");
        assert_eq!((status, body), (200, expected));
    }

    #[tokio::test]
    async fn a_claim_not_granted_yet_is_told_without_epoch() {
        let instance = "mps-b".parse().expect("a name");
        let (status, _, body) = said(Answer::Pending { session: SessionId(2), instance }).await;
        assert_eq!(status, 200);
        assert_eq!(
            (&body["owner"], &body["replica"], &body["epoch"]),
            (&json!("mps-b"), &json!("aaaaaaaa"), &Value::Null)
        );
    }

    #[tokio::test]
    async fn nobody_and_unreachable_are_different_answers() {
        let (status, retry, body) = said(Answer::Nobody).await;
        assert_eq!((status, retry, &body["error"]), (404, None, &json!("no-owner")));
        let (status, retry, body) = said(Answer::Resyncing { stale: Some(claim()) }).await;
        assert_eq!((status, retry.as_deref(), &body["error"]), (503, Some("5"), &json!("resyncing")));
        assert_eq!(body["stale"], record());
        let (status, retry, body) = said(Answer::Unreachable { stale: None }).await;
        assert_eq!((status, retry.as_deref(), &body["stale"]), (503, Some("5"), &Value::Null));
        let (status, _, body) = said(Answer::Unreachable { stale: Some(claim()) }).await;
        assert_eq!(
            (status, &body["error"], &body["stale"]),
            (503, &json!("directory-unreachable"), &record())
        );
    }
}
