//! A caller's connection under watch: time-outs that hyper has not, words of ours in place of the bare
//! refusals that hyper writes by itself, and a caller that stops speaking is no caller that left.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::task::AtomicWaker;
use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long the last of a body may be on its way through us when its caller has stopped speaking: hyper
/// has read it, whoever passes it on has not yet looked. Later it is taken for a body that broke off.
const BODY: Duration = Duration::from_secs(2);

/// How long a caller may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// A write without progress.
    pub stall: Duration,
}

/// What the connection and its service tell each other.
#[derive(Debug, Default)]
pub struct Turns {
    /// Requests begun.
    begun: AtomicU32,
    /// The last one begun is not answered yet.
    busy: AtomicBool,
    /// Nor has all of its body come.
    coming: AtomicBool,
    /// The head that was waited for did not come in time.
    slow: AtomicBool,
    /// Whom to wake when it is answered: that the caller stopped speaking was kept from it.
    ended: AtomicWaker,
}

impl Turns {
    /// A request is handed to the service; `coming`: it has a body.
    pub fn begin(&self, coming: bool) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
        self.coming.store(coming, Ordering::Relaxed);
    }

    /// All of its body has come.
    pub fn came(&self) {
        self.coming.store(false, Ordering::Relaxed);
    }

    /// Whether some of its body has not come yet.
    pub fn is_coming(&self) -> bool {
        self.coming.load(Ordering::Relaxed)
    }

    /// Its answer is complete, as far as the service is concerned.
    pub fn end(&self) {
        self.busy.store(false, Ordering::Relaxed);
        self.ended.wake();
    }

    /// Whether the connection ended because a head was begun and not finished in time.
    pub fn slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }
}

/// What takes the place of a refusal of hyper's: the whole answer, as it goes over the wire.
pub type InPlace = Box<dyn Fn(StatusCode) -> Bytes + Send + Sync>;

/// The connection.
pub struct Watched<S> {
    io: S,
    turns: Arc<Turns>,
    patience: Patience,
    in_place: InPlace,
    /// Requests begun when all that was said was sent: if no other has begun since, whatever hyper
    /// writes is a refusal of its own.
    settled: u32,
    /// What is sent in place of that, and whether it came to that.
    words: Bytes,
    replaced: bool,
    /// Since when the caller says no more.
    ended: Option<Instant>,
    /// Since when a head is waited for, and whether some of it was heard.
    waiting: Option<(Instant, bool)>,
    /// Since when a write makes no progress.
    stalled: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    /// `io`, watched.
    pub fn new(io: S, turns: Arc<Turns>, patience: Patience, in_place: InPlace) -> Self {
        Self {
            io,
            turns,
            patience,
            in_place,
            settled: 0,
            words: Bytes::new(),
            replaced: false,
            ended: None,
            waiting: None,
            stalled: None,
            timer: None,
        }
    }

    /// The connection itself, to be used for something else.
    pub fn into_inner(self) -> S {
        self.io
    }

    /// Whether no request is under way and nothing of the last answer is left to send.
    fn is_quiet(&self) -> bool {
        self.replaced || self.turns.begun.load(Ordering::Relaxed) == self.settled
    }

    /// Whether `due` has come; else wakes the task when it does. Cheap if it mostly moves on: the timer
    /// is set again only when it fires.
    fn is_due(&mut self, cx: &mut Context<'_>, due: Instant) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return true;
            }
            timer.as_mut().reset(due);
        }
        false
    }

    /// Nothing came: whether it was waited for long enough.
    fn waited(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.turns.busy.load(Ordering::Relaxed) {
            self.waiting = None;
            return Poll::Pending;
        }
        let (since, heard) = *self.waiting.get_or_insert_with(|| (Instant::now(), false));
        let limit = if heard { self.patience.head } else { self.patience.idle };
        if !self.is_due(cx, since + limit) {
            return Poll::Pending;
        }
        self.turns.slow.store(heard, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn heard(&mut self) {
        if self.turns.busy.load(Ordering::Relaxed) {
            self.waiting = None;
        } else if !matches!(self.waiting, Some((_, true))) {
            self.waiting = Some((Instant::now(), true));
        }
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// What came of a write, unless it has made no progress for too long.
    fn progress<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        match self.is_due(cx, since + self.patience.stall) {
            true => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            false => Poll::Pending,
        }
    }

    /// Takes a refusal of hyper's, `said`, for words of ours.
    fn replace(&mut self, said: &[u8]) -> usize {
        let digits = said.get(9..12).unwrap_or_default();
        let status = StatusCode::from_bytes(digits).unwrap_or(StatusCode::BAD_REQUEST);
        if !self.replaced {
            self.words = (self.in_place)(status);
        }
        self.replaced = true; // and nothing is said after it
        said.len()
    }

    /// Ready once the words are sent.
    fn say(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.words.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.words);
            let written = ready!(self.progress(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.words.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if this.ended.is_none() {
            match Pin::new(&mut this.io).poll_read(cx, buf) {
                Poll::Pending => return this.waited(cx),
                Poll::Ready(Ok(())) if buf.filled().len() == before => {
                    this.ended = Some(Instant::now());
                }
                Poll::Ready(read) => {
                    this.heard();
                    return Poll::Ready(read);
                }
            }
        }
        // hyper would take the end for a caller that left; it hears of it after the answer.
        this.turns.ended.register(cx.waker());
        let told = match (this.turns.busy.load(Ordering::Relaxed), this.turns.coming.load(Ordering::Relaxed))
        {
            (false, _) => true,
            (true, false) => false,
            (true, true) => this.ended.is_none_or(|ended| this.is_due(cx, ended + BODY)),
        };
        if told { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_quiet() {
            return Poll::Ready(Ok(this.replace(buf)));
        }
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.progress(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.say(cx))?;
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        ready!(this.progress(cx, flushed))?;
        if !this.turns.busy.load(Ordering::Relaxed) {
            this.settled = this.turns.begun.load(Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.say(cx))?;
        let shut = Pin::new(&mut this.io).poll_shutdown(cx);
        this.progress(cx, shut)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_quiet() {
            let said: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            return Poll::Ready(Ok(this.replace(&said)));
        }
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.progress(cx, written)
    }
}
