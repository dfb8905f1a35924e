//! Channels that the *device* opens, to echo, discard and chargen: an extension of ours (see
//! [`transfer`](crate::sim::transfer)). Any other channel of a device is refused, as by MPS.

use std::collections::BTreeMap;

use bytes::{Buf as _, BytesMut};

use crate::model::DeviceId;
use crate::sim::transfer::feed::Payload;
use crate::sim::transfer::flow::{Sink, Source};
use crate::sim::transfer::outbox::{Frames, Outbox};
use crate::sim::transfer::pattern::Pattern;
use crate::sim::transfer::{CHANNEL_TYPE, CHARGEN, DISCARD, ECHO, Receipt};
use crate::wire::apf::{ChannelOpen, Message};

/// Numbers of these channels begin here; those that the MPS opens stay below.
const FIRST: u32 = 1 << 16;

/// Such channels of one connection, at most.
const MOST: usize = 16;

/// Why a channel is refused: MPS's answer to whatever a device opens, and too many of them.
const UNKNOWN_TYPE: u32 = 3;
const SHORTAGE: u32 = 4;

struct Echo {
    credit: usize,
    unsent: BytesMut,
    /// Sent back since credit was last returned.
    owed: u32,
}

enum Service {
    Chargen(Source),
    Discard(Sink),
    Echo(Echo),
}

struct Served {
    theirs: u32,
    /// What we granted at first, in bytes.
    window: u32,
    service: Service,
}

/// The channels that one device opened.
pub(super) struct Services {
    /// `None`: all are refused.
    window: Option<u32>,
    pattern: Pattern,
    next: u32,
    open: BTreeMap<u32, Served>,
    payload: Payload,
    bytes: u64,
    corrupt: u64,
}

impl Services {
    pub const fn new(window: Option<u32>, pattern: Pattern) -> Self {
        let payload = Payload::NONE;
        Self { window, pattern, next: FIRST, open: BTreeMap::new(), payload, bytes: 0, corrupt: 0 }
    }

    /// The device wants a channel.
    pub fn open(&mut self, open: &ChannelOpen<'_>, device: Option<DeviceId>, out: &mut Outbox) {
        let theirs = open.sender;
        let refuse = |reason| Message::ChannelOpenFailure { recipient: theirs, reason };
        let granted = self.window.and_then(|window| Some((window, self.service(open, device?, window)?)));
        match granted {
            None => out.say(&refuse(UNKNOWN_TYPE)),
            Some(_) if self.open.len() >= MOST => out.say(&refuse(SHORTAGE)),
            Some((window, service)) => {
                let sender = self.next;
                self.next = self.next.checked_add(1).unwrap_or(FIRST);
                self.open.insert(sender, Served { theirs, window, service });
                out.say(&Message::ChannelOpenConfirmation { recipient: theirs, sender, window });
            }
        }
    }

    fn service(&self, open: &ChannelOpen<'_>, device: DeviceId, window: u32) -> Option<Service> {
        let position = self.pattern.of(device);
        match open.port {
            _ if open.channel_type != CHANNEL_TYPE => None,
            ECHO => {
                let (credit, unsent) = (open.window as usize, BytesMut::new());
                Some(Service::Echo(Echo { credit, unsent, owed: 0 }))
            }
            DISCARD => Some(Service::Discard(Sink::new(window, position))),
            CHARGEN => Some(Service::Chargen(Source::new(open.sender, open.window, u64::MAX, position))),
            _ => None,
        }
    }

    /// Whether `channel` is one of these.
    pub fn has(&self, channel: u32) -> bool {
        self.open.contains_key(&channel)
    }

    /// Takes payload for these channels from the head of `bytes`, whole messages or parts.
    pub fn take(&mut self, bytes: &mut &[u8], out: &mut Outbox) {
        loop {
            let open = &self.open;
            let next = self.payload.next(bytes, |channel| open.contains_key(&channel));
            let Some((channel, piece)) = next else { return };
            self.received(channel, piece, out);
        }
    }

    fn received(&mut self, channel: u32, piece: &[u8], out: &mut Outbox) {
        self.bytes += piece.len() as u64;
        let Some(Served { theirs, window, service }) = self.open.get_mut(&channel) else { return };
        let recipient = *theirs;
        match service {
            Service::Chargen(_) => {}
            Service::Discard(sink) => {
                self.corrupt += u64::from(!sink.take(piece));
                if let Some(bytes) = sink.credit() {
                    out.say(&Message::ChannelWindowAdjust { recipient, bytes });
                }
            }
            Service::Echo(echo) => {
                echo.unsent.extend_from_slice(piece);
                if echo.unsent.len() > *window as usize {
                    self.open.remove(&channel); // it ignores our window
                    out.say(&Message::ChannelClose { recipient });
                }
            }
        }
    }

    pub fn credited(&mut self, channel: u32, bytes: u32) {
        let Some(served) = self.open.get_mut(&channel) else { return };
        match &mut served.service {
            Service::Chargen(source) => source.credited(bytes),
            Service::Discard(_) => {}
            Service::Echo(echo) => echo.credit = echo.credit.saturating_add(bytes as usize),
        }
    }

    /// The device closed a channel: answered by the same; discard says before what it got.
    pub fn closed(&mut self, channel: u32, out: &mut Outbox) {
        let Some(Served { theirs: recipient, service, .. }) = self.open.remove(&channel) else { return };
        if let Service::Discard(sink) = service {
            let receipt = Receipt { bytes: sink.received(), corrupt: sink.corrupt() };
            out.say(&Message::ChannelData { recipient, data: &receipt.to_bytes() });
        }
        out.say(&Message::ChannelClose { recipient });
        if self.open.is_empty() {
            out.forget_frames();
        }
    }

    /// Makes what echo and chargen have to say, once what they said before is sent.
    pub fn fill(&mut self, out: &mut Outbox) {
        if self.open.is_empty() {
            return;
        }
        let mut credits = Vec::new();
        if let Some(frames) = out.frames() {
            for Served { theirs, window, service } in self.open.values_mut() {
                match service {
                    Service::Chargen(source) => self.bytes += source.fill(frames),
                    Service::Discard(_) => {}
                    Service::Echo(echo) => {
                        echo.fill(*theirs, frames);
                        if echo.owed > *window / 2 {
                            credits.push((*theirs, std::mem::take(&mut echo.owed)));
                        }
                    }
                }
            }
        }
        for (recipient, bytes) in credits {
            out.say(&Message::ChannelWindowAdjust { recipient, bytes });
        }
    }

    /// Bytes moved through these channels, and blocks received that were not right, since last asked.
    pub fn unreported(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.bytes), std::mem::take(&mut self.corrupt))
    }
}

impl Echo {
    fn fill(&mut self, recipient: u32, frames: &mut Frames) {
        loop {
            let most = self.credit.min(self.unsent.len()).min(frames.room());
            if most == 0 {
                break;
            }
            frames.put(recipient, &self.unsent[..most]);
            self.unsent.advance(most);
            self.credit -= most;
            self.owed = self.owed.saturating_add(u32::try_from(most).unwrap_or(u32::MAX));
        }
        if self.unsent.is_empty() && self.unsent.capacity() > 4096 {
            self.unsent = BytesMut::new();
        }
    }
}
