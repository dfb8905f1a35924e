//! Data through channels that a *device* opens: what `simulate devices` measures a relay with, and
//! `simulate mps` serves.
//!
//! The services are those of RFC 862 (echo, port 7), RFC 863 (discard, 9) and RFC 864 (character
//! generator, 19), asked for by CHANNEL_OPEN `direct-tcpip`. An extension of ours: real MPS and
//! MeshCentral refuse every channel that a device opens. The content is a [`pattern`] that both ends
//! know, so that what arrives is checked and not only counted. When a device closes its channel to
//! discard, the last thing it hears there is a [`Receipt`]: bytes received, blocks that were not right.

pub mod feed;
pub mod flow;
pub mod outbox;
pub mod pattern;

/// The port that sends back what it hears.
pub const ECHO: u32 = 7;

/// The port that takes everything, checks it and says at the end what it got.
pub const DISCARD: u32 = 9;

/// The port that talks as long as it may.
pub const CHARGEN: u32 = 19;

/// The type of channel a device opens.
pub const CHANNEL_TYPE: &[u8] = b"direct-tcpip";

/// Receive window of such a channel, in bytes: more than a link on loopback holds.
pub const WINDOW: u32 = 1 << 20;

/// Length of the head of CHANNEL_DATA, in bytes.
const HEAD: usize = 9;

/// Payload of one CHANNEL_DATA, at most, in bytes: with its head exactly one TLS record.
pub const FRAME: usize = 16 * 1024 - HEAD;

/// Frames made at a time, in bytes: four full ones, as many as our TLS takes in one write.
const BATCH: usize = 64 * 1024;

/// What discard says when its channel is closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// Bytes received.
    pub bytes: u64,
    /// Blocks among them whose content was not what the device sends at that position.
    pub corrupt: u64,
}

impl Receipt {
    /// Its length on the wire, in bytes.
    pub const LEN: usize = 16;

    /// Two numbers, big-endian.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        (u128::from(self.bytes) << 64 | u128::from(self.corrupt)).to_be_bytes()
    }

    /// Reads them.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self { bytes: (both >> 64) as u64, corrupt: both as u64 }
    }
}

#[cfg(test)]
mod tests;
