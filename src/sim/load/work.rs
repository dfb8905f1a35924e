//! What a device does once it is in: moves data one way, both ways, or back and forth.

use tokio::time::Instant;

use super::failure::Failure;
use super::report::Way;
use super::tally::{Metric, Tally};
use super::{LoadSettings, Work};
use crate::sim::transfer::flow::{Sink, Source};
use crate::sim::transfer::outbox::Outbox;
use crate::sim::transfer::pattern::Position;
use crate::sim::transfer::{CHANNEL_TYPE, CHARGEN, DISCARD, ECHO, Receipt, WINDOW};
use crate::wire::apf::{ChannelOpen, Message};

/// Our numbers of the channels.
pub(super) const DOWN: u32 = 1;
pub(super) const UP: u32 = 2;
const BACK_AND_FORTH: u32 = 3;

/// What is open, or was.
pub(super) struct Channels<'a> {
    tally: &'a Tally,
    position: Position,
    up: Option<Up>,
    down: Option<Down>,
    echo: Option<Echo>,
    /// Channels asked for and not yet granted.
    asked: u32,
    /// Channels granted and not yet closed by both.
    open: u32,
    began: bool,
    corrupt: bool,
    /// When the work last went on.
    moved: Instant,
}

struct Up {
    size: u64,
    theirs: u32,
    /// There once the channel is granted.
    source: Option<Source>,
    sent: u64,
    receipt: Vec<u8>,
    closing: bool,
}

struct Down {
    size: u64,
    /// There once the channel is granted.
    theirs: Option<u32>,
    sink: Sink,
    /// Window granted so far.
    granted: u64,
    closing: bool,
}

struct Echo {
    size: u64,
    theirs: u32,
    source: Option<Source>,
    sink: Sink,
    /// Bytes of this round that are not back.
    missing: u64,
    said: Instant,
}

impl<'a> Channels<'a> {
    /// Nothing is open yet; `position` is the first byte of what this device sends and hears.
    pub fn new(tally: &'a Tally, position: Position) -> Self {
        Self {
            tally,
            position,
            up: None,
            down: None,
            echo: None,
            asked: 0,
            open: 0,
            began: false,
            corrupt: false,
            moved: Instant::now(),
        }
    }

    /// Asks for what the work needs.
    pub fn begin(&mut self, settings: &LoadSettings, outbox: &mut Outbox) {
        (self.began, self.moved) = (true, Instant::now());
        match settings.work {
            Work::Nothing => {}
            Work::Bulk { up, down, size } => {
                let size = size.unwrap_or(u64::MAX);
                if up {
                    self.up = Some(Up::new(size));
                    self.ask(UP, DISCARD, WINDOW, outbox);
                }
                if down {
                    let window = u32::try_from(size).unwrap_or(WINDOW).min(WINDOW);
                    self.down = Some(Down::new(size, window, self.position.clone()));
                    self.ask(DOWN, CHARGEN, window, outbox);
                }
            }
            Work::Echo(size) => {
                self.echo = Some(Echo::new(size, self.position.clone()));
                self.ask(BACK_AND_FORTH, ECHO, WINDOW, outbox);
            }
        }
    }

    fn ask(&mut self, sender: u32, port: u32, window: u32, outbox: &mut Outbox) {
        self.asked += 1;
        outbox.say(&Message::ChannelOpen(ChannelOpen {
            channel_type: CHANNEL_TYPE,
            sender,
            window,
            address: b"",
            port,
            origin: b"",
            origin_port: sender,
        }));
    }

    /// Whether the work is done: it was begun, and no channel is open any more.
    pub const fn are_done(&self) -> bool {
        self.began && self.asked == 0 && self.open == 0
    }

    /// Whether the server has yet to close a channel.
    pub const fn are_open(&self) -> bool {
        self.open > 0
    }

    /// Whether the server has yet to answer to an open or a close.
    pub fn await_answer(&self) -> bool {
        let closing = self.up.as_ref().is_some_and(|up| up.closing)
            || self.down.as_ref().is_some_and(|down| down.closing);
        self.asked > 0 || closing
    }

    /// When the work last went on; `None`: there is none, or it is done.
    pub const fn moved(&self) -> Option<Instant> {
        if self.asked > 0 || self.open > 0 { Some(self.moved) } else { None }
    }

    /// The server granted a channel.
    pub fn granted(&mut self, number: u32, theirs: u32, window: u32) {
        self.asked = self.asked.saturating_sub(1);
        let wanted = match number {
            UP => self.up.is_some(),
            DOWN => self.down.is_some(),
            _ => self.echo.is_some(),
        };
        if !wanted {
            return; // the device is about to leave
        }
        (self.open, self.moved) = (self.open + 1, Instant::now());
        match number {
            UP => {
                self.tally.bulk_began(Way::Up);
                let position = self.position.clone();
                if let Some(up) = &mut self.up {
                    up.theirs = theirs;
                    up.source = Some(Source::new(theirs, window, up.size, position));
                }
            }
            DOWN => {
                self.tally.bulk_began(Way::Down);
                if let Some(down) = &mut self.down {
                    down.theirs = Some(theirs);
                }
            }
            _ => {
                let position = self.position.clone();
                if let Some(echo) = &mut self.echo {
                    echo.theirs = theirs;
                    echo.source = Some(Source::new(theirs, window, echo.size, position));
                    echo.said = Instant::now();
                }
            }
        }
    }

    /// The server takes more.
    pub fn credited(&mut self, number: u32, bytes: u32) {
        let source = match number {
            UP => self.up.as_mut().and_then(|up| up.source.as_mut()),
            BACK_AND_FORTH => self.echo.as_mut().and_then(|echo| echo.source.as_mut()),
            _ => None,
        };
        if let Some(source) = source {
            source.credited(bytes);
            self.moved = Instant::now();
        }
    }

    /// The server sent data.
    pub fn received(&mut self, number: u32, piece: &[u8], outbox: &mut Outbox) {
        self.moved = Instant::now();
        let Self { tally, up, down, echo, .. } = self;
        let right = match number {
            UP => up.as_mut().is_none_or(|up| up.told(piece)),
            DOWN => down.as_mut().is_none_or(|down| down.received(piece, tally, outbox)),
            BACK_AND_FORTH => echo.as_mut().is_none_or(|echo| echo.received(piece, tally, outbox)),
            _ => true,
        };
        if !right {
            self.corrupt = true;
            self.tally.corrupt(1);
        }
    }

    /// The server closed a channel. Error: not as it should have.
    pub fn closed(&mut self, number: u32) -> Result<(), Failure> {
        self.open = self.open.saturating_sub(1);
        match number {
            UP => {
                self.tally.bulk_ended(Way::Up);
                self.up.take().map_or(Ok(()), |up| up.verdict(self.tally))
            }
            DOWN => {
                self.tally.bulk_ended(Way::Down);
                self.down.take().map_or(Ok(()), |down| down.verdict())
            }
            _ => match self.echo.take() {
                Some(_) => Err(Failure::ChannelRefused),
                None => Ok(()),
            },
        }
    }

    /// The device is about to leave: no more is sent, and what is open is closed.
    pub fn wind_up(&mut self, outbox: &mut Outbox) {
        self.asked = 0;
        self.echo = None;
        self.up = self.up.take().filter(|up| up.source.is_some());
        if let Some(Up { source: Some(source), .. }) = &mut self.up {
            source.end();
        }
        self.down = self.down.take().filter(|down| down.theirs.is_some());
        if let Some(down) = &mut self.down {
            down.close(outbox);
        }
        self.open = u32::from(self.up.is_some()) + u32::from(self.down.is_some());
    }

    /// Makes payload; once all of it is sent, closes.
    pub fn fill(&mut self, outbox: &mut Outbox) {
        let Some(frames) = outbox.frames() else { return };
        let mut filled = 0;
        if let Some(Up { source: Some(source), sent, .. }) = &mut self.up {
            let now = source.fill(frames);
            *sent += now;
            filled += now;
        }
        if let Some(Echo { source: Some(source), .. }) = &mut self.echo {
            filled += source.fill(frames);
        }
        if filled > 0 {
            return self.tally.sent(filled);
        }
        match &mut self.up {
            Some(up) if !up.closing && up.source.as_ref().is_some_and(Source::is_done) => {
                up.closing = true;
                outbox.say(&Message::ChannelClose { recipient: up.theirs });
            }
            _ => {}
        }
    }

    /// Whether data arrived changed, at either end.
    pub const fn were_corrupt(&self) -> bool {
        self.corrupt
    }
}

/// A transfer that was cut short took its time, too.
impl Drop for Channels<'_> {
    fn drop(&mut self) {
        if self.up.as_ref().is_some_and(|up| up.source.is_some()) {
            self.tally.bulk_ended(Way::Up);
        }
        if self.down.as_ref().is_some_and(|down| down.theirs.is_some()) {
            self.tally.bulk_ended(Way::Down);
        }
    }
}

impl Up {
    const fn new(size: u64) -> Self {
        Self { size, theirs: 0, source: None, sent: 0, receipt: Vec::new(), closing: false }
    }

    /// Part of the receipt; whether it may be.
    fn told(&mut self, piece: &[u8]) -> bool {
        self.receipt.extend_from_slice(&piece[..piece.len().min(Receipt::LEN)]);
        self.receipt.len() <= Receipt::LEN
    }

    /// What the server got must be what was sent.
    fn verdict(self, tally: &Tally) -> Result<(), Failure> {
        if !self.closing {
            return Err(Failure::ChannelRefused);
        }
        let receipt = self.receipt.first_chunk().map(|bytes| Receipt::from_bytes(*bytes));
        match receipt {
            Some(Receipt { bytes, corrupt: 0 }) if bytes == self.sent => Ok(()),
            Some(Receipt { corrupt, .. }) => {
                tally.corrupt(corrupt.max(1));
                Err(Failure::Corrupt)
            }
            None => Err(Failure::Malformed),
        }
    }
}

impl Down {
    fn new(size: u64, window: u32, position: Position) -> Self {
        let sink = Sink::new(window, position);
        Self { size, theirs: None, sink, granted: window.into(), closing: false }
    }

    /// Whether the piece was right.
    fn received(&mut self, piece: &[u8], tally: &Tally, outbox: &mut Outbox) -> bool {
        let right = self.sink.take(piece);
        tally.received(piece.len() as u64);
        if self.sink.received() >= self.size {
            self.close(outbox);
            return right;
        }
        let Some(bytes) = self.sink.credit() else { return right };
        // Never more window than is still wanted: so exactly `size` bytes come.
        let bytes = u64::from(bytes).min(self.size - self.granted);
        self.granted += bytes;
        if let (1.., false, Some(recipient)) = (bytes, self.closing, self.theirs) {
            let bytes = bytes as u32; // a window at most
            outbox.say(&Message::ChannelWindowAdjust { recipient, bytes });
        }
        right
    }

    fn close(&mut self, outbox: &mut Outbox) {
        if let (false, Some(recipient)) = (self.closing, self.theirs) {
            self.closing = true;
            outbox.say(&Message::ChannelClose { recipient });
        }
    }

    const fn verdict(&self) -> Result<(), Failure> {
        if self.closing { Ok(()) } else { Err(Failure::ChannelRefused) }
    }
}

impl Echo {
    fn new(size: u64, position: Position) -> Self {
        let sink = Sink::new(WINDOW, position);
        Self { size, theirs: 0, source: None, sink, missing: size, said: Instant::now() }
    }

    fn received(&mut self, piece: &[u8], tally: &Tally, outbox: &mut Outbox) -> bool {
        let right = self.sink.take(piece);
        tally.received(piece.len() as u64);
        if let Some(bytes) = self.sink.credit() {
            outbox.say(&Message::ChannelWindowAdjust { recipient: self.theirs, bytes });
        }
        self.missing = self.missing.saturating_sub(piece.len() as u64);
        if self.missing == 0 {
            let now = Instant::now();
            tally.took(Metric::Echo, now - self.said);
            self.said = now;
            self.missing = self.size;
            if let Some(source) = &mut self.source {
                source.extend(self.size);
            }
        }
        right
    }
}
