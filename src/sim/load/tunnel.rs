//! One connection of a device: bytes both ways, neither direction waiting for the other.

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::task::{Context, Poll};

use super::failure::Failure;
use crate::net::connect::Leg;
use crate::net::records::poll_record;
use crate::sim::transfer::feed::{Feed, Heard};
use crate::sim::transfer::outbox::Outbox;
use crate::wire::apf::NotMessage;

/// Records and batches moved before others have their turn.
const TURN: usize = 16;

/// Messages that wait for a server which does not read; with more, we do not read either.
const UNSENT: usize = 1024;

/// Why a connection that was there is of no use any more.
#[derive(Debug)]
pub(super) enum Lost {
    /// TCP or TLS broke.
    Broken(io::Error),
    /// The server closed.
    Closed,
    /// The server said DISCONNECT.
    Disconnected,
    /// The device gives up.
    Failed(Failure),
    /// The server is not understood.
    Malformed,
}

impl From<NotMessage> for Lost {
    fn from(_: NotMessage) -> Self {
        Self::Malformed
    }
}

/// Who hears what the server says, and has something to say.
pub(super) trait Party {
    /// What the server said; answers go into `outbox`.
    fn hear(&mut self, heard: Heard<'_>, outbox: &mut Outbox) -> Result<(), Lost>;

    /// Makes payload, if there is any to be sent.
    fn fill(&mut self, outbox: &mut Outbox);

    /// Whether all is said and heard that was to be.
    fn is_done(&self) -> bool;
}

pub(super) struct Tunnel {
    link: Leg,
    feed: Feed,
    pub outbox: Outbox,
}

impl Tunnel {
    pub fn new(link: Leg) -> Self {
        Self { link, feed: Feed::default(), outbox: Outbox::default() }
    }

    /// Speaks until `party` is done. Safe to cancel.
    pub async fn converse(&mut self, party: &mut impl Party) -> Result<(), Lost> {
        while !party.is_done() {
            poll_fn(|cx| self.poll_exchange(cx, party)).await?;
        }
        Ok(())
    }

    /// Ready when something was heard, or the turn is over.
    pub fn poll_exchange(&mut self, cx: &mut Context<'_>, party: &mut impl Party) -> Poll<Result<(), Lost>> {
        let mut heard = false;
        for _ in 0..TURN {
            let sent = self.send(cx, party).map_err(Lost::Broken)?;
            // The link wakes us when it takes more.
            let hear =
                if self.outbox.messages() > UNSENT { Poll::Pending } else { self.poll_hear(cx, party) };
            let came = match hear {
                Poll::Ready(Ok(ControlFlow::Continue(()))) => true,
                Poll::Ready(Ok(ControlFlow::Break(()))) => return Poll::Ready(Err(Lost::Closed)),
                Poll::Ready(Err(lost)) => return Poll::Ready(Err(lost)),
                Poll::Pending => false,
            };
            heard |= came;
            if party.is_done() {
                return Poll::Ready(Ok(()));
            }
            if !sent && !came {
                return if heard { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what waits; whether all of it went, and there was some.
    fn send(&mut self, cx: &mut Context<'_>, party: &mut impl Party) -> io::Result<bool> {
        party.fill(&mut self.outbox);
        if self.outbox.is_empty() {
            return Ok(false);
        }
        match self.outbox.poll_send(cx, &mut self.link) {
            Poll::Ready(sent) => sent.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    /// Hears one record; `Break`: the server closed.
    fn poll_hear(
        &mut self,
        cx: &mut Context<'_>,
        party: &mut impl Party,
    ) -> Poll<Result<ControlFlow<()>, Lost>> {
        let Self { link, feed, outbox } = self;
        let heard = poll_record(link, cx, |record| {
            if record.is_empty() {
                return Ok(ControlFlow::Break(()));
            }
            feed.take(record, |heard| party.hear(heard, outbox))?;
            Ok(ControlFlow::Continue(()))
        });
        heard.map(|heard| heard.map_err(Lost::Broken)?)
    }

    /// The connection, to be closed.
    pub fn into_link(self) -> Leg {
        self.link
    }
}
