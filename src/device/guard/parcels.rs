//! Messages one behind the other in one buffer: a few bytes each, whatever their number.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A queue of messages. Not bounded by itself: the prover stops reading.
#[derive(Default)]
pub(super) struct Parcels {
    bytes: BytesMut,
    /// 32 bits each, since a message may be as short as five bytes.
    lengths: VecDeque<u32>,
}

impl Parcels {
    /// All bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn push(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        let length = u32::try_from(message.len()).expect("the framer takes no message beyond 2 MiB");
        self.lengths.push_back(length);
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let len = self.lengths.pop_front()? as usize;
        Some(self.bytes.split_to(len).freeze())
    }

    /// Takes out the first message of type `kind`, past those before it.
    pub(super) fn take_first(&mut self, kind: u8) -> Option<Bytes> {
        let mut at = 0;
        for (i, len) in self.lengths.iter().map(|len| *len as usize).enumerate() {
            if self.bytes.get(at) == Some(&kind) {
                let mut tail = self.bytes.split_off(at);
                let message = tail.split_to(len).freeze();
                self.bytes.extend_from_slice(&tail);
                self.lengths.remove(i);
                return Some(message);
            }
            at += len;
        }
        None
    }
}
