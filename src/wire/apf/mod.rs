//! APF, the Intel AMT Port Forwarding protocol: messages as values.
//!
//! There is no outer framing: the type byte decides how long a message is. [`Framer`] finds where
//! messages end without keeping them, [`Message`] is one of them as a value, [`preamble`] the first
//! message of a device. All integers are unsigned and big-endian; texts are byte strings, since
//! nobody promises UTF-8.

mod build;
mod framer;
mod message;

pub use framer::{Event, Extent, Framer, MAX_DATA, MAX_MESSAGE, MAX_TEXT, Oversized, extent};
pub use message::{ChannelOpen, GlobalRequest, Message, NotMessage, UserauthRequest};

use crate::model::DeviceId;

/// Length of PROTOCOL_VERSION, the first message of a device, in bytes.
pub const PREAMBLE_LEN: usize = 93;

/// The service a device asks for first.
pub const AUTH_SERVICE: &[u8] = b"auth@amt.intel.com";

/// The service a device asks for once it is known.
pub const PFWD_SERVICE: &[u8] = b"pfwd@amt.intel.com";

/// The only login method servers implement.
pub const PASSWORD_METHOD: &[u8] = b"password";

/// The global request by which a device offers a port.
pub const TCPIP_FORWARD: &[u8] = b"tcpip-forward";

/// The global request by which a device takes a port back.
pub const CANCEL_TCPIP_FORWARD: &[u8] = b"cancel-tcpip-forward";

/// The global request that carries a datagram.
pub const UDP_SEND_TO: &[u8] = b"udp-send-to@amt.intel.com";

/// Type bytes: the first byte of every message.
pub mod kind {
    /// Ends a session. MPS unregisters the device, whoever sends it.
    pub const DISCONNECT: u8 = 1;
    /// Device asks for a service.
    pub const SERVICE_REQUEST: u8 = 5;
    /// Answer to [`SERVICE_REQUEST`].
    pub const SERVICE_ACCEPT: u8 = 6;
    /// Device logs in.
    pub const USERAUTH_REQUEST: u8 = 50;
    /// The login failed.
    pub const USERAUTH_FAILURE: u8 = 51;
    /// The login succeeded: *proof*.
    pub const USERAUTH_SUCCESS: u8 = 52;
    /// Device offers a port, takes one back or sends a datagram.
    pub const GLOBAL_REQUEST: u8 = 80;
    /// Answer to [`GLOBAL_REQUEST`].
    pub const REQUEST_SUCCESS: u8 = 81;
    /// Answer to [`GLOBAL_REQUEST`].
    pub const REQUEST_FAILURE: u8 = 82;
    /// Opens a channel.
    pub const CHANNEL_OPEN: u8 = 90;
    /// Answer to [`CHANNEL_OPEN`].
    pub const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
    /// Answer to [`CHANNEL_OPEN`].
    pub const CHANNEL_OPEN_FAILURE: u8 = 92;
    /// Grants more window.
    pub const CHANNEL_WINDOW_ADJUST: u8 = 93;
    /// Payload of a channel.
    pub const CHANNEL_DATA: u8 = 94;
    /// Closes a channel.
    pub const CHANNEL_CLOSE: u8 = 97;
    /// First message of a device.
    pub const PROTOCOL_VERSION: u8 = 192;
    /// Sign of life.
    pub const KEEPALIVE_REQUEST: u8 = 208;
    /// Answer to [`KEEPALIVE_REQUEST`].
    pub const KEEPALIVE_REPLY: u8 = 209;
    /// Server asks for signs of life at an interval.
    pub const KEEPALIVE_OPTIONS_REQUEST: u8 = 210;
    /// Answer to [`KEEPALIVE_OPTIONS_REQUEST`].
    pub const KEEPALIVE_OPTIONS_REPLY: u8 = 211;
    /// MeshCentral's own, never sent by AMT.
    pub const JSON_CONTROL: u8 = 250;
}

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

impl Preamble {
    /// The 93 bytes of this message, reserved bytes zero.
    pub fn to_bytes(self) -> [u8; PREAMBLE_LEN] {
        let mut out = [0; PREAMBLE_LEN];
        out[0] = kind::PROTOCOL_VERSION;
        out[1..5].copy_from_slice(&self.major.to_be_bytes());
        out[5..9].copy_from_slice(&self.minor.to_be_bytes());
        out[9..13].copy_from_slice(&self.trigger.to_be_bytes());
        out[13..29].copy_from_slice(&self.device.to_wire());
        out
    }
}

/// The first byte is not that of PROTOCOL_VERSION.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("first byte {0} is not PROTOCOL_VERSION")]
pub struct Unexpected(pub u8);

/// Reads the preamble at the head of `buf`. `Ok(None)` means "so far so good, need more bytes".
pub fn preamble(buf: &[u8]) -> Result<Option<Preamble>, Unexpected> {
    match buf.first() {
        None => return Ok(None),
        Some(&kind::PROTOCOL_VERSION) => {}
        Some(&other) => return Err(Unexpected(other)),
    }
    let Some(message) = buf.first_chunk::<PREAMBLE_LEN>() else { return Ok(None) };
    let number =
        |at: usize| u32::from_be_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]);
    let mut guid = [0; 16];
    guid.copy_from_slice(&message[13..29]);
    Ok(Some(Preamble {
        major: number(1),
        minor: number(5),
        trigger: number(9),
        device: DeviceId::from_wire(guid),
    }))
}

/// What the first bytes inside TLS are the beginning of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FirstWord {
    /// HTTP `GET`: somebody looks at the port with a browser, or a probe does.
    Get,
    /// HTTP `HEAD`: a probe.
    Head,
    /// PROTOCOL_VERSION: a device. Not yet whole; [`preamble`] reads it.
    Preamble,
}

/// Tells a device from a look with a browser, as MPS does (`mpsserver.ts` looks for `GET`).
/// `Ok(None)` means "so far so good, need more bytes": at most four are ever needed.
pub fn first_word(buf: &[u8]) -> Result<Option<FirstWord>, Unexpected> {
    const WORDS: [(&[u8], FirstWord); 3] = [
        (&[kind::PROTOCOL_VERSION], FirstWord::Preamble),
        (b"GET", FirstWord::Get),
        (b"HEAD", FirstWord::Head),
    ];
    let Some(&first) = buf.first() else { return Ok(None) };
    if let Some((_, word)) = WORDS.iter().find(|(text, _)| buf.starts_with(text)) {
        return Ok(Some(*word));
    }
    if WORDS.iter().any(|(text, _)| text.starts_with(buf)) { Ok(None) } else { Err(Unexpected(first)) }
}

#[cfg(test)]
mod tests;
