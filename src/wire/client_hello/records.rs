//! The record layer of a hello: one handshake message in one or more records.

use std::borrow::Cow;

use super::{MAX_LEN, NotHello};

/// Content types.
pub(super) const CHANGE_CIPHER_SPEC: u8 = 0x14;
const ALERT: u8 = 0x15;
pub(super) const HANDSHAKE: u8 = 0x16;
pub(super) const APPLICATION_DATA: u8 = 0x17;

/// First byte of a record's version, whatever the version.
pub(super) const MAJOR: u8 = 3;

const RECORD_HEAD: usize = 5;
const MESSAGE_HEAD: usize = 4;
const CLIENT_HELLO: u8 = 1;

/// A handshake message put together.
pub(super) enum Joined<'a> {
    /// Not all of it is there.
    Partial,
    /// The body behind its type and length.
    Whole(Cow<'a, [u8]>),
}

/// Puts the first handshake message of `buf` together. Copies only if it spans records.
pub(super) fn join(buf: &[u8]) -> Result<Joined<'_>, NotHello> {
    let Extent::Whole { length, single } = measure(buf)? else { return Ok(Joined::Partial) };
    let body = if single {
        Cow::Borrowed(&buf[RECORD_HEAD + MESSAGE_HEAD..][..length])
    } else {
        let mut message = Vec::with_capacity(MESSAGE_HEAD + length);
        Records(buf).map_while(Result::ok).flatten().for_each(|record| message.extend_from_slice(record));
        message.truncate(MESSAGE_HEAD + length);
        message.drain(..MESSAGE_HEAD);
        Cow::Owned(message)
    };
    Ok(Joined::Whole(body))
}

enum Extent {
    Partial,
    /// The message's body is so long, and lies in one record or not.
    Whole {
        length: usize,
        single: bool,
    },
}

fn measure(buf: &[u8]) -> Result<Extent, NotHello> {
    let mut head = [0; MESSAGE_HEAD];
    let mut seen = 0;
    for (i, record) in Records(buf).enumerate() {
        let Some(record) = record? else { break };
        for (slot, byte) in head.iter_mut().skip(seen).zip(record) {
            *slot = *byte;
        }
        seen += record.len();
        if head[0] != CLIENT_HELLO {
            return Err(NotHello::Unexpected);
        }
        if seen < MESSAGE_HEAD {
            continue;
        }
        let length = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        if length > MAX_LEN - RECORD_HEAD - MESSAGE_HEAD {
            return Err(NotHello::Malformed);
        }
        match seen.cmp(&(MESSAGE_HEAD + length)) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Ok(Extent::Whole { length, single: i == 0 }),
            // More in the same record: rustls refuses a message behind the hello in one flight.
            std::cmp::Ordering::Greater => return Err(NotHello::Unexpected),
        }
    }
    Ok(Extent::Partial)
}

/// The payloads of handshake records, in order; `None` for one that is not all there.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<Option<&'a [u8]>, NotHello>;

    fn next(&mut self) -> Option<Self::Item> {
        let buf = self.0;
        let &first = buf.first()?;
        if first == ALERT || buf.get(1).is_some_and(|major| *major != MAJOR) {
            return Some(Err(NotHello::Garbage));
        }
        if first != HANDSHAKE && buf.len() > 1 {
            return Some(Err(NotHello::Unexpected)); // the version tells it from garbage
        }
        let Some(head) = buf.first_chunk::<RECORD_HEAD>() else {
            self.0 = &[];
            return Some(Ok(None));
        };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if length == 0 {
            return Some(Err(NotHello::Malformed));
        }
        if length > MAX_LEN {
            return Some(Err(NotHello::Overflow));
        }
        match buf.get(RECORD_HEAD..RECORD_HEAD + length) {
            Some(payload) => {
                self.0 = &buf[RECORD_HEAD + length..];
                Some(Ok(Some(payload)))
            }
            None => {
                self.0 = &[];
                Some(Ok(None))
            }
        }
    }
}
