//! The guard: decides whether bytes may pass. Never adds or alters one. No I/O, no clock.

use super::settings::GuardMode;

/// Why bytes may not pass. Closed set: a metric label and a log field.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// DISCONNECT is never passed on (MPS would unregister by GUID, whoever sends it).
    #[error("the device disconnected")]
    Disconnect,
    /// A frame larger than MPS itself accepts.
    #[error("oversized message")]
    Oversized,
    // .. one variant each: SecondIdentity, Service (unknown name), Method, UnexpectedFromDevice,
    // UnexpectedFromInstance, TooManyLoginFailures, Malformed ..
}

/// Before proof: whole messages in, whole messages out, in order.
///
/// The preamble itself is not fed: the session reads it first and passes it on.
pub struct Prover {}

/// After proof: follows frame headers from the device; copies nothing.
pub struct Follower {}

impl Prover {
    /// A session whose preamble was read.
    pub fn new(_mode: GuardMode, _max_login_failures: u32) -> Self {
        todo!()
    }

    /// Whether the device may be read: false while 4 KiB wait (back-pressure).
    pub fn wants_device(&self) -> bool {
        todo!()
    }

    /// The device said this, with any boundaries.
    pub fn device_bytes(&mut self, _bytes: &[u8]) -> Result<(), Refusal> {
        todo!()
    }

    /// The next message for the instance, to be written as one record; `None`: nothing may pass now.
    pub fn to_instance(&mut self) -> Option<bytes::Bytes> {
        todo!()
    }

    /// The instance said this. What may pass to the device comes out of [`Prover::to_device`].
    pub fn instance_bytes(&mut self, _bytes: &[u8]) -> Result<(), Refusal> {
        todo!()
    }

    /// The next message for the device, one record.
    pub fn to_device(&mut self) -> Option<bytes::Bytes> {
        todo!()
    }

    /// Byte 52 came from the instance. It is *not* given out by [`Prover::to_device`]: the session
    /// claims first and then passes [`Proven::to_device`].
    pub fn proven(&self) -> bool {
        todo!()
    }

    /// How many logins failed so far.
    pub fn login_failures(&self) -> u32 {
        todo!()
    }

    /// After proof: what waits on either side, and the follower for the rest.
    pub fn finish(self) -> Proven {
        todo!()
    }
}

/// What waits when a session is proven.
pub struct Proven {
    /// Byte 52 and whatever the instance said after it in the same breath.
    pub to_device: bytes::Bytes,
    /// What the device said after its USERAUTH_REQUEST, whole messages first; each element one record.
    /// The last may be an incomplete message; all have yet to be shown to the follower.
    pub to_instance: Vec<bytes::Bytes>,
    /// Follows the rest.
    pub follower: Follower,
}
