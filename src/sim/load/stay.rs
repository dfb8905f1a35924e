//! A device that is logged in: offers its ports, does its work, says that it is alive, and leaves.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::failure::{Ended, Failure, Stage};
use super::tally::Tally;
use super::tunnel::{Lost, Party, Tunnel};
use super::work::Channels;
use super::{LoadSettings, Work};
use crate::lifecycle::Drain;
use crate::sim::transfer::feed::Heard;
use crate::sim::transfer::outbox::Outbox;
use crate::sim::transfer::pattern::Position;
use crate::wire::apf::{GlobalRequest, Message, PFWD_SERVICE};

/// Ports a device offers, in the order firmware does.
const PORTS: [u32; 7] = [16993, 16992, 664, 623, 16995, 16994, 5900];

/// How long the last words of a transfer may take once the device is to leave.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Where it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Waits for SERVICE_ACCEPT.
    Pfwd,
    /// Waits for the answer to the port with this index.
    Forward(usize),
    /// Has offered all ports.
    Ready,
}

/// How a stay ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Verdict {
    pub ended: Ended,
    /// What failed, if something did.
    pub failure: Option<Failure>,
}

/// A device that has logged in.
struct Stay<'a> {
    settings: &'a LoadSettings,
    step: Step,
    channels: Channels<'a>,
    interval: Duration,
    cookie: u32,
    /// When it last heard the server.
    heard: Instant,
    /// When it says next that it is alive.
    alive: Instant,
    /// When it has stayed as long as it is to.
    hold: Option<Instant>,
    /// Why it leaves, and how long it waits for last words.
    leaving: Option<(Ended, Instant)>,
    failure: Option<Failure>,
}

/// Stays until something ends it.
pub(super) async fn stay(
    settings: &LoadSettings,
    tally: &Tally,
    tunnel: &mut Tunnel,
    position: Position,
    drain: &Drain,
) -> Verdict {
    let began = Instant::now();
    tunnel.outbox.say(&Message::ServiceRequest { service: PFWD_SERVICE });
    let mut stay = Stay {
        settings,
        step: Step::Pfwd,
        channels: Channels::new(tally, position),
        interval: settings.keepalive,
        cookie: 0,
        heard: began,
        alive: began + settings.keepalive,
        hold: settings.hold.map(|hold| began + hold),
        leaving: None,
        failure: None,
    };
    let mut stop = pin!(drain.begun());
    let mut timer = pin!(sleep_until(stay.due()));
    loop {
        tokio::select! {
            exchanged = poll_fn(|cx| tunnel.poll_exchange(cx, &mut stay)) => {
                if let Err(lost) = exchanged {
                    return stay.lost(&lost);
                }
            }
            () = stop.as_mut(), if stay.leaving.is_none() => stay.leave(Ended::Over, &mut tunnel.outbox),
            () = timer.as_mut() => {}
        }
        if let Some(verdict) = stay.look_at_clock(&mut tunnel.outbox).or_else(|| stay.verdict()) {
            return verdict;
        }
        // What was put off needs no new timer: the old one finds that it is not due.
        let due = stay.due();
        if timer.is_elapsed() || due < timer.deadline() {
            timer.as_mut().reset(due);
        }
    }
}

impl Stay<'_> {
    /// When the clock is to be looked at.
    fn due(&self) -> Instant {
        let by = self.leaving.map(|(_, by)| by);
        let others = [self.hold, by, self.standstill()].into_iter().flatten();
        others.fold(self.alive.min(self.patience()), Instant::min)
    }

    /// When the server has been silent for too long.
    fn patience(&self) -> Instant {
        let owed = self.step != Step::Ready || self.channels.await_answer();
        self.heard + if owed { self.settings.answer } else { self.settings.silence }
    }

    /// When the work has stood still for too long, whatever else the server says.
    fn standstill(&self) -> Option<Instant> {
        self.channels.moved().map(|moved| moved + self.settings.silence)
    }

    fn look_at_clock(&mut self, outbox: &mut Outbox) -> Option<Verdict> {
        let now = Instant::now();
        if self.alive <= now {
            self.alive = now + self.interval;
            self.cookie = self.cookie.wrapping_add(1);
            outbox.say(&Message::KeepaliveRequest { cookie: self.cookie });
        }
        if self.leaving.is_none() && self.hold.is_some_and(|hold| hold <= now) {
            self.leave(Ended::Held, outbox);
        }
        let late = self.patience() <= now || self.leaving.is_some_and(|(_, by)| by <= now);
        match late {
            false if self.standstill().is_some_and(|by| by <= now) => {
                Some(failed(Failure::TimedOut(Stage::Work)))
            }
            false => None,
            true if self.step != Step::Ready || self.owes_data() => {
                Some(failed(Failure::TimedOut(Stage::Work)))
            }
            true => Some(Verdict { ended: Ended::ServerSilent, failure: None }),
        }
    }

    /// Whether the server owes data, or an account of it.
    fn owes_data(&self) -> bool {
        self.leaving.is_some() || self.is_limited() && !self.channels.are_done()
    }

    /// Whether the work has an end.
    const fn is_limited(&self) -> bool {
        matches!(self.settings.work, Work::Bulk { size: Some(_), .. })
    }

    fn leave(&mut self, why: Ended, outbox: &mut Outbox) {
        let by = Instant::now() + LAST_WORDS;
        self.leaving = Some((why, by));
        self.hold = None;
        self.channels.wind_up(outbox);
    }

    /// How it ends, if it does now.
    fn verdict(&self) -> Option<Verdict> {
        let done = self.channels.are_done() && self.is_limited() && self.settings.hold.is_none();
        let ended = match self.leaving {
            _ if self.failure.is_some() => Ended::Failed,
            Some((why, _)) if !self.channels.are_open() => why,
            None if done => Ended::Done,
            _ => return None,
        };
        let corrupt = self.channels.were_corrupt().then_some(Failure::Corrupt);
        let failure = self.failure.or(corrupt);
        Some(Verdict { ended: if failure.is_some() { Ended::Failed } else { ended }, failure })
    }

    fn lost(&self, lost: &Lost) -> Verdict {
        let ended = match lost {
            Lost::Broken(_) => Ended::ServerReset,
            Lost::Closed => Ended::ServerClosed,
            Lost::Disconnected => Ended::ServerDisconnected,
            Lost::Failed(failure) => return failed(*failure),
            Lost::Malformed => Ended::ServerMalformed,
        };
        let corrupt = self.channels.were_corrupt().then_some(Failure::Corrupt);
        let cut_short = self.owes_data().then(|| Failure::of_lost(lost, Stage::Work));
        Verdict { ended, failure: corrupt.or(cut_short) }
    }

    fn answer(&mut self, message: &Message<'_>, outbox: &mut Outbox) -> Result<(), Lost> {
        match *message {
            Message::ServiceAccept { service: PFWD_SERVICE } if self.step == Step::Pfwd => {
                self.offer(0, outbox);
            }
            Message::ForwardSuccess { .. } => {
                if let Step::Forward(i) = self.step {
                    self.offer(i + 1, outbox);
                }
            }
            Message::KeepaliveRequest { cookie } => outbox.say(&Message::KeepaliveReply { cookie }),
            Message::KeepaliveOptionsRequest { interval, timeout } => {
                if interval > 0 {
                    self.interval = Duration::from_secs(interval.into());
                    self.alive = Instant::now() + self.interval;
                }
                let interval = u32::try_from(self.interval.as_secs()).unwrap_or(u32::MAX);
                outbox.say(&Message::KeepaliveOptionsReply { interval, timeout });
            }
            Message::ChannelOpen(open) => {
                let connect_failed = 2; // nothing listens here
                let (recipient, reason) = (open.sender, connect_failed);
                outbox.say(&Message::ChannelOpenFailure { recipient, reason });
            }
            Message::ChannelOpenConfirmation { recipient, sender, window } => {
                self.channels.granted(recipient, sender, window);
            }
            Message::ChannelOpenFailure { .. } => return Err(Lost::Failed(Failure::ChannelRefused)),
            Message::ChannelWindowAdjust { recipient, bytes } => self.channels.credited(recipient, bytes),
            Message::ChannelClose { recipient } => {
                if let Err(failure) = self.channels.closed(recipient) {
                    self.failure.get_or_insert(failure);
                }
            }
            Message::Disconnect { .. } => return Err(Lost::Disconnected),
            Message::RequestFailure => return Err(Lost::Malformed),
            _ => {}
        }
        Ok(())
    }

    /// Offers the port with this index; behind the last one the work begins.
    fn offer(&mut self, i: usize, outbox: &mut Outbox) {
        match PORTS.get(i) {
            Some(&port) => {
                self.step = Step::Forward(i);
                outbox.say(&Message::GlobalRequest(GlobalRequest::Forward { address: b"", port }));
            }
            None => {
                self.step = Step::Ready;
                if self.leaving.is_none() {
                    self.channels.begin(self.settings, outbox);
                }
            }
        }
    }
}

impl Party for Stay<'_> {
    fn hear(&mut self, heard: Heard<'_>, outbox: &mut Outbox) -> Result<(), Lost> {
        self.heard = Instant::now();
        match heard {
            Heard::Data(channel, piece) => {
                self.channels.received(channel, piece, outbox);
                Ok(())
            }
            Heard::Message(message) => self.answer(&message, outbox),
        }
    }

    fn fill(&mut self, outbox: &mut Outbox) {
        self.channels.fill(outbox);
    }

    fn is_done(&self) -> bool {
        self.verdict().is_some()
    }
}

const fn failed(failure: Failure) -> Verdict {
    Verdict { ended: Ended::Failed, failure: Some(failure) }
}
