//! What a run came to, as values: `simulate devices --json` writes them as they are.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// A direction of bulk data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// To the server.
    Up,
    /// From the server.
    Down,
}

/// How a run is getting on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// Seconds since it began.
    pub elapsed_s: f64,
    /// Devices that are logged in now.
    pub connected: u64,
    /// Logins that succeeded.
    pub connects: u64,
    /// Failures of any kind.
    pub failed: u64,
    /// Bytes of payload sent to the server.
    pub bytes_up: u64,
    /// Bytes of payload heard from the server.
    pub bytes_down: u64,
    /// Echoes that came back whole.
    pub echoes: u64,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Devices asked for.
    pub devices: u64,
    /// Devices that logged in at least once.
    pub devices_proven: u64,
    /// Logins that succeeded.
    pub connects: u64,
    /// Devices connected when the run was over, before they left.
    pub held: u64,
    /// Failures by reason.
    pub failed: BTreeMap<&'static str, u64>,
    /// Logins a second, from the beginning to the last of them.
    pub per_second: f64,
    /// How long things took, in milliseconds.
    pub latency_ms: Latencies,
    /// Echoes that came back whole.
    pub echoes: u64,
    /// How connections that had logged in ended, by whom and why.
    pub ended: BTreeMap<&'static str, u64>,
    /// Bulk data sent; `None`: there was none to be sent.
    pub bulk_up: Option<Bulk>,
    /// Bulk data heard; `None`: there was none to be heard.
    pub bulk_down: Option<Bulk>,
    /// Blocks of data that arrived changed, at either end.
    pub corrupt_blocks: u64,
    /// Seconds from the beginning to the end, until the last device had left.
    pub elapsed_s: f64,
    /// It was stopped, by a signal say.
    pub interrupted: bool,
    /// Every device logged in and left in time, nothing failed or arrived changed, and, unless they were
    /// to come back, no server ended a connection.
    pub all_well: bool,
}

/// How long things took; `None`: never measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latencies {
    /// TCP connect.
    pub tcp: Option<Percentiles>,
    /// TLS handshake.
    pub tls: Option<Percentiles>,
    /// From the first byte in the tunnel to USERAUTH_SUCCESS.
    pub login: Option<Percentiles>,
    /// The whole: from when a connect was due to USERAUTH_SUCCESS.
    pub connect: Option<Percentiles>,
    /// From sending bytes to having them back.
    pub echo: Option<Percentiles>,
}

/// A distribution, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Measurements.
    pub count: u64,
    /// Half took no longer.
    pub p50: f64,
    /// 90 % took no longer.
    pub p90: f64,
    /// 99 % took no longer.
    pub p99: f64,
    /// 99.9 % took no longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Percentiles {
    /// Of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |micros: u64| micros as f64 / 1000.0;
        let at = |quantile| ms(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: ms(histogram.max()),
        }
    }
}

/// Data moved one way, by all devices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bulk {
    /// Payload.
    pub bytes: u64,
    /// From the first channel's opening to the last one's close.
    pub seconds: f64,
    /// 2^20 bytes a second; 0 if it took no time.
    pub mib_per_s: f64,
}

impl Bulk {
    /// So many bytes in so many seconds.
    pub fn new(bytes: u64, seconds: f64) -> Self {
        let mib = bytes as f64 / f64::from(1 << 20);
        Self { bytes, seconds, mib_per_s: if seconds > 0.0 { mib / seconds } else { 0.0 } }
    }
}
