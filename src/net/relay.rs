//! The relay: bytes both ways, record for record, the two directions never waiting for each other.
//!
//! Nothing is held while idle: what is read at once is written at once, out of buffers shared by all
//! relays of a thread; only what the other side does not take is kept, and then nothing more is read. So
//! a lane that reads has delivered all it read before, and the end of a stream, once read, means that
//! nothing is left to say.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep};

use super::batch::{Batch, Scratch, with_scratch};
use super::records::Records;
use super::traffic::Traffic;

pub use super::records::close;

/// Bytes that a direction reads at once, at first and whenever its sink is slow: so much may wait for it.
const LEAST: usize = 64 * 1024;
/// The same once much comes and all of it is taken: so much waits, once, for a sink that was quick till
/// then. One call for much is what makes bulk cheap.
const MOST: usize = 256 * 1024;
/// Records passed on at once: many small ones take longer than a few large ones.
const RECORDS: usize = 64;
/// Times a direction reads before other sessions of the thread have their turn ..
const TURNS: usize = 4;
/// .. and bytes after which they do, too.
const TURN: usize = MOST;

/// Which side something is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The side that called us.
    Device,
    /// The side we called.
    Instance,
}

/// How long a relay waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// No byte from either side for so long ends it.
    pub silence: Duration,
    /// A write that makes no progress for so long ends it.
    pub stall: Duration,
    /// After the end: how long close_notify and FIN may take before the sockets are dropped.
    pub grace: Duration,
}

/// How a relay ended. `R` is the watch's refusal, `S` what stopped it from outside.
#[derive(Debug)]
pub enum Ended<R, S> {
    /// A side closed its connection (close_notify, FIN or both).
    Closed(Side),
    /// A side's connection failed.
    Failed(Side, io::Error),
    /// The watch refused bytes of the device.
    Refused(R),
    /// Nobody spoke for [`Limits::silence`].
    Silent,
    /// This side took no bytes for [`Limits::stall`].
    Stalled(Side),
    /// `stop` was ready.
    Stopped(S),
}

/// What the relay shows each record of the device to before it passes it on.
pub trait Watch {
    /// Why bytes may not pass.
    type Refusal;
    /// Looks at a record, or what one read yielded. `Err` ends the relay: what came before is passed on,
    /// this chunk and what follows it is not.
    fn device_bytes(&mut self, chunk: &[u8]) -> Result<(), Self::Refusal>;
}

/// Relays until something ends it. Then the caller calls [`close`] on both sides.
///
/// A side that closes ends the relay at once after what it said before was passed on: APF has no
/// half-close, and firmware keeps talking into a half-closed tunnel. Cancelling it may lose bytes that
/// were read and not yet written; both connections are of no use then.
pub async fn relay<D, I, W, F>(
    device: &mut D,
    instance: &mut I,
    watch: &mut W,
    traffic: &Traffic,
    limits: &Limits,
    stop: F,
) -> Ended<W::Refusal, F::Output>
where
    D: Records,
    I: Records,
    W: Watch,
    F: Future,
{
    let mut stop = pin!(stop);
    let mut timer = pin!(sleep(limits.silence));
    let (mut up, mut down) = (Lane::default(), Lane::default());
    poll_fn(|cx| {
        // First, so that a busy session leaves when it is told to.
        if let Poll::Ready(why) = stop.as_mut().poll(cx) {
            return Poll::Ready(Ended::Stopped(why));
        }
        let look = |batch: &mut Batch| {
            traffic.heard_device(batch.bytes().len());
            let mut good = 0;
            let refused = batch.records().find_map(|record| match watch.device_bytes(record) {
                Ok(()) => {
                    good += 1;
                    None
                }
                Err(why) => Some(why),
            });
            batch.truncate(good);
            refused
        };
        if let Poll::Ready(end) = up.pump(cx, device, instance, look) {
            return Poll::Ready(end.of(Side::Device, Side::Instance));
        }
        let look = |batch: &mut Batch| {
            traffic.heard_instance(batch.bytes().len());
            None
        };
        if let Poll::Ready(end) = down.pump(cx, instance, device, look) {
            return Poll::Ready(end.of(Side::Instance, Side::Device));
        }
        loop {
            let due = [up.stalls(limits), down.stalls(limits)].into_iter().flatten().min();
            if let Some(due) = due.filter(|&due| due < timer.deadline()) {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if up.stalled(instance, limits) {
                return Poll::Ready(Ended::Stalled(Side::Instance));
            }
            if down.stalled(device, limits) {
                return Poll::Ready(Ended::Stalled(Side::Device));
            }
            if silent(timer.as_mut(), traffic, limits) {
                return Poll::Ready(Ended::Silent);
            }
        }
    })
    .await
}

/// Whether nobody spoke for too long; if somebody did, `timer` is set to when that may next be so.
/// A record costs no timer this way.
fn silent(timer: Pin<&mut Sleep>, traffic: &Traffic, limits: &Limits) -> bool {
    let quiet = traffic.device_silence().min(traffic.instance_silence());
    match limits.silence.checked_sub(quiet) {
        None | Some(Duration::ZERO) => true,
        Some(left) => {
            timer.reset(Instant::now() + left);
            false
        }
    }
}

/// How a lane ended.
enum End<R> {
    Closed,
    ReadFailed(io::Error),
    Refused(R),
    WriteFailed(io::Error),
}

impl<R> End<R> {
    fn of<S>(self, source: Side, sink: Side) -> Ended<R, S> {
        match self {
            Self::Closed => Ended::Closed(source),
            Self::ReadFailed(error) => Ended::Failed(source, error),
            Self::Refused(why) => Ended::Refused(why),
            Self::WriteFailed(error) => Ended::Failed(sink, error),
        }
    }
}

/// One direction.
struct Lane<R> {
    /// What a sink without records did not take. Empty and without memory most of the time.
    rest: Bytes,
    /// Since when the sink makes no progress, and what waited for it then.
    waiting: Option<Waiting>,
    /// Bytes to read at once.
    most: usize,
    /// Why nothing may pass after what was passed on.
    refused: Option<R>,
}

impl<R> Default for Lane<R> {
    fn default() -> Self {
        Self { rest: Bytes::new(), waiting: None, most: LEAST, refused: None }
    }
}

#[derive(Clone, Copy)]
struct Waiting {
    since: Instant,
    bytes: usize,
}

impl<R> Lane<R> {
    /// Passes records on until there is none, the sink takes no more or the turn is over. `look` leaves
    /// in a batch what may pass and says why not the rest.
    fn pump<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut A,
        sink: &mut B,
        mut look: impl FnMut(&mut Batch) -> Option<R>,
    ) -> Poll<End<R>>
    where
        A: Records,
        B: Records,
    {
        let mut passed = 0;
        for _ in 0..TURNS {
            match self.deliver(cx, sink) {
                Poll::Ready(Ok(())) => self.waiting = None,
                Poll::Ready(Err(error)) => return Poll::Ready(End::WriteFailed(error)),
                Poll::Pending => {
                    self.wait(sink);
                    return Poll::Pending;
                }
            }
            if let Some(why) = self.refused.take() {
                return Poll::Ready(End::Refused(why));
            }
            let most = self.most;
            let batch = |scratch: &mut Scratch| self.pass(cx, source, sink, &mut look, scratch);
            match ready!(with_scratch(most, RECORDS, batch)) {
                Ok(more) => passed += more,
                Err(end) => return Poll::Ready(end),
            }
            if passed >= TURN {
                break;
            }
        }
        cx.waker().wake_by_ref(); // there may be more: after the others
        Poll::Pending
    }

    /// Passes on what one read yields; says how much it was.
    fn pass<A, B>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut A,
        sink: &mut B,
        look: &mut impl FnMut(&mut Batch) -> Option<R>,
        scratch: &mut Scratch,
    ) -> Poll<Result<usize, End<R>>>
    where
        A: Records,
        B: Records,
    {
        if let Err(error) = ready!(source.poll_records(cx, scratch)) {
            return Poll::Ready(Err(End::ReadFailed(error)));
        }
        if scratch.batch.is_empty() {
            return Poll::Ready(Err(End::Closed));
        }
        self.refused = look(&mut scratch.batch);
        let len = scratch.batch.bytes().len();
        let taken = match sink.poll_write_records(cx, scratch) {
            Poll::Ready(Ok(taken)) => taken,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(End::WriteFailed(error))),
            Poll::Pending => 0,
        };
        if taken < len {
            self.rest = Bytes::copy_from_slice(&scratch.batch.bytes()[taken..]);
        }
        if taken < len || sink.unsent() > 0 {
            self.most = LEAST;
        } else if len > self.most / 2 {
            self.most = MOST.min(self.most * 2);
        }
        Poll::Ready(Ok(len))
    }

    /// Ready once the sink has sent everything.
    fn deliver<B: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, sink: &mut B) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            match Pin::new(&mut *sink).poll_write(cx, &self.rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(taken)) => self.rest.advance(taken),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.rest = Bytes::new(); // an empty slice would still hold the memory
        Pin::new(sink).poll_flush(cx)
    }

    /// Notes that the sink does not take what is there, or that it took a part.
    fn wait<B: Records>(&mut self, sink: &B) {
        let bytes = self.rest.len() + sink.unsent();
        if self.waiting.is_none_or(|waiting| bytes < waiting.bytes) {
            self.waiting = Some(Waiting { since: Instant::now(), bytes });
        }
    }

    /// When the lane will have stalled, if nothing moves till then.
    fn stalls(&self, limits: &Limits) -> Option<Instant> {
        self.waiting.map(|waiting| waiting.since + limits.stall)
    }

    /// Whether the lane has stalled, after a last look at what moved.
    fn stalled<B: Records>(&mut self, sink: &B, limits: &Limits) -> bool {
        if self.waiting.is_some() {
            self.wait(sink);
        }
        self.stalls(limits).is_some_and(|due| due <= Instant::now())
    }
}

#[cfg(test)]
mod tests;
