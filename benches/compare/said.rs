//! What the load says: JSON, a line a second, and a summary at the end.

use serde::Deserialize;
use serde_json::Value;

/// How it stands, each second.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
pub struct Progress {
    /// Seconds since its start.
    pub elapsed_s: f64,
    /// Sessions that are proven and open.
    pub connected: u64,
    /// Sessions proven so far.
    pub connects: u64,
    /// Sessions that failed so far.
    pub failed: u64,
    /// Payload sent by devices and arrived, in bytes.
    pub bytes_up: u64,
    /// Payload that arrived at devices, in bytes.
    pub bytes_down: u64,
    /// Echoes that came back.
    pub echoes: u64,
}

/// What it said, one line.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// How it stands.
    Progress(Progress),
    /// How it went: the last line.
    Summary(Value),
}

impl Said {
    /// Reads a line.
    pub fn parse(line: &str) -> Result<Self, String> {
        let not_understood = |error: &dyn std::fmt::Display| format!("the load said {line:?}: {error}");
        let value: Value = serde_json::from_str(line).map_err(|error| not_understood(&error))?;
        match value["event"].as_str() {
            Some("progress") => {
                serde_json::from_value(value).map(Self::Progress).map_err(|error| not_understood(&error))
            }
            Some("summary") => Ok(Self::Summary(value)),
            _ => Err(not_understood(&"neither progress nor summary")),
        }
    }
}

/// What went wrong, by the summary; a server that ended a session is no less of an error.
pub fn faults(summary: &Value) -> Option<String> {
    let (Some(failed), Some(ended)) = (summary["failed"].as_object(), summary["ended"].as_object()) else {
        return Some("no word about failures".to_owned());
    };
    let by_server = ended.iter().filter(|(how, _)| how.starts_with("server"));
    let found: Vec<_> =
        failed.iter().chain(by_server).map(|(what, count)| format!("{count} x {what}")).collect();
    match summary["corrupt_blocks"].as_u64() {
        _ if !found.is_empty() => Some(found.join(", ")),
        Some(0) => None,
        Some(corrupt) => Some(format!("{corrupt} corrupt blocks")),
        None => Some("no word about corrupt blocks".to_owned()),
    }
}
