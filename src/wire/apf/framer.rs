//! Finds where APF messages begin and end, in any chunks, without keeping them.
//!
//! It delimits as MPS does (`APFProcessor.ts`): whoever disagreed with MPS about where a message
//! ends could be shown a DISCONNECT as payload. What it carries over a chunk border is bounded by a
//! few bytes of header; a length on the wire is counted down, never allocated.

use super::{CANCEL_TCPIP_FORWARD, PASSWORD_METHOD, TCPIP_FORWARD, UDP_SEND_TO, kind};

/// Longest message other than CHANNEL_DATA, in bytes, type byte included.
pub const MAX_MESSAGE: u32 = 4096;

/// Longest single text in a message, in bytes: MPS closes on longer ones.
pub const MAX_TEXT: u32 = 2048;

/// Longest payload of one CHANNEL_DATA, in bytes: MPS closes on longer ones.
pub const MAX_DATA: u32 = 1_048_576;

/// A message is longer than MPS itself accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("message of type {kind} is longer than any server accepts")]
pub struct Oversized {
    /// The message's type byte.
    pub kind: u8,
}

/// What the framer came upon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A message of this type begins; its type byte was just consumed.
    Begin(u8),
    /// The message that began is complete.
    End,
    /// A type nobody knows, so nobody knows its length: nothing behind it can be delimited.
    Unknown(u8),
}

/// What lies between the type byte and the end of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    /// So many bytes of no interest.
    Fixed(u32),
    /// A length and so many bytes; at most [`MAX_TEXT`].
    Text,
    /// A length and so many bytes, bounded by [`MAX_MESSAGE`] only.
    Long,
    /// A length and so many bytes; at most [`MAX_DATA`].
    Data,
    /// A text that decides what follows it.
    Name,
}

use Part::{Data, Fixed, Long, Name, Text};

/// Longest name that decides what follows it, in bytes.
const MAX_NAME: usize = UDP_SEND_TO.len();

/// The parts of a message of type `kind`; `None`: nobody knows.
const fn parts(kind: u8) -> Option<&'static [Part]> {
    Some(match kind {
        kind::USERAUTH_SUCCESS | kind::REQUEST_FAILURE => &[],
        // Not self-delimiting: this is the answer to tcpip-forward. No device ever sends one.
        kind::REQUEST_SUCCESS => &[Fixed(4)],
        kind::CHANNEL_CLOSE | kind::KEEPALIVE_REQUEST | kind::KEEPALIVE_REPLY => &[Fixed(4)],
        kind::DISCONNECT => &[Fixed(6)],
        kind::CHANNEL_WINDOW_ADJUST | kind::KEEPALIVE_OPTIONS_REQUEST | kind::KEEPALIVE_OPTIONS_REPLY => {
            &[Fixed(8)]
        }
        kind::CHANNEL_OPEN_CONFIRMATION | kind::CHANNEL_OPEN_FAILURE => &[Fixed(16)],
        kind::PROTOCOL_VERSION => &[Fixed(92)],
        kind::SERVICE_REQUEST | kind::SERVICE_ACCEPT => &[Text],
        kind::USERAUTH_REQUEST => &[Text, Text, Name],
        // Servers add a second zero byte or not; whoever cares looks for it behind the message.
        kind::USERAUTH_FAILURE => &[Text, Fixed(1)],
        kind::GLOBAL_REQUEST => &[Name],
        kind::CHANNEL_OPEN => &[Text, Fixed(12), Text, Fixed(4), Text, Fixed(4)],
        kind::CHANNEL_DATA => &[Fixed(4), Data],
        kind::JSON_CONTROL => &[Long],
        _ => return None,
    })
}

/// What follows the name in a message of type `kind`.
fn after_name(kind: u8, name: &[u8]) -> &'static [Part] {
    match (kind, name) {
        (kind::USERAUTH_REQUEST, PASSWORD_METHOD) => &[Fixed(1), Text],
        (kind::USERAUTH_REQUEST, _) => &[],
        (_, TCPIP_FORWARD | CANCEL_TCPIP_FORWARD) => &[Fixed(1), Text, Fixed(4)],
        (_, UDP_SEND_TO) => &[Fixed(1), Text, Fixed(4), Text, Fixed(4), Long],
        // MPS consumes the name and one byte, then reads whatever follows as a new message.
        _ => &[Fixed(1)],
    }
}

/// Where in a message the framer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Before a type byte.
    Between,
    /// Before the next part, after `skip` more bytes.
    Inside,
    /// In the length of a part.
    Length(Part),
    /// In a name of this length that may decide what follows.
    Name(u8),
    /// Behind an unknown type.
    Lost,
}

/// Follows a stream of APF messages, chunk by chunk. Small, and allocates nothing.
#[derive(Clone, Debug)]
pub struct Framer {
    state: State,
    kind: u8,
    parts: &'static [Part],
    /// Bytes of no interest still to come before the next part.
    skip: u32,
    /// Length of the message so far, as far as it is known, in bytes; payload of CHANNEL_DATA left out.
    length: u32,
    held: [u8; MAX_NAME],
    have: u8,
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl Framer {
    /// At the beginning of a message.
    pub const fn new() -> Self {
        Self { state: State::Between, kind: 0, parts: &[], skip: 0, length: 0, held: [0; MAX_NAME], have: 0 }
    }

    /// Whether the next byte is the first of a message.
    pub fn between_messages(&self) -> bool {
        self.state == State::Between
    }

    /// Consumes from `bytes` up to the next event; `Ok(None)` when all are consumed without one.
    ///
    /// After an error or [`Event::Unknown`] the stream cannot be followed any further.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Event>, Oversized> {
        loop {
            match self.state {
                State::Between => {
                    let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
                    *bytes = rest;
                    return Ok(Some(self.begin(kind)));
                }
                State::Inside => {
                    if !self.skip_over(bytes) {
                        return Ok(None);
                    }
                    if self.next_part()? {
                        return Ok(Some(Event::End));
                    }
                }
                State::Length(part) => {
                    if !self.hold(bytes, 4) {
                        return Ok(None);
                    }
                    self.length_of(part)?;
                }
                State::Name(len) => {
                    if !self.hold(bytes, len) {
                        return Ok(None);
                    }
                    self.parts = after_name(self.kind, &self.held[..usize::from(len)]);
                    self.state = State::Inside;
                }
                State::Lost => {
                    *bytes = &[];
                    return Ok(None);
                }
            }
        }
    }

    fn begin(&mut self, kind: u8) -> Event {
        self.kind = kind;
        match parts(kind) {
            Some(parts) => {
                self.parts = parts;
                self.length = 1;
                self.state = State::Inside;
                Event::Begin(kind)
            }
            None => {
                self.state = State::Lost;
                Event::Unknown(kind)
            }
        }
    }

    /// Whether all that was to be skipped is.
    fn skip_over(&mut self, bytes: &mut &[u8]) -> bool {
        let here = bytes.len().min(self.skip as usize);
        *bytes = &bytes[here..];
        self.skip -= here as u32;
        self.skip == 0
    }

    /// Whether `want` bytes of header are held.
    fn hold(&mut self, bytes: &mut &[u8], want: u8) -> bool {
        let here = bytes.len().min(usize::from(want - self.have));
        let (taken, rest) = bytes.split_at(here);
        self.held[usize::from(self.have)..][..here].copy_from_slice(taken);
        self.have += here as u8;
        *bytes = rest;
        if self.have < want {
            return false;
        }
        self.have = 0;
        true
    }

    /// Enters the next part; `true`: there is none.
    fn next_part(&mut self) -> Result<bool, Oversized> {
        let Some((&part, rest)) = self.parts.split_first() else {
            self.state = State::Between;
            return Ok(true);
        };
        self.parts = rest;
        match part {
            Fixed(n) => {
                self.grow(n)?;
                self.skip = n;
            }
            Text | Long | Data | Name => {
                self.grow(4)?;
                self.state = State::Length(part);
            }
        }
        Ok(false)
    }

    fn length_of(&mut self, part: Part) -> Result<(), Oversized> {
        let n = u32::from_be_bytes([self.held[0], self.held[1], self.held[2], self.held[3]]);
        let most = match part {
            Data => MAX_DATA,
            Long => MAX_MESSAGE,
            Text | Name | Fixed(_) => MAX_TEXT,
        };
        if n > most {
            return Err(self.oversized());
        }
        if part != Data {
            self.grow(n)?;
        }
        self.state = State::Inside;
        self.skip = n;
        if part == Name {
            self.name_of(n);
        }
        Ok(())
    }

    /// A name too long to mean anything is skipped like any text, and decides as an unknown one.
    fn name_of(&mut self, n: u32) {
        match u8::try_from(n) {
            Ok(len) if usize::from(len) <= MAX_NAME => {
                self.skip = 0;
                self.state = State::Name(len);
            }
            _ => self.parts = after_name(self.kind, &[]),
        }
    }

    fn grow(&mut self, n: u32) -> Result<(), Oversized> {
        self.length += n;
        if self.length > MAX_MESSAGE { Err(self.oversized()) } else { Ok(()) }
    }

    fn oversized(&self) -> Oversized {
        Oversized { kind: self.kind }
    }
}

/// How far the message at the head of a buffer reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extent {
    /// Not all of it is there, or the buffer is empty.
    Partial,
    /// Its first byte is a type nobody knows.
    Unknown(u8),
    /// So many bytes, all there.
    Whole(usize),
}

/// Measures the message at the head of `buf`. Costs a few steps, whatever the message's length.
pub fn extent(buf: &[u8]) -> Result<Extent, Oversized> {
    let mut framer = Framer::new();
    let mut rest = buf;
    loop {
        match framer.next(&mut rest)? {
            Some(Event::Begin(_)) => {}
            Some(Event::End) => return Ok(Extent::Whole(buf.len() - rest.len())),
            Some(Event::Unknown(kind)) => return Ok(Extent::Unknown(kind)),
            None => return Ok(Extent::Partial),
        }
    }
}
