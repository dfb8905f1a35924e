//! What is known of one request, from its head to the last byte of its answer, and the one line it ends
//! with.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::HeaderValue;
use hyper::{Method, Uri};
use tokio::time::Instant;
use tracing::info;

use super::Plane;
use super::counts::Counted;
use super::course::Stop;
use super::ending::Reason;
use crate::http::client::{Cut, Download};
use crate::model::{DeviceId, InstanceName};
use crate::telemetry::Label as _;

/// Of a path, so much is logged.
const LOGGED: usize = 256;

/// One request; dropping it counts its end and writes its line. Neither the query nor any header but
/// its number is ever written.
pub struct Trip {
    pub(super) plane: Arc<Plane>,
    pub(super) id: HeaderValue,
    pub(super) device: Option<DeviceId>,
    pub(super) instance: Option<InstanceName>,
    pub(super) status: u16,
    /// `None`: the caller left.
    pub(super) reason: Option<Reason>,
    pub(super) sent: u64,
    pub(super) received: u64,
    method: Method,
    uri: Uri,
    source: IpAddr,
    began: Instant,
    _counted: Counted,
}

impl Trip {
    pub(super) fn begin(
        plane: &Arc<Plane>,
        id: HeaderValue,
        method: Method,
        uri: Uri,
        source: IpAddr,
    ) -> Self {
        Self {
            plane: Arc::clone(plane),
            id,
            device: None,
            instance: None,
            status: 0,
            reason: None,
            sent: 0,
            received: 0,
            method,
            uri,
            source,
            began: Instant::now(),
            _counted: Counted::by(&plane.parts.metrics.requests_in_flight),
        }
    }

    pub(super) fn go(&mut self, stop: &Stop) {
        self.plane.counts.routes.of(stop.why).increment(1);
        self.instance = Some(stop.name.clone());
    }

    /// The head of the answer is there.
    pub(super) fn answered(&mut self, status: u16) {
        self.status = status;
        self.plane.parts.metrics.request_seconds.record(self.began.elapsed().as_secs_f64());
    }

    /// The path without its query, and not all of it if it is very long.
    fn path(&self) -> &str {
        let path = self.uri.path();
        let end = (0..=LOGGED.min(path.len())).rev().find(|at| path.is_char_boundary(*at));
        &path[..end.unwrap_or(0)]
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        let reason = self.reason.unwrap_or(Reason::CallerLeft);
        self.plane.counts.requests.of(reason).increment(1);
        info!(
            target: "mps_gateway::request",
            id = self.id.to_str().unwrap_or_default(),
            method = self.method.as_str(),
            path = self.path(),
            status = if self.status == 0 { reason.status() } else { self.status },
            device = self.device.map(tracing::field::display),
            instance = self.instance.as_ref().map(tracing::field::display),
            source = %self.source,
            reason = reason.reason(),
            blame = reason.blame().label(),
            seconds = self.began.elapsed().as_secs_f64(),
            from_caller = self.received,
            from_instance = self.sent,
            "request"
        );
    }
}

/// The body of an answer. Its trip ends with it.
pub struct Answer {
    body: Content,
    trip: Option<Box<Trip>>,
}

/// Where the bytes come from.
pub enum Content {
    /// They are all here.
    Whole(Option<Bytes>),
    /// The instance sends them, after those that were looked at.
    Coming {
        /// Those that were looked at.
        seen: Option<Bytes>,
        /// The rest.
        rest: Download,
        /// It came to its end.
        ended: bool,
    },
}

impl Answer {
    /// The answer of an instance, whose trip ends when it is passed on.
    pub(super) fn of(body: Content, trip: Box<Trip>) -> Self {
        Self { body, trip: Some(trip) }
    }

    /// Bytes of ours.
    pub(super) fn ours(bytes: Bytes) -> Self {
        Self { body: Content::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())), trip: None }
    }
}

impl From<Download> for Content {
    fn from(rest: Download) -> Self {
        Self::Coming { seen: None, rest, ended: false }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let complete = self.is_end_stream();
        let Some(trip) = &mut self.trip else { return };
        if let Content::Coming { rest, .. } = &self.body {
            trip.sent = rest.seen();
        }
        if complete && trip.reason.is_none() {
            trip.reason = Some(Reason::Answered);
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let (seen, coming) = match &mut this.body {
            Content::Whole(bytes) => (bytes, None),
            Content::Coming { seen, ended: true, .. } => (seen, None),
            Content::Coming { seen, rest, ended } => (seen, Some((rest, ended))),
        };
        let (None, Some((rest, ended))) = (&seen, coming) else {
            return Poll::Ready(seen.take().map(|bytes| Ok(Frame::data(bytes))));
        };
        let came = ready!(Pin::new(rest).poll_frame(cx));
        match &came {
            None => *ended = true,
            Some(Err(cut)) => {
                if let Some(trip) = &mut this.trip {
                    trip.reason = Some(match cut {
                        Cut::Broken => Reason::InstanceBroke,
                        Cut::Slow => Reason::InstanceSlow,
                    });
                }
            }
            Some(Ok(_)) => {}
        }
        Poll::Ready(came)
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Coming { seen, rest, ended } => seen.is_none() && (*ended || rest.is_end_stream()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Coming { seen: None, rest, .. } => rest.size_hint(),
            Content::Coming { seen: Some(seen), rest, .. } => {
                let seen = seen.len() as u64;
                rest.size_hint()
                    .exact()
                    .map_or_else(SizeHint::default, |left| SizeHint::with_exact(seen + left))
            }
        }
    }
}
