//! What waits to be sent over one link: messages, each a record of its own, and frames of payload.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use super::{BATCH, FRAME, HEAD};
use crate::wire::apf::{Message, kind};

/// Messages and frames to be sent. Empty, it holds no memory but what frames were made in.
#[derive(Debug, Default)]
pub struct Outbox {
    messages: VecDeque<Bytes>,
    frames: Frames,
    /// Bytes taken of what is being sent: of `frames` if `in_frames`, else of the first message.
    taken: usize,
    in_frames: bool,
    unflushed: bool,
}

impl Outbox {
    /// Puts in a message.
    pub fn say(&mut self, message: &Message<'_>) {
        self.put(message.to_bytes());
    }

    /// Puts in the bytes of a message.
    pub fn put(&mut self, message: Bytes) {
        self.messages.push_back(message);
    }

    /// Whether nothing waits, not even in the link beneath.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.frames.0.is_empty() && !self.unflushed
    }

    /// How many messages wait.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Where the next frames may be put, once those put before are sent.
    pub fn frames(&mut self) -> Option<&mut Frames> {
        (self.frames.0.is_empty() && !self.unflushed).then_some(&mut self.frames)
    }

    /// Gives back the memory that frames were made in.
    pub fn forget_frames(&mut self) {
        if self.frames.0.is_empty() {
            self.frames = Frames::default();
        }
    }

    /// Ready once the link has sent everything. A message is one write; frames are as few as may be.
    pub fn poll_send<T>(&mut self, cx: &mut Context<'_>, link: &mut T) -> Poll<io::Result<()>>
    where
        T: AsyncWrite + Unpin,
    {
        loop {
            self.in_frames |= self.messages.is_empty();
            let all = match self.messages.front() {
                Some(message) if !self.in_frames => &message[..],
                _ => &self.frames.0[..],
            };
            if all.is_empty() {
                self.in_frames = false;
                break;
            }
            let taken = ready!(Pin::new(&mut *link).poll_write(cx, &all[self.taken..]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.taken += taken;
            if self.taken == all.len() {
                self.taken = 0;
                self.sent();
            }
        }
        ready!(Pin::new(link).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// What was being sent is.
    fn sent(&mut self) {
        if self.in_frames {
            self.frames.0.clear();
            self.in_frames = false;
            return;
        }
        self.messages.pop_front();
        if self.messages.is_empty() {
            self.messages = VecDeque::new(); // an idle link holds none
        }
    }
}

/// Frames being made: CHANNEL_DATA, back to back, up to a batch.
#[derive(Debug, Default)]
pub struct Frames(Vec<u8>);

impl Frames {
    /// How much payload of a frame still fits.
    pub fn room(&self) -> usize {
        (BATCH - self.0.len()).saturating_sub(HEAD).min(FRAME)
    }

    /// Appends a frame for channel `recipient`; `payload` is at most [`Frames::room`].
    pub fn put(&mut self, recipient: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("no frame is longer than a batch");
        self.0.push(kind::CHANNEL_DATA);
        self.0.extend_from_slice(&recipient.to_be_bytes());
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(payload);
    }
}
