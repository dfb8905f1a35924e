//! Requests to instances over connections that are kept: one request at a time on each, a bounded number
//! idle for each address, none of them for longer than an instance keeps it.
//!
//! On hyper's own client connections and not on hyper-util's client: what may be sent again depends on
//! whether a byte was written, the least busy of two instances on requests under way, and both are known
//! here at no cost; a pool keyed by address needs no URI rebuilt for each request.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::RwLock;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tracing::debug;

pub use super::pool::Peer;

use super::body::{Progress, Upload};
use super::pool::InFlight;
use crate::lifecycle::Drain;
use crate::model::Endpoint;
use crate::net::connect::{ConnectError, Leg, connect};

/// The longest head of an answer, in bytes.
const HEAD: usize = 64 * 1024;

/// How instances are spoken to.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Time for a connect.
    pub connect: Duration,
    /// How long an instance may say nothing before its answer, and within it.
    pub silence: Duration,
    /// How long a connection may wait for its next request. MPS closes after 5 s.
    pub idle: Duration,
    /// Connections that wait, for each address.
    pub most_idle: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection: nothing was sent.
    #[error("connect")]
    Connect {
        /// Why.
        #[source]
        error: ConnectError,
        /// The request as it was.
        request: Box<Request<Upload>>,
    },
    /// The connection broke after some of the request may have been sent.
    #[error("the connection broke before the answer")]
    Broken(#[source] hyper::Error),
    /// No answer in time.
    #[error("no answer in time")]
    Slow,
}

/// A client of many addresses.
pub struct Client {
    settings: Settings,
    drain: Drain,
    peers: RwLock<HashMap<Endpoint, Arc<Peer>>>,
    leaving: AtomicBool,
}

impl Client {
    /// A client whose connections are counted by `drain`.
    pub fn new(settings: Settings, drain: Drain) -> Self {
        Self { settings, drain, peers: RwLock::default(), leaving: AtomicBool::new(false) }
    }

    /// What is known of the address `endpoint`.
    pub fn peer(&self, endpoint: &Endpoint) -> Arc<Peer> {
        if let Some(peer) = self.peers.read().get(endpoint) {
            return Arc::clone(peer);
        }
        let mut peers = self.peers.write();
        let peer = peers.entry(endpoint.clone()).or_insert_with(|| Arc::new(Peer::new(endpoint.clone())));
        Arc::clone(peer)
    }

    /// Sends a request and returns with the head of the answer; `progress` is its body's. Cancelling it
    /// closes the connection.
    ///
    /// A kept connection that turns out closed before a byte was written is replaced without a word.
    pub async fn send(
        &self,
        peer: &Arc<Peer>,
        mut request: Request<Upload>,
        progress: &Progress,
    ) -> Result<Response<Download>, SendError> {
        let in_flight = InFlight::at(peer);
        while let Some(connection) = peer.take(self.settings.idle).await {
            match self.exchange(connection, request, progress).await? {
                Ok((response, connection)) => {
                    return Ok(self.answer(response, connection, in_flight, progress));
                }
                Err(unsent) => request = unsent,
            }
        }
        let connection = match self.dial(peer).await {
            Ok(connection) => connection,
            Err(error) => return Err(SendError::Connect { error, request: Box::new(request) }),
        };
        match self.exchange(connection, request, progress).await? {
            Ok((response, connection)) => Ok(self.answer(response, connection, in_flight, progress)),
            Err(request) => {
                let error = ConnectError::Tcp(std::io::ErrorKind::ConnectionReset.into());
                Err(SendError::Connect { error, request: Box::new(request) })
            }
        }
    }

    async fn dial(&self, peer: &Peer) -> Result<SendRequest<Upload>, ConnectError> {
        let tcp = match connect(peer.endpoint(), None, self.settings.connect).await {
            Ok(Leg::Plain(tcp)) => tcp,
            Ok(Leg::Tls(_)) => unreachable!("no TLS was asked for"),
            Err(error) => {
                if !error.is_ours() {
                    peer.note(false);
                }
                return Err(error);
            }
        };
        peer.note(true);
        let io: TokioIo<TcpStream> = TokioIo::new(tcp);
        let handshake = Builder::new().max_buf_size(HEAD).handshake(io).await;
        let (sender, connection) =
            handshake.map_err(|error| ConnectError::Tcp(std::io::Error::other(error)))?;
        self.drain.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "a connection to an instance ended"); // whoever used it was told
            }
        });
        Ok(sender)
    }

    /// One exchange up to the head of the answer, with the connection; or the request as it was, if
    /// nothing of it was sent.
    async fn exchange(
        &self,
        mut connection: SendRequest<Upload>,
        request: Request<Upload>,
        progress: &Progress,
    ) -> Result<Result<(Response<Incoming>, SendRequest<Upload>), Request<Upload>>, SendError> {
        let began = Instant::now();
        let limit = self.settings.silence;
        let mut answer = pin!(connection.try_send_request(request));
        let mut silence = pin!(sleep(limit));
        let answered = loop {
            tokio::select! {
                biased;
                answered = answer.as_mut() => break answered,
                () = silence.as_mut() => {
                    let last = progress.last().map_or(began, |last| last.max(began));
                    if last.elapsed() >= limit {
                        return Err(SendError::Slow);
                    }
                    silence.as_mut().reset(last + limit); // a long body is still on its way
                }
            }
        };
        match answered {
            Ok(response) => Ok(Ok((response, connection))),
            Err(mut unsent) => match unsent.take_message() {
                Some(request) => Ok(Err(request)),
                None => Err(SendError::Broken(unsent.into_error())),
            },
        }
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        connection: SendRequest<Upload>,
        in_flight: InFlight,
        progress: &Progress,
    ) -> Response<Download> {
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let kept = (!upgraded && !self.leaving.load(Ordering::Relaxed)).then_some(connection);
        let (silence, most_idle) = (self.settings.silence, self.settings.most_idle);
        response.map(|incoming| {
            let mut download = Download {
                incoming,
                kept,
                most_idle,
                in_flight,
                upload: progress.clone(),
                silence,
                timer: None,
                seen: 0,
            };
            if download.incoming.is_end_stream() {
                download.done();
            }
            download
        })
    }

    /// Closes what waited for too long and forgets addresses that nobody uses. To be called every second.
    pub fn tidy(&self) {
        let idle = self.settings.idle;
        self.peers.write().retain(|_, peer| {
            peer.tidy(idle) || Arc::strong_count(peer) > 1 || peer.has_failed(Duration::from_secs(60))
        });
    }

    /// Closes what waits and keeps no connection from now on. Requests under way go on.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.peers.read().values().for_each(|peer| peer.clear());
    }
}

/// Why an answer broke off.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Cut {
    /// The instance's connection broke, or what came is no body.
    #[error("the answer broke off")]
    Broken,
    /// The instance said nothing for too long.
    #[error("the answer came too slowly")]
    Slow,
}

/// The body of an answer. When it has come to its end, its connection waits for another request.
#[derive(Debug)]
pub struct Download {
    incoming: Incoming,
    kept: Option<SendRequest<Upload>>,
    most_idle: usize,
    in_flight: InFlight,
    upload: Progress,
    silence: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    seen: u64,
}

impl Download {
    /// Bytes so far.
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    fn done(&mut self) {
        // A request that is still being sent occupies its connection.
        if let Some(connection) = self.kept.take().filter(|_| self.upload.is_complete()) {
            self.in_flight.0.put(connection, self.most_idle);
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let Poll::Ready(came) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            let limit = this.silence;
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
            ready!(timer.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Cut::Slow)));
        };
        this.timer = None;
        match came {
            None => this.done(),
            Some(Err(_)) => return Poll::Ready(Some(Err(Cut::Broken))),
            Some(Ok(frame)) => {
                this.seen += frame.data_ref().map_or(0, |data| data.len() as u64);
                if this.incoming.is_end_stream() {
                    this.done();
                }
                return Poll::Ready(Some(Ok(frame)));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
