//! APF, the Intel AMT Port Forwarding protocol: messages as values.

use crate::model::DeviceId;

/// Length of PROTOCOL_VERSION, the first message of a device, in bytes.
pub const PREAMBLE_LEN: usize = 93;

/// The first message of a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Preamble {
    /// Protocol major version: 1 in every log seen, checked by nobody.
    pub major: u32,
    /// Protocol minor version.
    pub minor: u32,
    /// Why the device connects: 1 user, 2 alert, 3 seen from periodic policies, 4 periodic.
    pub trigger: u32,
    /// Who it says it is.
    pub device: DeviceId,
}

/// The first byte is not that of PROTOCOL_VERSION.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("first byte {0} is not PROTOCOL_VERSION")]
pub struct Unexpected(pub u8);

/// Reads the preamble at the head of `buf`. `Ok(None)` means "so far so good, need more bytes".
pub fn preamble(_buf: &[u8]) -> Result<Option<Preamble>, Unexpected> {
    todo!()
}
