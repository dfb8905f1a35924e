//! One direction of a channel: who makes its content, and who checks it, within the window.

use super::outbox::Frames;
use super::pattern::Position;

/// Sends the pattern as the other side's window allows.
#[derive(Debug)]
pub struct Source {
    recipient: u32,
    credit: u64,
    /// Bytes still to be sent.
    left: u64,
    position: Position,
}

impl Source {
    /// Sends `length` bytes (`u64::MAX`: without end) to channel `recipient`, which takes `window` at first.
    pub fn new(recipient: u32, window: u32, length: u64, position: Position) -> Self {
        Self { recipient, credit: window.into(), left: length, position }
    }

    /// The other side takes so many bytes more.
    pub fn credited(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(bytes.into());
    }

    /// Sends so many bytes more.
    pub fn extend(&mut self, bytes: u64) {
        self.left = self.left.saturating_add(bytes);
    }

    /// Sends no more than it did.
    pub fn end(&mut self) {
        self.left = 0;
    }

    /// Whether all is sent.
    pub const fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Makes frames while there is room, window and something to send: how many bytes of payload.
    pub fn fill(&mut self, frames: &mut Frames) -> u64 {
        let mut filled = 0;
        loop {
            let most = self.credit.min(self.left).min(frames.room() as u64);
            if most == 0 {
                return filled;
            }
            let payload = self.position.next(most as usize); // a frame at most
            frames.put(self.recipient, payload);
            self.credit -= most;
            self.left -= most;
            filled += most;
        }
    }
}

/// Checks what comes, and says when the sender is to have more window.
#[derive(Debug)]
pub struct Sink {
    position: Position,
    window: u32,
    /// Received since credit was last returned.
    owed: u32,
    received: u64,
    corrupt: u64,
}

impl Sink {
    /// Expects the pattern from `position` on; `window` was granted.
    pub const fn new(window: u32, position: Position) -> Self {
        Self { position, window, owed: 0, received: 0, corrupt: 0 }
    }

    /// The next bytes: whether they were right.
    pub fn take(&mut self, piece: &[u8]) -> bool {
        let right = self.position.is_next(piece);
        self.corrupt += u64::from(!right);
        self.received += piece.len() as u64;
        self.owed = self.owed.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        right
    }

    /// Window to be returned now: once more than half of it is used, as MPS does.
    pub fn credit(&mut self) -> Option<u32> {
        (self.owed > self.window / 2).then(|| std::mem::take(&mut self.owed))
    }

    /// Bytes received.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Pieces that were not right.
    pub const fn corrupt(&self) -> u64 {
        self.corrupt
    }
}
