//! One proven session, as others see it: small, since there is one for every device.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::{DeviceId, Epoch, InstanceName, SessionId};
use crate::net::traffic::Traffic;

/// Why somebody other than its two ends closes a session. Closed set: a metric label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseReason {
    /// The drain's turn has come.
    Draining,
    /// Its instance was taken out of service.
    InstanceGone,
    /// An operator asked for it.
    Operator,
    /// A newer session of the same device was proven, here or at another replica.
    Superseded,
}

impl CloseReason {
    /// Metric label and log field.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::InstanceGone => "instance-gone",
            Self::Operator => "operator",
            Self::Superseded => "superseded",
        }
    }

    /// Never zero, which means "nobody asked".
    const fn code(self) -> u8 {
        match self {
            Self::Draining => 1,
            Self::InstanceGone => 2,
            Self::Operator => 3,
            Self::Superseded => 4,
        }
    }

    const fn of_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Draining),
            2 => Some(Self::InstanceGone),
            3 => Some(Self::Operator),
            4 => Some(Self::Superseded),
            _ => None,
        }
    }
}

/// One proven session, as others see it.
#[derive(Debug)]
pub struct Session {
    /// Whose it is.
    pub device: DeviceId,
    /// Its number at this replica.
    pub id: SessionId,
    /// Where it ends.
    pub instance: InstanceName,
    /// Where the device called from (behind the balancer).
    pub source: IpAddr,
    /// When it was proven.
    pub proven: Instant,
    /// What flows.
    pub traffic: Arc<Traffic>,
    /// Microseconds; 0 while the directory has not granted one.
    epoch: AtomicU64,
    /// Code of the first reason to close; 0 while nobody asked.
    asked: AtomicU8,
    released: AtomicBool,
    wake: Notify,
}

impl Session {
    /// A session proven just now, whose device the directory has not been told of.
    pub fn proven(
        device: DeviceId,
        id: SessionId,
        instance: InstanceName,
        source: IpAddr,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            device,
            id,
            instance,
            source,
            proven: Instant::now(),
            traffic,
            epoch: AtomicU64::new(0),
            asked: AtomicU8::new(0),
            released: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// Asks the session to end. The first reason stays.
    pub fn close(&self, reason: CloseReason) {
        let first = self.asked.compare_exchange(0, reason.code(), Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            self.wake.notify_waiters();
        }
    }

    /// The reason for which somebody asked the session to end, if somebody did.
    pub fn closing(&self) -> Option<CloseReason> {
        CloseReason::of_code(self.asked.load(Ordering::Acquire))
    }

    /// Ready when somebody asked the session to end. Safe to cancel.
    pub async fn closed(&self) -> CloseReason {
        loop {
            let mut woken = std::pin::pin!(self.wake.notified());
            woken.as_mut().enable(); // before the look, so that no call in between is missed
            if let Some(reason) = self.closing() {
                return reason;
            }
            woken.await;
        }
    }

    /// The epoch of its claim; `None` while the directory has not granted one.
    pub fn epoch(&self) -> Option<Epoch> {
        Epoch::new(self.epoch.load(Ordering::Acquire))
    }

    /// The directory granted `epoch`.
    pub fn granted(&self, epoch: Epoch) {
        self.epoch.store(epoch.micros(), Ordering::Release);
    }

    /// The claim is given up for good: whoever claims for this session after this undoes it.
    pub fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
    }

    /// Whether the claim was given up.
    pub fn released(&self) -> bool {
        self.released.load(Ordering::SeqCst)
    }
}
