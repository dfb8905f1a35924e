//! Messages out of records: small ones whole, payload as it comes and without being gathered.

use bytes::BytesMut;

use super::HEAD;
use crate::wire::apf::{MAX_DATA, Message, NotMessage, kind};

/// Payload of one CHANNEL_DATA on its way.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    channel: u32,
    left: usize,
}

impl Payload {
    /// Between messages.
    pub const NONE: Self = Self { channel: 0, left: 0 };

    /// Takes from the head of `bytes` what belongs to a CHANNEL_DATA for a channel that `wanted` says yes
    /// to: channel and piece. `None`: something else, or too little to tell, is at its head.
    pub fn next<'a>(
        &mut self,
        bytes: &mut &'a [u8],
        wanted: impl Fn(u32) -> bool,
    ) -> Option<(u32, &'a [u8])> {
        if self.left == 0 {
            let head = bytes.first_chunk::<HEAD>().filter(|head| head[0] == kind::CHANNEL_DATA)?;
            let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (channel, length) = (number(1), number(5));
            if length > MAX_DATA || !wanted(channel) {
                return None;
            }
            *bytes = &bytes[HEAD..];
            *self = Self { channel, left: length as usize };
        }
        if bytes.is_empty() {
            return None;
        }
        let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
        *bytes = rest;
        self.left -= piece.len();
        Some((self.channel, piece))
    }
}

/// What was heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard<'a> {
    /// Part of the payload for a channel.
    Data(u32, &'a [u8]),
    /// Any other message.
    Message(Message<'a>),
}

/// Reads a server's messages. Holds nothing between messages.
#[derive(Debug)]
pub struct Feed {
    payload: Payload,
    /// Beginning of a message that is not yet whole.
    held: BytesMut,
    /// A refused login was heard, and a zero byte that belongs to it may follow.
    padding: bool,
}

impl Default for Feed {
    fn default() -> Self {
        Self { payload: Payload::NONE, held: BytesMut::new(), padding: false }
    }
}

impl Feed {
    /// Hands everything in `record` to `hear`, in order. What is not whole is kept for the next record.
    pub fn take<E: From<NotMessage>>(
        &mut self,
        record: &[u8],
        mut hear: impl FnMut(Heard<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return self.read(record, &mut hear);
        }
        let mut both = held;
        both.extend_from_slice(record);
        self.read(&both, &mut hear)
    }

    fn read<E: From<NotMessage>>(
        &mut self,
        mut bytes: &[u8],
        hear: &mut impl FnMut(Heard<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            while let Some((channel, piece)) = self.payload.next(&mut bytes, |_| true) {
                hear(Heard::Data(channel, piece))?;
            }
            if self.padding && bytes.first() == Some(&0) {
                bytes = &bytes[1..];
            }
            self.padding &= bytes.is_empty();
            let Some((message, length)) = Message::parse(bytes)? else { break };
            self.padding = matches!(message, Message::UserauthFailure { padded: false, .. });
            bytes = &bytes[length..];
            hear(Heard::Message(message))?;
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}
