//! A load generator: any number of light devices against any CIRA server, and what they measured.
//!
//! [`run()`] is given [`LoadSettings`] and returns a [`Summary`]; nothing here prints. Each device is one
//! task that connects, logs in, stays as long as it is told and does its [`Work`]. They speak as the
//! devices of [`device`](super::device) do in their default manner (one message a record, each waiting
//! for its answer), and leave out what only tests need, so that ten thousand of them are light.
//!
//! Nothing is omitted: with a rate, a connect is measured from when it was due, however late it began.

mod dial;
mod failure;
mod guids;
mod login;
mod one;
mod pace;
mod report;
mod run;
mod stay;
mod tally;
#[cfg(test)]
mod tests;
mod tunnel;
mod work;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use failure::{Ended, Failure};
pub use guids::{Guids, MalformedGuids};
pub use report::{Bulk, Latencies, Percentiles, Progress, Summary, Way};
pub use run::run;

use super::device::{DeviceTls, Reconnect};
use crate::model::Secret;

/// What devices do once they are logged in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// Nothing but keep-alives.
    Nothing,
    /// Move data as fast as they can, each of them `size` bytes each way, or without end.
    Bulk {
        /// To the server.
        up: bool,
        /// From the server.
        down: bool,
        /// Bytes each way; `None`: until the device leaves.
        size: Option<u64>,
    },
    /// Send so many bytes (at least 1), wait until they are back, again and again.
    Echo(u64),
}

/// What a run consists of.
#[derive(Clone)]
pub struct LoadSettings {
    /// Where to connect: device `i` begins with target `i`, and goes on to the next at each connect.
    /// Not empty.
    pub targets: Vec<SocketAddr>,
    /// Source addresses, used in turn; empty: the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// How they speak TLS; `None`: in clear.
    pub tls: Option<DeviceTls>,
    /// Devices.
    pub count: usize,
    /// Who they are.
    pub guids: Guids,
    /// User name of their login.
    pub user: String,
    /// Password of their login.
    pub password: Secret,
    /// Connects begun a second, at most.
    pub rate: Option<f64>,
    /// Connects being made at once, at most. At least 1.
    pub in_flight: usize,
    /// Interval of keep-alives until the server asks for another.
    pub keepalive: Duration,
    /// When they try again; `None`: each connects once.
    pub reconnect: Option<Reconnect>,
    /// How long they stay after their login; `None`: until the run ends.
    pub hold: Option<Duration>,
    /// How long the run lasts; `None`: until it is stopped, or until no device is left.
    pub lasts: Option<Duration>,
    /// What they do.
    pub work: Work,
    /// How long each answer of the server may take: TCP, TLS, login, a channel.
    pub answer: Duration,
    /// Silence of the server after which a device takes it for dead.
    pub silence: Duration,
}

impl LoadSettings {
    /// Ten devices that connect to `targets` and stay, as `simulate mps` lets them in.
    pub fn new(targets: Vec<SocketAddr>, tls: Option<DeviceTls>) -> Self {
        assert!(!targets.is_empty(), "devices have somewhere to connect to");
        let account = super::mps::Account::default();
        Self {
            targets,
            sources: Vec::new(),
            tls,
            count: 10,
            guids: Guids::default(),
            user: account.user,
            password: account.password,
            rate: None,
            in_flight: 64,
            keepalive: Duration::from_secs(30),
            reconnect: None,
            hold: None,
            lasts: None,
            work: Work::Nothing,
            answer: Duration::from_secs(30),
            silence: Duration::from_secs(120),
        }
    }
}
