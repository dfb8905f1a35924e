//! Content that depends on its position and on the device: made and checked at the speed of memory.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::model::DeviceId;

/// The pattern repeats after so many bytes. A prime: neither records nor pages nor blocks divide it,
/// so that one lost, doubled or exchanged never fits.
const PERIOD: usize = 65_521;

/// What is compared or lent at once, at most, in bytes.
const LONGEST: usize = 16 * 1024;

/// The pattern. Cheap to clone: all share one table.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// One period, and enough of the next that no slice has to be put together.
    table: Arc<[u8]>,
}

impl Default for Pattern {
    fn default() -> Self {
        Self::new()
    }
}

impl Pattern {
    /// The same for everybody.
    pub fn new() -> Self {
        let byte = |at: usize| xxh3_64(&(at % PERIOD).to_le_bytes()) as u8;
        Self { table: (0..PERIOD + LONGEST).map(byte).collect() }
    }

    /// The first byte of what `device` sends, and of what is sent to it.
    pub fn of(&self, device: DeviceId) -> Position {
        let start = xxh3_64(device.as_bytes()) % PERIOD as u64;
        Position { table: Arc::clone(&self.table), at: start as usize }
    }
}

/// A place in the content of a device.
#[derive(Clone, Debug)]
pub struct Position {
    table: Arc<[u8]>,
    at: usize,
}

impl Position {
    /// The next bytes: `most` of them, or 16 KiB if that is less.
    pub fn next(&mut self, most: usize) -> &[u8] {
        let length = most.min(LONGEST);
        let next = &self.table[self.at..self.at + length];
        self.at = (self.at + length) % PERIOD;
        next
    }

    /// Whether `bytes` are the next ones. Goes on behind them either way.
    pub fn is_next(&mut self, bytes: &[u8]) -> bool {
        let mut right = true;
        for piece in bytes.chunks(LONGEST) {
            right &= self.next(piece.len()) == piece;
        }
        right
    }
}
