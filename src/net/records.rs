//! Streams as records: what came in one TLS record is handed out, and sent, as one piece.
//!
//! A plain TCP stream has no records; what one read yields stands for one.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::connect::Leg;
use super::rewind::Rewind;

/// What a plain stream is asked for at once: as much as one TLS record carries.
const READ: usize = 16 * 1024;
/// The size of the buffer that all streams of a thread share: no record is larger.
const SCRATCH: usize = 64 * 1024;

thread_local! {
    /// Read buffer of all streams of a thread: a stream that waits for bytes holds no memory.
    static SHARED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's buffer, of 64 KiB: for [`Records::poll_record`], and nothing that waits.
pub fn with_scratch<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    // Taken, not borrowed: should `work` come here again, it gets another one.
    let mut scratch = SHARED.take();
    scratch.resize(SCRATCH, 0);
    let result = work(&mut scratch);
    SHARED.replace(scratch);
    result
}

/// A stream that can be read record by record.
pub trait Records: AsyncRead + AsyncWrite + Unpin {
    /// Takes the next record, or what is left of it, into `scratch` (at least 16 KiB) and says how long it
    /// is; 0 at the end of the stream.
    ///
    /// A TLS peer that leaves without close_notify has ended its stream like any other: firmware does.
    fn poll_record(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Bytes accepted by a write and not yet taken by the kernel, where that is known.
    fn unsent(&self) -> usize {
        0
    }
}

impl Records for TcpStream {
    fn poll_record(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(&mut scratch[..READ]);
        ready!(Pin::new(self).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

/// In clear: the bytes read before are a piece of their own.
impl Records for Rewind<TcpStream> {
    fn poll_record(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(&mut scratch[..READ]);
        ready!(Pin::new(self).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<T: Records> Records for Box<T> {
    fn poll_record(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        (**self).poll_record(cx, scratch)
    }

    fn unsent(&self) -> usize {
        (**self).unsent()
    }
}

impl Records for Leg {
    fn poll_record(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => tcp.poll_record(cx, scratch),
            Self::Tls(stream) => stream.poll_record(cx, scratch),
        }
    }

    fn unsent(&self) -> usize {
        match self {
            Self::Plain(tcp) => tcp.unsent(),
            Self::Tls(stream) => stream.unsent(),
        }
    }
}

/// The next record's bytes; `None` at the end of the stream. Safe to cancel.
pub async fn next_record<T: Records>(stream: &mut T) -> io::Result<Option<Bytes>> {
    poll_fn(|cx| {
        with_scratch(|scratch| {
            let len = ready!(stream.poll_record(cx, scratch))?;
            Poll::Ready(Ok((len > 0).then(|| Bytes::copy_from_slice(&scratch[..len]))))
        })
    })
    .await
}

/// The next bytes, at most `most` and 4 KiB; what else came with them stays in the stream. `None` at the
/// end of the stream. Safe to cancel.
pub async fn next_bytes<T: Records>(stream: &mut T, most: usize) -> io::Result<Option<Bytes>> {
    poll_fn(|cx| {
        let mut room = [0; 4096]; // on the stack: nothing is held while it waits
        let most = most.min(room.len());
        let mut buf = ReadBuf::new(&mut room[..most]);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf))?;
        let bytes = buf.filled();
        Poll::Ready(Ok((!bytes.is_empty()).then(|| Bytes::copy_from_slice(bytes))))
    })
    .await
}

/// Sends `bytes`, at most 16 KiB, as one record. Not safe to cancel: part of it may be sent.
pub async fn write_record<T: AsyncWrite + Unpin>(stream: &mut T, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Closes a leg fully: close_notify, FIN, then at most `grace` for the other side to close, drop.
///
/// What still comes is thrown away. Dropping a socket with unread bytes resets the connection, and the
/// reset may overtake what was said last; so the other side gets the time to hear it and to close.
/// One that ignores the FIN is answered with a reset when it speaks again, as firmware needs.
///
/// Boxed, so that a task which relays for hours has no room set aside for its last second.
pub fn close<T: Records>(mut leg: T, grace: Duration) -> Pin<Box<impl Future<Output = ()>>> {
    Box::pin(async move {
        let closing = async {
            leg.shutdown().await?;
            poll_fn(|cx| with_scratch(|scratch| throw_away(&mut leg, cx, scratch))).await
        };
        // Either way nothing more can be done for it.
        let _: Result<io::Result<()>, _> = tokio::time::timeout(grace, closing).await;
    })
}

/// Reads until the other side closed.
fn throw_away<T: Records>(leg: &mut T, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<()>> {
    while ready!(leg.poll_record(cx, scratch))? > 0 {}
    Poll::Ready(Ok(()))
}
