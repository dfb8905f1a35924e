//! How device sessions end: a closed set, with a label, somebody to blame and a log level each.

use std::error::Error;
use std::{fmt, io};

use super::guard::Refusal;
use crate::net::head::HeadError;
use crate::net::relay::{self, Side};
use crate::sessions::{CloseReason, Full};
use crate::telemetry::{Label, Labels, label_set};
use crate::wire::apf;
use crate::wire::client_hello::{Legacy, NotHello};
use crate::wire::proxy_protocol::NotProxy;

label_set! {
    /// Whose doing an end was. Closed set: a metric label.
    pub enum Blame {
        /// The device, or who pretends to be one.
        Device = "device",
        /// The instance, or that there is none.
        Instance = "instance",
        /// This gateway or its operator.
        Us = "us",
    }
}

label_set! {
    /// At which stage a connection ended, or that it was proven. Closed set: a metric label.
    pub enum Stage {
        /// Its PROXY header.
        Proxy = "proxy",
        /// Its hello.
        Hello = "hello",
        /// The TLS handshake.
        Handshake = "handshake",
        /// Its first message.
        Preamble = "preamble",
        /// Seeking an instance, if it may have one.
        Connect = "connect",
        /// The login.
        Proof = "proof",
        /// It was proven, and relayed.
        Proven = "proven",
        /// Legacy TLS: relayed to an instance as it is, proven to nobody here.
        Spliced = "spliced",
    }
}

/// Why a device session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A network of `device.proxy-from` sent no PROXY header.
    #[error("PROXY header")]
    Proxy(#[source] HeadError<NotProxy>),
    /// No TLS hello.
    #[error("hello")]
    Hello(#[source] HeadError<NotHello>),
    /// A hello that rustls cannot serve.
    #[error("legacy hello")]
    Legacy(#[source] Legacy),
    /// The TLS handshake failed.
    #[error("handshake")]
    Handshake(#[source] io::Error),
    /// Inside TLS came something else than a device's first message.
    #[error("preamble")]
    Preamble(#[source] apf::Unexpected),
    /// Not done with a stage in its time.
    #[error("too slow")]
    Slow,
    /// Somebody looked with a browser, and was answered.
    #[error("answered a look by HTTP")]
    Page,
    /// It had to make room for another before it was proven.
    #[error("had to make room")]
    ShownOut,
    /// Its GUID is contested, and the device that is there is active.
    #[error("contested GUID")]
    Contested,
    /// Too many logins failed from there.
    #[error("login back-off")]
    BackedOff,
    /// No instance, and as many devices are held as may be.
    #[error("no instance, and too many devices wait for one")]
    HoldFull,
    /// It was held for as long as devices are.
    #[error("no instance in time")]
    HoldOver,
    /// As many sessions are spliced as may be.
    #[error("legacy hello")]
    SpliceFull(#[source] Full),
    /// The instance refused a login and then closed, as MeshCentral and Console do.
    #[error("login refused")]
    LoginRefused,
    /// The guard refused what one side said.
    #[error("guard")]
    Guard(#[source] Refusal),
    /// One side closed.
    #[error("{0:?} closed")]
    Closed(Side),
    /// The connection of one side failed.
    #[error("{0:?} failed")]
    Failed(Side, #[source] io::Error),
    /// One side had to say something and did not. (After proof: both sides are silent.)
    #[error("{0:?} silent")]
    Silent(Side),
    /// One side took no bytes.
    #[error("{0:?} stalled")]
    Stalled(Side),
    /// Somebody else ended it.
    #[error("told to close")]
    Told(CloseReason),
}

impl SessionError {
    /// Metric label and log field, with who is to blame.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Proxy(e) => head(e, |_| Reason::NotProxy),
            Self::Hello(e) => head(e, |e| match e {
                NotHello::Http => Reason::HttpInClear,
                NotHello::Garbage | NotHello::Malformed | NotHello::Overflow | NotHello::Unexpected => {
                    Reason::Garbage
                }
            }),
            Self::Legacy(_) => Reason::LegacyHello,
            Self::Handshake(_) => Reason::Handshake,
            Self::Preamble(_) => Reason::NotApf,
            Self::Slow => Reason::Slow,
            Self::Page => Reason::Page,
            Self::ShownOut => Reason::ShownOut,
            Self::Contested => Reason::Contested,
            Self::BackedOff => Reason::BackedOff,
            Self::HoldFull => Reason::HoldFull,
            Self::HoldOver => Reason::NoInstance,
            Self::SpliceFull(Full) => Reason::SpliceFull,
            Self::LoginRefused => Reason::LoginFailures,
            Self::Guard(refusal) => guard(*refusal),
            Self::Closed(Side::Device) => Reason::DeviceClosed,
            Self::Closed(Side::Instance) => Reason::InstanceClosed,
            Self::Failed(Side::Device, _) => Reason::DeviceFailed,
            Self::Failed(Side::Instance, _) => Reason::InstanceFailed,
            Self::Silent(Side::Device) => Reason::DeviceSilent,
            Self::Silent(Side::Instance) => Reason::InstanceSilent,
            Self::Stalled(Side::Device) => Reason::DeviceStalled,
            Self::Stalled(Side::Instance) => Reason::InstanceStalled,
            Self::Told(CloseReason::Draining) => Reason::Draining,
            Self::Told(CloseReason::InstanceGone) => Reason::InstanceGone,
            Self::Told(CloseReason::Operator) => Reason::Operator,
            Self::Told(CloseReason::Superseded) => Reason::Superseded,
        }
    }
}

impl SessionError {
    /// How a relay ended, where `refused` and `stopped` say what its refusal and its stop mean.
    pub fn of_relay<R, S>(
        ended: relay::Ended<R, S>,
        refused: impl FnOnce(R) -> Self,
        stopped: impl FnOnce(S) -> Self,
    ) -> Self {
        match ended {
            relay::Ended::Closed(side) => Self::Closed(side),
            relay::Ended::Failed(side, error) => Self::Failed(side, error),
            relay::Ended::Refused(refusal) => refused(refusal),
            relay::Ended::Silent => Self::Silent(Side::Device),
            relay::Ended::Stalled(side) => Self::Stalled(side),
            relay::Ended::Stopped(reason) => stopped(reason),
        }
    }
}

impl From<relay::Ended<Refusal, CloseReason>> for SessionError {
    fn from(ended: relay::Ended<Refusal, CloseReason>) -> Self {
        Self::of_relay(ended, Self::Guard, Self::Told)
    }
}

fn head<E>(error: &HeadError<E>, refused: impl FnOnce(&E) -> Reason) -> Reason {
    match error {
        HeadError::Closed(_) => Reason::DeviceClosed,
        HeadError::Io(_) => Reason::DeviceFailed,
        HeadError::Long(_) => Reason::TooLong,
        HeadError::Refused(e) => refused(e),
    }
}

fn guard(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::Disconnect => Reason::Disconnect,
        Refusal::TooManyLoginFailures => Reason::LoginFailures,
        Refusal::InstanceDisconnect | Refusal::UnexpectedFromInstance => Reason::InstanceRefused,
        Refusal::Malformed
        | Refusal::Method
        | Refusal::Oversized
        | Refusal::SecondIdentity
        | Refusal::Service
        | Refusal::TooMuchBeforeProof
        | Refusal::UnexpectedFromDevice => Reason::DeviceRefused,
    }
}

impl Label for Refusal {
    const ALL: &'static [Self] = &Refusal::ALL;

    fn index(self) -> usize {
        Refusal::index(self)
    }

    fn label(self) -> &'static str {
        self.reason()
    }
}

/// An error with its causes, on one line.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// How loudly an end is logged when the session was never proven. (After proof: `INFO`.)
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loudness {
    /// Every day's noise.
    Quiet,
    /// An operator may want to know.
    Normal,
}

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident = $text:literal, $blame:ident, $loudness:ident;)+) => {
        /// Why a session ended, as a metric label and log field. Closed set; with its blame unique.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Reason { $($(#[$doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The label's text.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Whose doing it was.
            pub const fn blame(self) -> Blame {
                match self { $(Self::$name => Blame::$blame,)+ }
            }

            /// How loudly it is logged before proof.
            pub const fn loudness(self) -> Loudness {
                match self { $(Self::$name => Loudness::$loudness,)+ }
            }
        }
    };
}

reasons! {
    /// Too many logins failed from there of late.
    BackedOff = "backed-off", Device, Normal;
    /// The GUID is contested.
    Contested = "contested", Device, Normal;
    /// It closed.
    DeviceClosed = "closed", Device, Quiet;
    /// Its connection failed.
    DeviceFailed = "failed", Device, Quiet;
    /// The guard refused what it said.
    DeviceRefused = "refused", Device, Normal;
    /// It said nothing.
    DeviceSilent = "silent", Device, Quiet;
    /// It took no bytes.
    DeviceStalled = "stalled", Device, Quiet;
    /// It said DISCONNECT.
    Disconnect = "disconnect", Device, Quiet;
    /// Its turn to leave in a drain came.
    Draining = "draining", Us, Quiet;
    /// No hello and no HTTP.
    Garbage = "garbage", Device, Quiet;
    /// The TLS handshake failed.
    Handshake = "handshake", Device, Normal;
    /// No instance, and too many wait.
    HoldFull = "hold-full", Instance, Normal;
    /// HTTP where a TLS hello should be.
    HttpInClear = "http-in-clear", Device, Quiet;
    /// It closed.
    InstanceClosed = "closed", Instance, Normal;
    /// Its connection failed.
    InstanceFailed = "failed", Instance, Normal;
    /// It was taken out of service.
    InstanceGone = "instance-gone", Instance, Normal;
    /// The guard refused what it said.
    InstanceRefused = "refused", Instance, Normal;
    /// It did not answer.
    InstanceSilent = "silent", Instance, Normal;
    /// It took no bytes.
    InstanceStalled = "stalled", Instance, Normal;
    /// A hello that rustls cannot serve.
    LegacyHello = "legacy-hello", Device, Normal;
    /// Too many logins failed in this session, or one and its instance closed.
    LoginFailures = "login-failures", Device, Normal;
    /// No instance in time.
    NoInstance = "no-instance", Instance, Normal;
    /// Inside TLS, something else than APF.
    NotApf = "not-apf", Device, Normal;
    /// No PROXY header from where one must come.
    NotProxy = "not-proxy", Device, Normal;
    /// An operator asked for it.
    Operator = "operator", Us, Normal;
    /// A look by HTTP, answered.
    Page = "page", Device, Quiet;
    /// It had to make room.
    ShownOut = "shown-out", Us, Quiet;
    /// Too slow before proof.
    Slow = "slow", Device, Quiet;
    /// As many sessions are spliced as may be.
    SpliceFull = "splice-full", Us, Normal;
    /// A newer session of the device was proven.
    Superseded = "superseded", Device, Quiet;
    /// A head that never ends.
    TooLong = "too-long", Device, Quiet;
}

/// Two labels of which one decides the other: as many series as there are reasons.
impl Labels for Reason {
    fn count() -> usize {
        Self::ALL.len()
    }

    fn place(self) -> usize {
        self as usize
    }

    fn texts(place: usize) -> Vec<&'static str> {
        let reason = Self::ALL[place];
        vec![reason.reason(), reason.blame().label()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_and_its_blame_are_unique_and_in_their_place() {
        let series: std::collections::BTreeSet<_> = (0..Reason::count()).map(Reason::texts).collect();
        assert_eq!(series.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().enumerate().all(|(place, reason)| reason.place() == place));
        assert!(Reason::ALL.iter().is_sorted_by_key(|r| format!("{r:?}")), "by name");
    }

    #[test]
    fn every_refusal_of_the_guard_is_somebodys() {
        for refusal in Refusal::ALL {
            let blame = SessionError::Guard(refusal).reason().blame();
            let instance = matches!(refusal, Refusal::InstanceDisconnect | Refusal::UnexpectedFromInstance);
            assert_eq!(blame, if instance { Blame::Instance } else { Blame::Device }, "{refusal:?}");
        }
    }
}
