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
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

use super::connect::Leg;

/// What a plain stream is asked for at once: as much as one TLS record carries.
pub const READ: usize = 16 * 1024;

thread_local! {
    /// Read buffer of all streams of a thread: a stream that waits for bytes holds no memory.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's buffer of [`READ`] bytes.
pub(super) fn with_scratch<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    // Taken, not borrowed: should `work` come here again, it gets another one.
    let mut scratch = SCRATCH.take();
    scratch.resize(READ, 0);
    let result = work(&mut scratch);
    SCRATCH.replace(scratch);
    result
}

/// A stream that can be read record by record.
pub trait Records: AsyncRead + AsyncWrite + Unpin {
    /// The next record's bytes, or what is left of them; empty at the end of the stream. They stay
    /// until [`Records::consume`] takes them; `scratch` may be where they are.
    ///
    /// A TLS peer that leaves without close_notify has ended its stream like any other: firmware does.
    fn poll_record<'a>(
        &'a mut self,
        cx: &mut Context<'_>,
        scratch: &'a mut [u8],
    ) -> Poll<io::Result<&'a [u8]>>;

    /// Takes `amount` bytes of what [`Records::poll_record`] gave. A plain stream wants all of them taken.
    fn consume(&mut self, amount: usize);

    /// Bytes accepted by a write and not yet taken by the kernel.
    fn unsent(&mut self) -> usize;
}

fn fill<'a, T: AsyncBufRead + Unpin>(stream: &'a mut T, cx: &mut Context<'_>) -> Poll<io::Result<&'a [u8]>> {
    match Pin::new(stream).poll_fill_buf(cx) {
        Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(&[])),
        other => other,
    }
}

/// The two kinds of TLS stream differ in their type only.
macro_rules! tls_records {
    ($stream:ty) => {
        impl<S: AsyncRead + AsyncWrite + Unpin> Records for $stream {
            fn poll_record<'a>(
                &'a mut self,
                cx: &mut Context<'_>,
                _: &'a mut [u8],
            ) -> Poll<io::Result<&'a [u8]>> {
                fill(self, cx)
            }

            fn consume(&mut self, amount: usize) {
                AsyncBufRead::consume(Pin::new(self), amount);
            }

            fn unsent(&mut self) -> usize {
                // Nothing waits to be processed here: this only asks how things stand.
                self.get_mut().1.process_new_packets().map_or(0, |state| state.tls_bytes_to_write())
            }
        }
    };
}

tls_records!(server::TlsStream<S>);
tls_records!(client::TlsStream<S>);

impl Records for TcpStream {
    fn poll_record<'a>(
        &'a mut self,
        cx: &mut Context<'_>,
        scratch: &'a mut [u8],
    ) -> Poll<io::Result<&'a [u8]>> {
        let mut buf = ReadBuf::new(scratch);
        ready!(Pin::new(self).poll_read(cx, &mut buf))?;
        let heard = buf.filled().len();
        Poll::Ready(Ok(&scratch[..heard]))
    }

    fn consume(&mut self, _: usize) {}

    fn unsent(&mut self) -> usize {
        0
    }
}

impl Records for Leg {
    fn poll_record<'a>(
        &'a mut self,
        cx: &mut Context<'_>,
        scratch: &'a mut [u8],
    ) -> Poll<io::Result<&'a [u8]>> {
        match self {
            Self::Plain(tcp) => tcp.poll_record(cx, scratch),
            Self::Tls(stream) => stream.poll_record(cx, scratch),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::Plain(tcp) => tcp.consume(amount),
            Self::Tls(stream) => Records::consume(&mut **stream, amount),
        }
    }

    fn unsent(&mut self) -> usize {
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
            let record = Bytes::copy_from_slice(ready!(stream.poll_record(cx, scratch))?);
            stream.consume(record.len());
            Poll::Ready(Ok((!record.is_empty()).then_some(record)))
        })
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
pub fn close<T: AsyncRead + AsyncWrite + Unpin>(
    mut leg: T,
    grace: Duration,
) -> Pin<Box<impl Future<Output = ()>>> {
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
fn throw_away<T: AsyncRead + Unpin>(
    leg: &mut T,
    cx: &mut Context<'_>,
    scratch: &mut [u8],
) -> Poll<io::Result<()>> {
    loop {
        let mut buf = ReadBuf::new(scratch);
        ready!(Pin::new(&mut *leg).poll_read(cx, &mut buf))?;
        if buf.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
}
