//! Simulated AMT devices: one that behaves as firmware does, and one that is driven by hand.

mod raw;
mod services;
mod session;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub(super) use raw::preamble;
pub use raw::{Closed, RawDevice};
pub use tls::{AesBits, DeviceTls, TlsSettings, Trust, Versions};

use self::session::{Session, connect};
use super::mps::Account;
use crate::lifecycle::Drain;
use crate::model::DeviceId;

/// How a device puts its messages into TLS records, and whether it waits for answers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Manner {
    /// One message a record, each waiting for its answer, as firmware is known to do.
    #[default]
    OneByOne,
    /// All that is to be said at a time in one record.
    Coalesced,
    /// A record for each byte.
    Bytewise,
    /// Everything up to the last port at once, one message a record.
    Pipelined,
}

/// When a device tries again.
#[derive(Clone, Copy, Debug)]
pub struct Reconnect {
    /// Pause after a connection ended.
    pub after: Duration,
    /// Part of the pause that is random: 0.2 makes 25 s something from 20 to 30 s.
    pub jitter: f64,
    /// After so many failures in a row the pause is this long, once. `None`: it never gives up.
    pub give_up: Option<(u32, Duration)>,
}

impl Default for Reconnect {
    /// As RPS programs AMT: every 25 s.
    fn default() -> Self {
        Self { after: Duration::from_secs(25), jitter: 0.1, give_up: None }
    }
}

impl Reconnect {
    /// Firmware that gives up for a quarter of an hour after three failures.
    pub fn firmware() -> Self {
        Self { give_up: Some((3, Duration::from_secs(900))), ..Self::default() }
    }

    /// How long it waits after so many failures in a row.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        match self.give_up {
            Some((limit, pause)) if failures > 0 && failures.is_multiple_of(limit.max(1)) => pause,
            _ => self.after.mul_f64((1.0 + self.jitter * rand::random_range(-1.0..=1.0)).max(0.0)),
        }
    }
}

/// What devices have in common: thousands may share one.
#[derive(Clone)]
pub struct DeviceSettings {
    /// Where to connect: the first time to one chosen by the device's GUID, each time to the next,
    /// as if a balancer were there. Not empty.
    pub targets: Vec<SocketAddr>,
    /// How they speak TLS.
    pub tls: DeviceTls,
    /// How they log in, and whom they let in.
    pub account: Arc<Account>,
    /// Ports they offer, in this order.
    pub ports: Vec<u32>,
    /// Receive window of a channel, in bytes.
    pub window: u32,
    /// Interval of keep-alives until the server asks for another.
    pub keepalive: Duration,
    /// Whether the server may ask for another.
    pub obey_options: bool,
    /// When they try again.
    pub reconnect: Reconnect,
    /// How they write.
    pub manner: Manner,
    /// They go without close_notify.
    pub vanish: bool,
    /// They go on talking when the server closed.
    pub ignore_fin: bool,
    /// Tries to log in on one connection.
    pub logins: u32,
    /// Address to connect from.
    pub source: Option<IpAddr>,
    /// Said before TLS: a PROXY header, say.
    pub prelude: Bytes,
    /// How long they wait for a connection, and for each answer.
    pub answer: Duration,
    /// Silence of the server after which they take it for dead.
    pub silence: Duration,
}

impl DeviceSettings {
    /// Devices that behave as firmware is known to, and connect to `targets`.
    pub fn new(targets: Vec<SocketAddr>, tls: DeviceTls) -> Self {
        assert!(!targets.is_empty(), "a device has somewhere to connect to");
        Self {
            targets,
            tls,
            account: Arc::default(),
            ports: vec![16993, 16992, 664, 623, 16995, 16994, 5900],
            window: 499,
            keepalive: Duration::from_secs(30),
            obey_options: true,
            reconnect: Reconnect::default(),
            manner: Manner::OneByOne,
            vanish: false,
            ignore_fin: false,
            logins: 1,
            source: None,
            prelude: Bytes::new(),
            answer: Duration::from_secs(60),
            silence: Duration::from_secs(120),
        }
    }
}

/// Where a device is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// From the first byte of TCP to the answer to its login.
    Connecting,
    /// The server accepted its login.
    Proven,
    /// It waits before it tries again.
    Disconnected,
}

/// Why a connection of a device ended.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The server closed.
    #[error("the server closed")]
    Closed,
    /// TCP failed.
    #[error("connect")]
    Connect(#[source] io::Error),
    /// The server said DISCONNECT.
    #[error("the server said DISCONNECT")]
    Disconnected,
    /// TLS failed.
    #[error("tls")]
    Handshake(#[source] io::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// The server said what no device understands.
    #[error("the server is not understood")]
    Malformed,
    /// The server refused the login.
    #[error("login refused")]
    Refused,
    /// The device was told to connect anew.
    #[error("told to connect anew")]
    Renewed,
    /// The server did not answer, or said nothing for too long.
    #[error("the server is silent")]
    Silent,
}

impl DeviceError {
    /// A label: a closed set.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Connect(_) => "connect",
            Self::Disconnected => "disconnected",
            Self::Handshake(_) => "handshake",
            Self::Io(_) => "io",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
            Self::Renewed => "renewed",
            Self::Silent => "silent",
        }
    }
}

/// How a device is.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where it is.
    pub stage: Stage,
    /// Connections tried.
    pub attempts: u64,
    /// Logins accepted.
    pub proofs: u64,
    /// Connections in a row that ended before a login was accepted.
    pub failures: u32,
    /// Keep-alives answered by the server.
    pub keepalives: u64,
    /// Channels granted to the server.
    pub channels: u64,
    /// Why the last connection ended.
    pub last_error: Option<Arc<DeviceError>>,
}

/// A simulated device, connecting and connected until it is stopped. Dropping it makes it vanish.
pub struct Device {
    id: DeviceId,
    status: watch::Receiver<Status>,
    power: Arc<AtomicU32>,
    stop: CancellationToken,
    renew: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Device {
    /// Switches a device on.
    pub fn start(id: DeviceId, settings: Arc<DeviceSettings>) -> Self {
        let (sender, status) = watch::channel(Status {
            stage: Stage::Connecting,
            attempts: 0,
            proofs: 0,
            failures: 0,
            keepalives: 0,
            channels: 0,
            last_error: None,
        });
        let (power, renew) = (Arc::new(AtomicU32::new(2)), Arc::new(Notify::new()));
        let stop = CancellationToken::new();
        let life = Life {
            id,
            settings,
            status: sender,
            power: Arc::clone(&power),
            stop: stop.clone(),
            renew: Arc::clone(&renew),
        };
        // One task, whose handle is ours: nobody else needs to count it.
        let task = Drain::new(Duration::ZERO).spawn(life.live());
        Self { id, status, power, stop, renew, task }
    }

    /// Who it is.
    pub const fn id(&self) -> DeviceId {
        self.id
    }

    /// How it is now.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until `condition` holds. Not bounded in time. Returns the status that fulfilled it; a
    /// device that was stopped never changes again, so its last status is returned.
    pub async fn until(&self, condition: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.status.clone();
        match status.wait_for(condition).await {
            Ok(fulfilled) => fulfilled.clone(),
            Err(_) => self.status(),
        }
    }

    /// Waits until its login is accepted. Not bounded in time.
    pub async fn proven(&self) {
        self.until(|status| status.stage == Stage::Proven).await;
    }

    /// What it answers to whoever asks for its power state from now on: 2 is on, 8 off.
    pub fn set_power(&self, state: u32) {
        self.power.store(state, Ordering::Relaxed);
    }

    /// Drops its connection and connects anew at once.
    pub fn renew(&self) {
        self.renew.notify_one();
    }

    /// Switches it off: it says goodbye, unless its settings say that it vanishes.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // Saying goodbye is bounded. A panic of the task has been printed already.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Life {
    id: DeviceId,
    settings: Arc<DeviceSettings>,
    status: watch::Sender<Status>,
    power: Arc<AtomicU32>,
    stop: CancellationToken,
    renew: Arc<Notify>,
}

impl Life {
    async fn live(self) {
        let mut attempt = usize::from(self.id.as_bytes()[15]);
        loop {
            self.status.send_modify(|status| {
                status.stage = Stage::Connecting;
                status.attempts += 1;
            });
            let Some(error) = self.connection(attempt).await else { return };
            let renewed = matches!(error, DeviceError::Renewed);
            self.status.send_modify(|status| {
                if status.stage == Stage::Connecting && !renewed {
                    status.failures += 1;
                }
                status.stage = Stage::Disconnected;
                status.last_error = Some(Arc::new(error));
            });
            attempt = attempt.wrapping_add(1);
            let failures = self.status.borrow().failures;
            let pause = if renewed { Duration::ZERO } else { self.settings.reconnect.pause(failures) };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.renew.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// One connection; `None`: the device was switched off.
    async fn connection(&self, attempt: usize) -> Option<DeviceError> {
        let stream = tokio::select! {
            () = self.stop.cancelled() => return None,
            connected = connect(&self.settings, attempt) => match connected {
                Ok(stream) => stream,
                Err(error) => return Some(error),
            },
        };
        let (settings, status) = (Arc::clone(&self.settings), self.status.clone());
        let mut session = Box::new(Session::new(stream, self.id, settings, status, Arc::clone(&self.power)));
        let ended = tokio::select! {
            () = self.stop.cancelled() => None,
            () = self.renew.notified() => Some(DeviceError::Renewed),
            error = session.run() => Some(error),
        };
        if !self.settings.vanish {
            session.leave().await;
        }
        ended
    }
}
