//! The bytes of APF messages: what simulators and tests send. The gateway itself sends none.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    CANCEL_TCPIP_FORWARD, ChannelOpen, GlobalRequest, Message, TCPIP_FORWARD, UDP_SEND_TO, UserauthRequest,
    kind,
};

/// What servers and devices write where SSH has the largest packet size.
const NO_LIMIT: u32 = u32::MAX;

impl Message<'_> {
    /// The bytes of this message, to be written as one TLS record.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(128);
        self.put(&mut out);
        out.freeze()
    }

    /// Appends the bytes of this message.
    pub fn put(&self, out: &mut BytesMut) {
        match *self {
            Self::Disconnect { reason } => {
                numbers(out, kind::DISCONNECT, &[reason]);
                out.put_u16(0);
            }
            Self::ServiceRequest { service } => named(out, kind::SERVICE_REQUEST, service),
            Self::ServiceAccept { service } => named(out, kind::SERVICE_ACCEPT, service),
            Self::UserauthRequest(request) => request.put(out),
            Self::UserauthFailure { methods, padded } => {
                named(out, kind::USERAUTH_FAILURE, methods);
                out.put_bytes(0, 1 + usize::from(padded));
            }
            Self::UserauthSuccess => out.put_u8(kind::USERAUTH_SUCCESS),
            Self::GlobalRequest(request) => request.put(out),
            Self::ForwardSuccess { port } => numbers(out, kind::REQUEST_SUCCESS, &[port]),
            Self::CancelSuccess => out.put_u8(kind::REQUEST_SUCCESS),
            Self::RequestFailure => out.put_u8(kind::REQUEST_FAILURE),
            Self::ChannelOpen(open) => open.put(out),
            Self::ChannelOpenConfirmation { recipient, sender, window } => {
                numbers(out, kind::CHANNEL_OPEN_CONFIRMATION, &[recipient, sender, window, NO_LIMIT]);
            }
            Self::ChannelOpenFailure { recipient, reason } => {
                numbers(out, kind::CHANNEL_OPEN_FAILURE, &[recipient, reason, 0, 0]);
            }
            Self::ChannelWindowAdjust { recipient, bytes } => {
                numbers(out, kind::CHANNEL_WINDOW_ADJUST, &[recipient, bytes]);
            }
            Self::ChannelData { recipient, data } => {
                numbers(out, kind::CHANNEL_DATA, &[recipient]);
                text(out, data);
            }
            Self::ChannelClose { recipient } => numbers(out, kind::CHANNEL_CLOSE, &[recipient]),
            Self::ProtocolVersion(preamble) => out.put_slice(&preamble.to_bytes()),
            Self::KeepaliveRequest { cookie } => numbers(out, kind::KEEPALIVE_REQUEST, &[cookie]),
            Self::KeepaliveReply { cookie } => numbers(out, kind::KEEPALIVE_REPLY, &[cookie]),
            Self::KeepaliveOptionsRequest { interval, timeout } => {
                numbers(out, kind::KEEPALIVE_OPTIONS_REQUEST, &[interval, timeout]);
            }
            Self::KeepaliveOptionsReply { interval, timeout } => {
                numbers(out, kind::KEEPALIVE_OPTIONS_REPLY, &[interval, timeout]);
            }
            Self::JsonControl { json } => named(out, kind::JSON_CONTROL, json),
        }
    }
}

impl UserauthRequest<'_> {
    fn put(&self, out: &mut BytesMut) {
        named(out, kind::USERAUTH_REQUEST, self.user);
        text(out, self.service);
        text(out, self.method);
        if let Some(password) = self.password {
            out.put_u8(self.change);
            text(out, password);
        }
    }
}

impl GlobalRequest<'_> {
    fn put(&self, out: &mut BytesMut) {
        let name = match self {
            Self::Forward { .. } => TCPIP_FORWARD,
            Self::Cancel { .. } => CANCEL_TCPIP_FORWARD,
            Self::Datagram { .. } => UDP_SEND_TO,
            Self::Other { name } => name,
        };
        named(out, kind::GLOBAL_REQUEST, name);
        out.put_u8(1); // a reply is wanted; all servers reply anyway
        match *self {
            Self::Forward { address, port } | Self::Cancel { address, port } => {
                text(out, address);
                out.put_u32(port);
            }
            Self::Datagram { destination, origin, data } => {
                text(out, destination.0);
                out.put_u32(destination.1);
                text(out, origin.0);
                out.put_u32(origin.1);
                text(out, data);
            }
            Self::Other { .. } => {}
        }
    }
}

impl ChannelOpen<'_> {
    fn put(&self, out: &mut BytesMut) {
        named(out, kind::CHANNEL_OPEN, self.channel_type);
        out.put_u32(self.sender);
        out.put_u32(self.window);
        out.put_u32(NO_LIMIT);
        text(out, self.address);
        out.put_u32(self.port);
        text(out, self.origin);
        out.put_u32(self.origin_port);
    }
}

fn numbers(out: &mut BytesMut, kind: u8, numbers: &[u32]) {
    out.put_u8(kind);
    numbers.iter().for_each(|n| out.put_u32(*n));
}

fn named(out: &mut BytesMut, kind: u8, name: &[u8]) {
    out.put_u8(kind);
    text(out, name);
}

/// A length and the bytes.
fn text(out: &mut BytesMut, text: &[u8]) {
    out.put_u32(u32::try_from(text.len()).expect("whoever builds a message knows its limits"));
    out.put_slice(text);
}
