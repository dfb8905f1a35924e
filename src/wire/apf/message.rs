//! One APF message as a value, with texts and payload borrowed from the buffer it was read from.
//!
//! Read here, written in `build`.

use std::fmt;

use super::{
    CANCEL_TCPIP_FORWARD, Extent, Oversized, PASSWORD_METHOD, Preamble, TCPIP_FORWARD, UDP_SEND_TO, extent,
    kind, preamble,
};

/// A login attempt.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct UserauthRequest<'a> {
    /// User name.
    pub user: &'a [u8],
    /// Service wanted after the login: `pfwd@amt.intel.com` in every log seen.
    pub service: &'a [u8],
    /// Login method: `password` or `none`.
    pub method: &'a [u8],
    /// The password; there exactly when the method is `password`.
    pub password: Option<&'a [u8]>,
    /// The byte before the password: 0 ("this is no change of password") in every log seen. Written
    /// only with a password.
    pub change: u8,
}

impl fmt::Debug for UserauthRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.escape_ascii().to_string();
        f.debug_struct("UserauthRequest").field("method", &method).finish_non_exhaustive()
    }
}

/// A request that concerns no channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GlobalRequest<'a> {
    /// `tcpip-forward`: the device offers a port.
    Forward {
        /// Address to bind, often empty.
        address: &'a [u8],
        /// The port, 16992 and the like.
        port: u32,
    },
    /// `cancel-tcpip-forward`: the device takes a port back.
    Cancel {
        /// Address it was bound to.
        address: &'a [u8],
        /// The port.
        port: u32,
    },
    /// `udp-send-to@amt.intel.com`: a datagram. Servers swallow it.
    Datagram {
        /// Where it goes.
        destination: (&'a [u8], u32),
        /// Where it comes from.
        origin: (&'a [u8], u32),
        /// What it carries.
        data: &'a [u8],
    },
    /// Any other name. MPS reads whatever follows as a new message.
    Other {
        /// The name.
        name: &'a [u8],
    },
}

/// The wish for a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChannelOpen<'a> {
    /// `forwarded-tcpip` from a server, `direct-tcpip` from a device.
    pub channel_type: &'a [u8],
    /// The opener's number of the channel.
    pub sender: u32,
    /// The opener's receive window, in bytes.
    pub window: u32,
    /// Address wanted, often empty.
    pub address: &'a [u8],
    /// Port wanted: 16992 WSMAN, 16994 redirection.
    pub port: u32,
    /// Who wants it, by address.
    pub origin: &'a [u8],
    /// Who wants it, by port.
    pub origin_port: u32,
}

/// One APF message. The number in channel messages is always the *receiver's* channel number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Message<'a> {
    /// Ends the session.
    Disconnect {
        /// Why: 1 to 18.
        reason: u32,
    },
    /// Asks for a service.
    ServiceRequest {
        /// Its name.
        service: &'a [u8],
    },
    /// Grants a service.
    ServiceAccept {
        /// Its name.
        service: &'a [u8],
    },
    /// Logs in.
    UserauthRequest(UserauthRequest<'a>),
    /// Refuses a login.
    UserauthFailure {
        /// Methods that may go on: `password`.
        methods: &'a [u8],
        /// Whether a second zero byte follows, as MPS and MeshCentral write it (15 bytes), or not,
        /// as Console does (14).
        padded: bool,
    },
    /// Accepts a login.
    UserauthSuccess,
    /// Offers a port and the like.
    GlobalRequest(GlobalRequest<'a>),
    /// Accepts `tcpip-forward`.
    ForwardSuccess {
        /// The port.
        port: u32,
    },
    /// Accepts `cancel-tcpip-forward`: one byte, so never read back: only the history of requests
    /// tells it from [`Message::ForwardSuccess`].
    CancelSuccess,
    /// Refuses a global request.
    RequestFailure,
    /// Opens a channel.
    ChannelOpen(ChannelOpen<'a>),
    /// Grants a channel.
    ChannelOpenConfirmation {
        /// The opener's number.
        recipient: u32,
        /// The granter's number.
        sender: u32,
        /// The granter's receive window, in bytes.
        window: u32,
    },
    /// Refuses a channel.
    ChannelOpenFailure {
        /// The opener's number.
        recipient: u32,
        /// Why: 1 prohibited, 2 connect failed, 3 unknown type, 4 shortage.
        reason: u32,
    },
    /// Grants more window.
    ChannelWindowAdjust {
        /// The receiver's number.
        recipient: u32,
        /// How much more, in bytes.
        bytes: u32,
    },
    /// Payload.
    ChannelData {
        /// The receiver's number.
        recipient: u32,
        /// The payload.
        data: &'a [u8],
    },
    /// Closes a channel; answered by the same once.
    ChannelClose {
        /// The receiver's number.
        recipient: u32,
    },
    /// The first message of a device.
    ProtocolVersion(Preamble),
    /// Sign of life.
    KeepaliveRequest {
        /// Comes back in the reply.
        cookie: u32,
    },
    /// Answer to a sign of life.
    KeepaliveReply {
        /// That of the request.
        cookie: u32,
    },
    /// Asks for signs of life.
    KeepaliveOptionsRequest {
        /// How often, in seconds.
        interval: u32,
        /// How long a silence may last, in seconds; MPS asks for 0.
        timeout: u32,
    },
    /// Says what is in force.
    KeepaliveOptionsReply {
        /// How often, in seconds.
        interval: u32,
        /// How long a silence may last, in seconds.
        timeout: u32,
    },
    /// MeshCentral's own.
    JsonControl {
        /// JSON text.
        json: &'a [u8],
    },
}

/// No APF message begins like this.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotMessage {
    /// Longer than any server accepts.
    #[error(transparent)]
    Oversized(#[from] Oversized),
    /// A type byte nobody knows.
    #[error("unknown message type {0}")]
    Unknown(u8),
}

impl<'a> Message<'a> {
    /// Reads the message at the head of `buf`: the message and its length in bytes.
    /// `Ok(None)` means "so far so good, need more bytes".
    ///
    /// USERAUTH_FAILURE takes a second zero byte along if it is already there; one that comes later
    /// looks like an unknown type 0.
    pub fn parse(buf: &'a [u8]) -> Result<Option<(Self, usize)>, NotMessage> {
        let len = match extent(buf)? {
            Extent::Partial => return Ok(None),
            Extent::Unknown(kind) => return Err(NotMessage::Unknown(kind)),
            Extent::Whole(len) => len,
        };
        let Some((&kind, body)) = buf[..len].split_first() else { return Ok(None) };
        let padded = kind == kind::USERAUTH_FAILURE && buf.get(len) == Some(&0);
        let message = Self::read(kind, &mut Fields(body), padded);
        Ok(message.map(|message| (message, len + usize::from(padded))))
    }

    /// Reads the fields behind the type byte; `None` cannot happen on a body the framer measured.
    fn read(kind: u8, f: &mut Fields<'a>, padded: bool) -> Option<Self> {
        Some(match kind {
            kind::DISCONNECT => Self::Disconnect { reason: f.number()? },
            kind::SERVICE_REQUEST => Self::ServiceRequest { service: f.text()? },
            kind::SERVICE_ACCEPT => Self::ServiceAccept { service: f.text()? },
            kind::USERAUTH_REQUEST => Self::UserauthRequest(f.userauth()?),
            kind::USERAUTH_FAILURE => Self::UserauthFailure { methods: f.text()?, padded },
            kind::USERAUTH_SUCCESS => Self::UserauthSuccess,
            kind::GLOBAL_REQUEST => Self::GlobalRequest(f.global_request()?),
            kind::REQUEST_SUCCESS => Self::ForwardSuccess { port: f.number()? },
            kind::REQUEST_FAILURE => Self::RequestFailure,
            kind::CHANNEL_OPEN => Self::ChannelOpen(f.channel_open()?),
            kind::CHANNEL_OPEN_CONFIRMATION => Self::ChannelOpenConfirmation {
                recipient: f.number()?,
                sender: f.number()?,
                window: f.number()?,
            },
            kind::CHANNEL_OPEN_FAILURE => {
                Self::ChannelOpenFailure { recipient: f.number()?, reason: f.number()? }
            }
            kind::CHANNEL_WINDOW_ADJUST => {
                Self::ChannelWindowAdjust { recipient: f.number()?, bytes: f.number()? }
            }
            kind::CHANNEL_DATA => Self::ChannelData { recipient: f.number()?, data: f.text()? },
            kind::CHANNEL_CLOSE => Self::ChannelClose { recipient: f.number()? },
            kind::PROTOCOL_VERSION => Self::ProtocolVersion(f.preamble()?),
            kind::KEEPALIVE_REQUEST => Self::KeepaliveRequest { cookie: f.number()? },
            kind::KEEPALIVE_REPLY => Self::KeepaliveReply { cookie: f.number()? },
            kind::KEEPALIVE_OPTIONS_REQUEST => {
                Self::KeepaliveOptionsRequest { interval: f.number()?, timeout: f.number()? }
            }
            kind::KEEPALIVE_OPTIONS_REPLY => {
                Self::KeepaliveOptionsReply { interval: f.number()?, timeout: f.number()? }
            }
            kind::JSON_CONTROL => Self::JsonControl { json: f.text()? },
            _ => return None,
        })
    }
}

impl<'a> UserauthRequest<'a> {
    /// A login by password for port forwarding, as every device sends it.
    pub fn password(user: &'a [u8], password: &'a [u8]) -> Self {
        Self {
            user,
            service: super::PFWD_SERVICE,
            method: PASSWORD_METHOD,
            password: Some(password),
            change: 0,
        }
    }
}

/// What is left of a message's body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4)?.first_chunk().copied().map(u32::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        self.take(usize::try_from(len).ok()?)
    }

    fn userauth(&mut self) -> Option<UserauthRequest<'a>> {
        let (user, service, method) = (self.text()?, self.text()?, self.text()?);
        if method != PASSWORD_METHOD {
            return Some(UserauthRequest { user, service, method, password: None, change: 0 });
        }
        let change = self.byte()?;
        Some(UserauthRequest { user, service, method, password: Some(self.text()?), change })
    }

    fn global_request(&mut self) -> Option<GlobalRequest<'a>> {
        let name = self.text()?;
        self.byte()?; // whether a reply is wanted: nobody reads it
        Some(match name {
            TCPIP_FORWARD => GlobalRequest::Forward { address: self.text()?, port: self.number()? },
            CANCEL_TCPIP_FORWARD => GlobalRequest::Cancel { address: self.text()?, port: self.number()? },
            UDP_SEND_TO => GlobalRequest::Datagram {
                destination: (self.text()?, self.number()?),
                origin: (self.text()?, self.number()?),
                data: self.text()?,
            },
            _ => GlobalRequest::Other { name },
        })
    }

    fn channel_open(&mut self) -> Option<ChannelOpen<'a>> {
        let channel_type = self.text()?;
        let (sender, window) = (self.number()?, self.number()?);
        self.take(4)?; // reserved
        let (address, port) = (self.text()?, self.number()?);
        let (origin, origin_port) = (self.text()?, self.number()?);
        Some(ChannelOpen { channel_type, sender, window, address, port, origin, origin_port })
    }

    fn preamble(&mut self) -> Option<Preamble> {
        let mut message = [kind::PROTOCOL_VERSION; super::PREAMBLE_LEN];
        message[1..].copy_from_slice(self.take(super::PREAMBLE_LEN - 1)?);
        preamble(&message).ok().flatten()
    }
}
