//! One caller's connection: requests one after the other, each within its bounds, until either side
//! closes, time runs out, the connection becomes something else or a drain ends it between two.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

pub use super::watched::{Patience, Turns, Watched};

use super::refusal::last_words;
use crate::lifecycle::Drain;

/// The least that a head may be bounded to, in bytes.
pub const LEAST_HEAD: usize = 8 * 1024;

/// How long an answer that ends a connection may take to be sent.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long the rest of a body that nobody wants is still taken.
const LINGER: Duration = Duration::from_secs(2);

/// Bounds of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest head, in bytes; at least [`LEAST_HEAD`]. (It has at most 100 lines.)
    pub head: usize,
    /// How long the caller may take.
    pub patience: Patience,
}

/// Who answers the requests of a connection.
pub trait Service: Send + Sync + 'static {
    /// What it answers with.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Unpin
        + Send
        + 'static;

    /// Answers a request.
    fn call(&self, request: Request<Incoming>) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Answers what is no request: no HTTP (400), a head too long (431) or one that came too slowly (408).
    fn refuse(&self, status: StatusCode) -> Response<Bytes>;
}

/// Serves one connection to its end. Safe to cancel: the connection is closed.
///
/// A caller that shuts down its writing side still gets its answer; one that resets its connection gives
/// its request up. An upgraded connection is a [`Watched`] of `S` inside hyper's `Upgraded`.
pub async fn serve<S, T>(io: S, limits: Limits, service: Arc<T>, drain: &Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: Service,
{
    let turns = Arc::new(Turns::default());
    let refusing = Arc::clone(&service);
    let in_place = Box::new(move |status| last_words(&refusing.refuse(status)));
    let io = Watched::new(io, Arc::clone(&turns), limits.patience, in_place);
    let (calling, begun) = (Arc::clone(&service), Arc::clone(&turns));
    let answer = service_fn(move |mut request: Request<Incoming>| {
        let coming = !request.body().is_end_stream();
        begun.begin(coming);
        if coming {
            request.extensions_mut().insert(Arc::clone(&begun));
        }
        let (service, turns) = (Arc::clone(&calling), Arc::clone(&begun));
        async move {
            let turn = Turn(turns);
            Ok::<_, Infallible>(service.call(request).await.map(|body| Answer { body, _turn: turn }))
        }
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.head.max(LEAST_HEAD)).max_header_size(limits.head);
    let mut connection = builder.serve_connection(TokioIo::new(io), answer).with_upgrades();
    let ended = {
        let mut begun = pin!(drain.begun());
        let mut leaving = false;
        std::future::poll_fn(|cx| {
            if !leaving && begun.as_mut().poll(cx).is_ready() {
                leaving = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            Pin::new(&mut connection).poll(cx)
        })
        .await
    };
    let slow = ended.is_err() && turns.slow();
    if !slow && !turns.is_coming() {
        return;
    }
    let Some(parts) = connection.into_parts() else { return };
    let mut io = parts.io.into_inner().into_inner();
    if slow {
        let words = last_words(&service.refuse(StatusCode::REQUEST_TIMEOUT));
        // Who was slow before may be so now.
        let _ = timeout(LAST_WORDS, async {
            io.write_all(&words).await?;
            io.shutdown().await
        })
        .await;
    } else {
        // A caller in the middle of its body: a reset now could take the answer from it.
        let _ = timeout(LINGER, tokio::io::copy(&mut io, &mut tokio::io::sink())).await;
    }
}

/// One request under way, until dropped.
struct Turn(Arc<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// An answer's body: while it is there, its request is under way.
struct Answer<B> {
    body: B,
    _turn: Turn,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
