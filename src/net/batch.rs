//! Records end to end, and the buffers that all streams of a thread share.
//!
//! One system call for many records is what makes bulk cheap, so a relay reads as much as there is and
//! writes it at once. Nobody keeps the room for that while it waits.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{io, iter};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that one TLS record carries, at most.
pub const RECORD: usize = 16 * 1024;
/// What is read at once for one record: with what TLS adds, and most of the next.
pub const READ: usize = 2 * RECORD;

thread_local! {
    /// A stream that waits for bytes holds no memory.
    static SHARED: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// What all streams of a thread share, since none of them keeps it while it waits.
#[derive(Default)]
pub struct Scratch {
    /// Bytes as they are on the wire: read and not yet decrypted, or encrypted and not yet sent.
    /// Longer than what is in use: it is not cleared each time.
    pub(super) wire: Vec<u8>,
    /// Records in clear.
    pub batch: Batch,
}

/// Lends the thread's buffers, with an empty batch of at most `records`, for which about `bytes` are read.
pub(super) fn with_scratch<R>(bytes: usize, records: usize, work: impl FnOnce(&mut Scratch) -> R) -> R {
    // Taken, not borrowed: should `work` come here again, it gets others.
    let mut scratch = SHARED.take();
    scratch.batch.begin(bytes, records);
    let result = work(&mut scratch);
    SHARED.replace(scratch);
    result
}

/// Records, end to end.
#[derive(Default)]
pub struct Batch {
    /// Longer than what is in use.
    room: Vec<u8>,
    len: usize,
    /// Where each record ends.
    ends: Vec<usize>,
    bytes_wanted: usize,
    records_wanted: usize,
}

impl Batch {
    fn begin(&mut self, bytes: usize, records: usize) {
        self.truncate(0);
        self.bytes_wanted = bytes;
        self.records_wanted = records;
    }

    /// All records as one.
    pub fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    /// Each record.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        let begins = iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.room[begin..end])
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Leaves the first `records`.
    pub fn truncate(&mut self, records: usize) {
        self.ends.truncate(records);
        self.len = self.ends.last().copied().unwrap_or(0);
    }

    /// Bytes to be read at once, about.
    pub(super) fn bytes_wanted(&self) -> usize {
        self.bytes_wanted
    }

    /// Whether it takes another record.
    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= self.records_wanted
    }

    /// Appends a record; an empty one is none.
    pub fn push(&mut self, record: &[u8]) {
        if record.is_empty() {
            return;
        }
        let begin = self.len;
        self.ready(begin + record.len()).copy_from_slice(record);
        self.ends.push(self.len);
    }

    /// Reads once, from a stream that has no records, not more than those wanted would carry; nothing at
    /// its end.
    pub(super) fn poll_fill<T: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut T,
    ) -> Poll<io::Result<()>> {
        let most = self.bytes_wanted.min(self.records_wanted.saturating_mul(RECORD));
        if self.room.len() < most {
            self.room.resize(most, 0);
        }
        let mut buf = ReadBuf::new(&mut self.room[..most]);
        ready!(Pin::new(from).poll_read(cx, &mut buf))?;
        self.len = buf.filled().len();
        self.ends.extend((self.len > 0).then_some(self.len));
        Poll::Ready(Ok(()))
    }

    /// Grows to `len` bytes; the new ones are to be filled.
    fn ready(&mut self, len: usize) -> &mut [u8] {
        if self.room.len() < len {
            self.room.resize(len, 0);
        }
        let begin = std::mem::replace(&mut self.len, len);
        &mut self.room[begin..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in_and_leave_from_the_back() {
        with_scratch(RECORD, 3, |scratch| {
            let batch = &mut scratch.batch;
            for record in [&b"one"[..], b"", b"three"] {
                assert!(batch.is_empty() || !batch.is_full());
                batch.push(record);
            }
            assert_eq!(batch.records().collect::<Vec<_>>(), [&b"one"[..], b"three"]);
            assert!(!batch.is_full(), "an empty record is none");
            batch.push(b"4");
            assert!(batch.is_full());
            assert_eq!(batch.bytes(), b"onethree4");
            batch.truncate(1);
            assert_eq!((batch.bytes(), batch.is_empty()), (&b"one"[..], false));
        });
        with_scratch(RECORD, 3, |scratch| assert!(scratch.batch.is_empty(), "the next begins anew"));
    }

    #[test]
    fn a_borrower_within_a_borrower_has_buffers_of_its_own() {
        with_scratch(RECORD, 1, |outer| {
            outer.batch.push(b"outer");
            with_scratch(RECORD, 1, |inner| inner.batch.push(b"in"));
            assert_eq!(outer.batch.bytes(), b"outer");
        });
    }
}
