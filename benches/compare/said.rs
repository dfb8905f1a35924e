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

/// What went wrong, by the summary.
pub fn faults(summary: &Value) -> Option<String> {
    for name in ["failed", "corrupt"] {
        match summary[name].as_u64() {
            Some(0) => {}
            Some(count) => return Some(format!("{count} {name}")),
            None => return Some(format!("no word about {name}")),
        }
    }
    None
}
