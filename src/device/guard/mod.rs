//! The guard: decides whether bytes may pass. Never adds or alters one. No I/O, no clock.
//!
//! Until *proof* a [`Prover`] lets whole messages through, and only those a login consists of. So
//! the byte 52 that counts is the instance's own, never an echo of what a device smuggled into a
//! message. After proof a [`Follower`] watches where the device's messages begin, and copies nothing.
//!
//! DISCONNECT is never passed on: MPS unregisters the GUID a connection last named, whoever sends
//! it (`APFProcessor.ts`, `disconnect`).

mod follower;
mod parcels;
mod prover;

pub use follower::Follower;
pub use prover::{Proven, Prover};

use crate::wire::apf::{Oversized, kind};

/// Why bytes may not pass. Closed set: a metric label and a log field.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// DISCONNECT is never passed on (MPS would unregister by GUID, whoever sends it).
    #[error("the device disconnected")]
    Disconnect,
    /// The instance says DISCONNECT: no known server does.
    #[error("the instance disconnected")]
    InstanceDisconnect,
    /// A field that can only have one value has another.
    #[error("malformed message")]
    Malformed,
    /// A login method other than `password`.
    #[error("unknown login method")]
    Method,
    /// A frame larger than MPS itself accepts.
    #[error("oversized message")]
    Oversized,
    /// A second PROTOCOL_VERSION.
    #[error("second identity")]
    SecondIdentity,
    /// A service other than `auth@amt.intel.com` and `pfwd@amt.intel.com`.
    #[error("unknown service")]
    Service,
    /// The instance refused so many logins as a session may try.
    #[error("too many failed logins")]
    TooManyLoginFailures,
    /// More than any login takes, without a proof.
    #[error("too much said before proof")]
    TooMuchBeforeProof,
    /// A message that no device sends at this point.
    #[error("unexpected message from the device")]
    UnexpectedFromDevice,
    /// A message that no instance sends before proof, or an answer to a login nobody tried.
    #[error("unexpected message from the instance")]
    UnexpectedFromInstance,
}

impl Refusal {
    /// Every refusal, in the order of [`Refusal::index`].
    pub const ALL: [Self; 11] = [
        Self::Disconnect,
        Self::InstanceDisconnect,
        Self::Malformed,
        Self::Method,
        Self::Oversized,
        Self::SecondIdentity,
        Self::Service,
        Self::TooManyLoginFailures,
        Self::TooMuchBeforeProof,
        Self::UnexpectedFromDevice,
        Self::UnexpectedFromInstance,
    ];

    /// Position in [`Refusal::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Metric label and log field.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::InstanceDisconnect => "instance-disconnect",
            Self::Malformed => "malformed",
            Self::Method => "method",
            Self::Oversized => "oversized",
            Self::SecondIdentity => "second-identity",
            Self::Service => "service",
            Self::TooManyLoginFailures => "too-many-login-failures",
            Self::TooMuchBeforeProof => "too-much-before-proof",
            Self::UnexpectedFromDevice => "unexpected-from-device",
            Self::UnexpectedFromInstance => "unexpected-from-instance",
        }
    }
}

impl From<Oversized> for Refusal {
    fn from(_: Oversized) -> Self {
        Self::Oversized
    }
}

/// Whether a device may begin a message of this known type at all, at any stage.
///
/// Messages that only servers send are among the refused: MPS closes on them, and two of them
/// (51 and 81) cannot be delimited without knowing what they answer.
const fn begins(message: u8) -> Result<(), Refusal> {
    match message {
        kind::DISCONNECT => Err(Refusal::Disconnect),
        kind::PROTOCOL_VERSION => Err(Refusal::SecondIdentity),
        kind::SERVICE_ACCEPT
        | kind::USERAUTH_FAILURE
        | kind::USERAUTH_SUCCESS
        | kind::REQUEST_SUCCESS
        | kind::REQUEST_FAILURE
        | kind::KEEPALIVE_OPTIONS_REQUEST => Err(Refusal::UnexpectedFromDevice),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
