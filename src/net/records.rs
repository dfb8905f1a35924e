//! Streams as records: what came in one TLS record is handed out, and sent, as one piece.
//!
//! A plain TCP stream has no records; what one read yields stands for one.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::batch::{READ, Scratch, with_scratch};
use super::connect::Leg;
use super::rewind::Rewind;

/// A stream that can be read and written record by record.
pub trait Records: AsyncRead + AsyncWrite + Unpin {
    /// Moves the records that are there, or what is left of one, to the batch, which is empty; reads about as
    /// much as the batch wants. At the end of the stream the batch stays empty.
    ///
    /// A TLS peer that leaves without close_notify has ended its stream like any other: firmware does.
    fn poll_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>>;

    /// Writes the batch, record for record; says how many bytes were taken, which is all or none where there
    /// are records.
    fn poll_write_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, scratch.batch.bytes())
    }

    /// Bytes accepted by a write and not yet taken by the kernel, where that is known.
    fn unsent(&self) -> usize {
        0
    }

    /// The same once nobody is interested in it: it comes as it is on the wire, whatever state TLS is in.
    fn poll_waste(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        self.poll_records(cx, scratch)
    }
}

impl Records for TcpStream {
    fn poll_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        scratch.batch.poll_fill(cx, self)
    }
}

/// In clear: the bytes read before are a piece of their own.
impl Records for Rewind<TcpStream> {
    fn poll_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        scratch.batch.poll_fill(cx, self)
    }
}

impl<T: Records> Records for Box<T> {
    fn poll_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        (**self).poll_records(cx, scratch)
    }

    fn poll_write_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<usize>> {
        (**self).poll_write_records(cx, scratch)
    }

    fn unsent(&self) -> usize {
        (**self).unsent()
    }

    fn poll_waste(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        (**self).poll_waste(cx, scratch)
    }
}

impl Records for Leg {
    fn poll_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => tcp.poll_records(cx, scratch),
            Self::Tls(stream) => stream.poll_records(cx, scratch),
        }
    }

    fn poll_write_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => tcp.poll_write_records(cx, scratch),
            Self::Tls(stream) => stream.poll_write_records(cx, scratch),
        }
    }

    fn unsent(&self) -> usize {
        match self {
            Self::Plain(tcp) => tcp.unsent(),
            Self::Tls(stream) => stream.unsent(),
        }
    }

    fn poll_waste(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => tcp.poll_waste(cx, scratch),
            Self::Tls(stream) => stream.poll_waste(cx, scratch),
        }
    }
}

/// Lends the next record's bytes, none at the end of the stream, to `work`, which returns at once.
pub fn poll_record<T: Records, R>(
    stream: &mut T,
    cx: &mut Context<'_>,
    work: impl FnOnce(&[u8]) -> R,
) -> Poll<io::Result<R>> {
    with_scratch(READ, 1, |scratch| {
        ready!(stream.poll_records(cx, scratch))?;
        Poll::Ready(Ok(work(scratch.batch.bytes())))
    })
}

/// The next record's bytes; `None` at the end of the stream. Safe to cancel.
pub async fn next_record<T: Records>(stream: &mut T) -> io::Result<Option<Bytes>> {
    let some = |record: &[u8]| (!record.is_empty()).then(|| Bytes::copy_from_slice(record));
    poll_fn(|cx| poll_record(stream, cx, some)).await
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
            poll_fn(|cx| throw_away(&mut leg, cx)).await
        };
        // Either way nothing more can be done for it.
        let _: Result<io::Result<()>, _> = tokio::time::timeout(grace, closing).await;
    })
}

/// Reads until the other side closed.
fn throw_away<T: Records>(leg: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    loop {
        let ended = with_scratch(READ, usize::MAX, |scratch| {
            ready!(leg.poll_waste(cx, scratch))?;
            Poll::Ready(Ok::<_, io::Error>(scratch.batch.is_empty()))
        });
        if ready!(ended)? {
            return Poll::Ready(Ok(()));
        }
    }
}
