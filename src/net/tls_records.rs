//! Many records at once through TLS: one read, all of its records decrypted; all records encrypted, one write.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::append::Made;
use super::batch::{Batch, Scratch};
use super::records::Records;
use super::tls_stream::{Say, Session, Step, TlsStream};

impl<S: AsyncRead + AsyncWrite + Unpin, C: Session> Records for TlsStream<S, C> {
    fn poll_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        let Scratch { wire, batch } = scratch;
        self.take_plain_records(batch);
        if batch.is_empty() && !self.incoming.is_empty() {
            let kept = &mut self.incoming[self.processed..];
            let (done, opened) = open(&mut self.session, kept, &mut self.outgoing, batch);
            self.done(done);
            self.opened(cx, opened, batch)?;
        }
        while batch.is_empty() && !self.ended {
            // What reading gave rise to (a ticket, an alert): nobody may come to flush it.
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
            let read = ready!(self.poll_wire(cx, wire, batch.bytes_wanted()))?;
            self.ended = read == 0;
            let (done, opened) = open(&mut self.session, &mut wire[..read], &mut self.outgoing, batch);
            if done < read {
                self.incoming = wire[done..read].to_vec();
            }
            self.opened(cx, opened, batch)?;
        }
        match self.broken.take() {
            Some(error) if batch.is_empty() => Poll::Ready(Err(error)),
            broken => {
                self.broken = broken;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// All or nothing: what the kernel does not take is kept, encrypted.
    fn poll_write_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<usize>> {
        let Scratch { wire, batch } = scratch;
        ready!(self.poll_send(cx))?;
        if self.said_close {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut out = Made::over(wire);
        for record in batch.records() {
            if let Err(error) = self.make(&Say::Bytes(record), &mut out) {
                return Poll::Ready(Err(self.alert(cx, error)));
            }
        }
        let mut left = out.bytes();
        while !left.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, left)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(taken) => left = &left[taken..],
                Poll::Pending => {
                    self.outgoing = left.to_vec();
                    break;
                }
            }
        }
        Poll::Ready(Ok(batch.bytes().len()))
    }

    fn unsent(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    fn poll_waste(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        scratch.batch.poll_fill(cx, &mut self.io)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Session> TlsStream<S, C> {
    /// What was decrypted before comes first.
    fn take_plain_records(&mut self, batch: &mut Batch) {
        while !batch.is_full()
            && let Some(record) = self.plain.pop_front()
        {
            batch.push(&record);
        }
        if self.plain.is_empty() {
            self.plain = VecDeque::new();
        }
    }

    /// Takes note of how opening ended. An error is told after the good records that came before it.
    fn opened(&mut self, cx: &mut Context<'_>, opened: io::Result<Step>, batch: &Batch) -> io::Result<()> {
        match opened {
            Ok(Step::Again | Step::Idle) => Ok(()),
            Ok(Step::Closed) => {
                self.ended = true;
                self.done(self.incoming.len());
                Ok(())
            }
            Err(error) => {
                let error = self.alert(cx, error);
                if batch.is_empty() {
                    return Err(error);
                }
                self.broken = Some(error);
                Ok(())
            }
        }
    }
}

/// Moves the records of `wire` to `batch`, until one is incomplete or the batch is full. Says how many
/// bytes are done with. What is to be answered goes to `outgoing`.
fn open<C: Session>(
    session: &mut C,
    wire: &mut [u8],
    outgoing: &mut Vec<u8>,
    batch: &mut Batch,
) -> (usize, io::Result<Step>) {
    let mut out = Made::after(outgoing);
    let mut done = 0;
    let mut opened = Ok(Step::Again);
    while matches!(opened, Ok(Step::Again)) && done < wire.len() && !batch.is_full() {
        let mut take = |record: &[u8]| batch.push(record);
        let more;
        (more, opened) =
            TlsStream::<(), C>::step(session, &mut wire[done..], &mut out, &mut take, &Say::Nothing);
        done += more;
    }
    out.trim();
    (done, opened)
}
