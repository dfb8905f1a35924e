//! A stream whose first bytes were read already and are read again.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads `head` first, then `io`; writes go to `io`. The head's memory is freed once read.
#[derive(Debug)]
pub struct Rewind<S> {
    head: Bytes,
    io: S,
}

impl<S> Rewind<S> {
    /// `io` as if `head` had not been read yet.
    pub fn new(head: Bytes, io: S) -> Self {
        Self { head, io }
    }

    /// What is still to be read again, and the stream beneath.
    pub fn get_ref(&self) -> (&Bytes, &S) {
        (&self.head, &self.io)
    }

    /// What is still to be read again, and the stream beneath.
    pub fn into_inner(self) -> (Bytes, S) {
        (self.head, self.io)
    }
}

impl<S> Rewind<Rewind<S>> {
    /// Two heads read one after the other become one.
    pub fn flatten(self) -> Rewind<S> {
        let (outer, Rewind { head: inner, io }) = self.into_inner();
        let head = match (outer.is_empty(), inner.is_empty()) {
            (_, true) => outer,
            (true, false) => inner,
            (false, false) => {
                let mut both = BytesMut::with_capacity(outer.len() + inner.len());
                both.extend_from_slice(&outer);
                both.extend_from_slice(&inner);
                both.freeze()
            }
        };
        Rewind { head, io }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let amount = self.head.len().min(buf.remaining());
        buf.put_slice(&self.head[..amount]);
        self.head.advance(amount);
        if self.head.is_empty() {
            self.head = Bytes::new(); // an empty slice would still hold the memory
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewind<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn the_head_is_read_first_and_then_freed() {
        let (mut near, far) = tokio::io::duplex(64);
        let mut stream = Rewind::new(Bytes::from(vec![1, 2, 3]), far);
        near.write_all(&[4, 5]).await.expect("room");
        for expected in 1..=5 {
            assert_eq!(stream.read_u8().await.expect("five bytes"), expected);
        }
        assert!(stream.get_ref().0.is_empty());
        stream.write_all(b"back").await.expect("room");
        let mut back = [0; 4];
        near.read_exact(&mut back).await.expect("writes go through");
        assert_eq!(&back, b"back");
    }

    #[tokio::test]
    async fn two_heads_become_one_in_order() {
        for (outer, inner) in [(&b"ab"[..], &b"cd"[..]), (b"", b"abcd"), (b"abcd", b"")] {
            let (_near, far) = tokio::io::duplex(64);
            let both = Rewind::new(Bytes::copy_from_slice(outer), Rewind::new(inner.into(), far));
            assert_eq!(both.flatten().get_ref().0, &b"abcd"[..]);
        }
    }
}
