//! The body of a request on its way to an instance: passed on as it comes, and kept as far as the bound
//! allows, so that it can be sent again.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep};

use super::watched::Turns;

/// Bounds of a body.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest body, in bytes.
    pub longest: u64,
    /// The longest that is kept, in bytes.
    pub kept: usize,
    /// How long a caller may say nothing in the middle of it.
    pub silence: Duration,
}

/// Why a body did not come to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Cut {
    /// The caller's connection ended or broke.
    #[error("the body broke off")]
    Broken,
    /// What came is no body: bad chunks.
    #[error("the body is malformed")]
    Malformed,
    /// It is longer than allowed.
    #[error("the body is too long")]
    TooLong,
    /// The caller said nothing for too long.
    #[error("the body came too slowly")]
    Slow,
}

/// What is known of a body while, and after, it is sent. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Option<Arc<Mutex<State>>>);

#[derive(Debug)]
struct State {
    /// What came so far; `None`: more than is kept.
    kept: Option<BytesMut>,
    trailers: Option<HeaderMap>,
    seen: u64,
    last: Instant,
    ended: Option<Result<(), Cut>>,
}

impl Progress {
    /// Why the body broke off, if it did.
    pub fn cut(&self) -> Option<Cut> {
        self.0.as_ref()?.lock().ended?.err()
    }

    /// Whether all of it was passed on.
    pub fn is_complete(&self) -> bool {
        self.0.as_ref().is_none_or(|state| state.lock().ended == Some(Ok(())))
    }

    /// Bytes so far.
    pub fn seen(&self) -> u64 {
        self.0.as_ref().map_or(0, |state| state.lock().seen)
    }

    /// When something of it last came.
    pub fn last(&self) -> Option<Instant> {
        self.0.as_ref().map(|state| state.lock().last)
    }

    /// The whole body once more, if all of it came and was kept.
    pub fn again(&self) -> Option<Upload> {
        let Some(state) = &self.0 else { return Some(Upload::Empty) };
        let state = state.lock();
        if state.ended != Some(Ok(())) {
            return None;
        }
        let data = Bytes::copy_from_slice(state.kept.as_ref()?);
        Some(Upload::Kept {
            data: Some(data).filter(|data| !data.is_empty()),
            trailers: state.trailers.clone(),
        })
    }
}

/// The body of a request.
#[derive(Debug)]
pub enum Upload {
    /// None.
    Empty,
    /// One that was kept.
    Kept {
        /// What is still to be sent.
        data: Option<Bytes>,
        /// And after it.
        trailers: Option<HeaderMap>,
    },
    /// One that is coming.
    Coming(Box<Coming>),
}

/// A body that is coming.
#[derive(Debug)]
pub struct Coming {
    incoming: Incoming,
    state: Arc<Mutex<State>>,
    limits: Limits,
    turns: Option<Arc<Turns>>,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    /// The body that comes with a request, and what is known of it. `turns` stood among the request's
    /// extensions; its connection is told when all has come.
    pub fn of(incoming: Incoming, limits: Limits, turns: Option<Arc<Turns>>) -> (Self, Progress) {
        if incoming.is_end_stream() {
            return (Self::Empty, Progress(None));
        }
        let state = State {
            kept: incoming
                .size_hint()
                .upper()
                .is_none_or(|most| most <= limits.kept as u64)
                .then(BytesMut::new),
            trailers: None,
            seen: 0,
            last: Instant::now(),
            ended: None,
        };
        let state = Arc::new(Mutex::new(state));
        let coming = Coming { incoming, state: Arc::clone(&state), limits, turns, silence: None };
        (Self::Coming(Box::new(coming)), Progress(Some(state)))
    }
}

impl Coming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let Poll::Ready(came) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            let limit = self.limits.silence;
            let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(limit)));
            ready!(silence.as_mut().poll(cx));
            return Poll::Ready(Some(Err(self.end(Err(Cut::Slow)))));
        };
        self.silence = None;
        match came {
            None => {
                self.complete(&mut self.state.lock());
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(self.end(Err(broken(&error)))))),
            Some(Ok(frame)) => match self.note(&frame) {
                Ok(()) => Poll::Ready(Some(Ok(frame))),
                Err(cut) => Poll::Ready(Some(Err(self.end(Err(cut))))),
            },
        }
    }

    fn note(&self, frame: &Frame<Bytes>) -> Result<(), Cut> {
        let mut state = self.state.lock();
        state.last = Instant::now();
        if let Some(data) = frame.data_ref() {
            state.seen += data.len() as u64;
            if state.seen > self.limits.longest {
                return Err(Cut::TooLong);
            }
            if state.seen > self.limits.kept as u64 {
                state.kept = None;
            }
            if let Some(kept) = &mut state.kept {
                kept.extend_from_slice(data);
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            state.trailers = Some(trailers.clone());
        }
        if self.incoming.is_end_stream() {
            self.complete(&mut state);
        }
        Ok(())
    }

    fn complete(&self, state: &mut State) {
        state.ended = Some(Ok(()));
        if let Some(turns) = &self.turns {
            turns.came();
        }
    }

    fn end(&self, ended: Result<(), Cut>) -> Cut {
        self.state.lock().ended = Some(ended);
        ended.err().unwrap_or(Cut::Broken)
    }
}

/// Whether the caller broke off, or broke the rules.
fn broken(error: &hyper::Error) -> Cut {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Cut::Malformed,
        _ => Cut::Broken,
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Kept { data, trailers } => {
                let data = data.take().map(Frame::data);
                Poll::Ready(data.or_else(|| trailers.take().map(Frame::trailers)).map(Ok))
            }
            Self::Coming(coming) => coming.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Kept { data, trailers } => data.is_none() && trailers.is_none(),
            Self::Coming(coming) => coming.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Kept { trailers: Some(_), .. } => SizeHint::default(),
            Self::Kept { data, .. } => {
                SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64))
            }
            Self::Coming(coming) => coming.incoming.size_hint(),
        }
    }
}
