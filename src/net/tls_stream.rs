//! A TLS stream that holds nothing while idle: rustls' unbuffered connection over any I/O.
//!
//! The usual adapter keeps a read buffer of 4 KiB for each connection and fills it 4 KiB at a time.
//! This one reads into the buffer all streams of a thread share, decrypts it there, and keeps what is left
//! of a record only while it is incomplete. It hands out records as they came and sends each write as it
//! is given. What a relay needs of it, many records at once, is in `tls_records`.
//! All of TLS is rustls'; here is only where bytes wait.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use rustls::CommonState;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedConnectionCommon, UnbufferedStatus};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::append::Made;
use super::batch::{READ, with_scratch};
use super::records::Records as _;

/// Bytes not yet processed, at most: rustls' own bound for a handshake message in fragments.
const INCOMING: usize = 64 * 1024;
/// What is read at least, although much waits.
const LEAST: usize = 4 * 1024;
/// Bytes encrypted by one write, at most.
const OUTGOING: usize = 64 * 1024;

/// TLS towards someone who called us.
pub type ServerStream<S> = TlsStream<S, UnbufferedServerConnection>;
/// TLS towards someone we called.
pub type ClientStream<S> = TlsStream<S, UnbufferedClientConnection>;

/// Either side of rustls' unbuffered connection.
pub trait Session: Deref<Target = UnbufferedConnectionCommon<Self::Data>> + DerefMut + Unpin {
    /// What rustls keeps for this side.
    type Data;

    /// `process_tls_records`, which rustls defines on each side apart.
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Session for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Session for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// TLS over `S`. The end of the stream is close_notify or the end of `S`, whichever comes first.
pub struct TlsStream<S, C> {
    pub(super) io: S,
    pub(super) session: C,
    /// Read and not yet processed, from `processed` on; most often nothing, or part of a record.
    pub(super) incoming: Vec<u8>,
    pub(super) processed: usize,
    /// Made and not yet sent, from `sent` on.
    pub(super) outgoing: Vec<u8>,
    pub(super) sent: usize,
    /// Decrypted and not yet handed out: only if a write, or a reader with little room, came between.
    pub(super) plain: VecDeque<Bytes>,
    /// What is wrong with the record behind those handed out.
    pub(super) broken: Option<io::Error>,
    pub(super) ended: bool,
    pub(super) said_close: bool,
}

impl<S, C> fmt::Debug for TlsStream<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.incoming.len() - self.processed;
        f.debug_struct("TlsStream").field("incoming", &waiting).finish_non_exhaustive()
    }
}

/// What is to be said as soon as the session can.
pub(super) enum Say<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Close,
}

/// What became of one step.
pub(super) enum Step {
    /// A record was handed out, or something was made to be sent: there may be more.
    Again,
    /// All that was read is processed, and `Say` was said.
    Idle,
    /// The other side closed.
    Closed,
}

impl<S, C: Session> TlsStream<S, C> {
    /// A stream that has yet to [`shake`](Self::shake) hands.
    pub(super) fn new(io: S, session: C) -> Self {
        Self {
            io,
            session,
            incoming: Vec::new(),
            processed: 0,
            outgoing: Vec::new(),
            sent: 0,
            plain: VecDeque::new(),
            broken: None,
            ended: false,
            said_close: false,
        }
    }

    /// The stream beneath. What was read and not handed out is lost, and so is what waits to be sent.
    pub fn into_io(self) -> S {
        self.io
    }

    /// The stream beneath, and what is known of the session.
    pub fn get_ref(&self) -> (&S, &CommonState) {
        (&self.io, &self.session)
    }

    /// One state of `session` over `incoming`, of which it says how much is done with. What it makes goes to
    /// `out`, a record's bytes go to `take`. After an error an alert may wait.
    pub(super) fn step(
        session: &mut C,
        incoming: &mut [u8],
        out: &mut Made<'_>,
        take: &mut dyn FnMut(&[u8]),
        say: &Say<'_>,
    ) -> (usize, io::Result<Step>) {
        let UnbufferedStatus { mut discard, state } = session.process(incoming);
        let step = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    take(record.payload);
                    Ok(Step::Again)
                }
                Some(Err(error)) => Err(invalid(error)),
                None => Ok(Step::Again),
            },
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                out.append(|room| Ok(data.encode(room)?)).map(|()| Step::Again)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done(); // it is in `out`, which keeps the order
                Ok(Step::Again)
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => match say {
                Say::Nothing => Ok(Step::Idle),
                Say::Bytes(bytes) => {
                    out.append(|room| Ok(traffic.encrypt(bytes, room)?)).map(|()| Step::Idle)
                }
                Say::Close => out.append(|room| Ok(traffic.queue_close_notify(room)?)).map(|()| Step::Idle),
            },
            Ok(ConnectionState::BlockedHandshake) => match say {
                Say::Nothing | Say::Close => Ok(Step::Idle),
                Say::Bytes(_) => Err(io::ErrorKind::NotConnected.into()),
            },
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Closed),
            Ok(_) => Err(io::Error::other("rustls offers early data, which nobody asked for")),
            Err(error) => Err(invalid(error)),
        };
        (discard, step)
    }

    /// Of what is kept, so much is done with.
    pub(super) fn done(&mut self, more: usize) {
        self.processed += more;
        if self.processed >= self.incoming.len() {
            self.incoming = Vec::new();
            self.processed = 0;
        }
    }

    /// Makes `say` into `out`; records that come to light are kept for the reader.
    pub(super) fn make(&mut self, say: &Say<'_>, out: &mut Made<'_>) -> io::Result<()> {
        loop {
            let kept = &mut self.incoming[self.processed..];
            let mut take = |record: &[u8]| self.plain.push_back(Bytes::copy_from_slice(record));
            let (done, step) = Self::step(&mut self.session, kept, out, &mut take, say);
            self.done(done);
            match step? {
                Step::Again => {}
                // It is noted, and does not keep us from writing.
                Step::Closed if !self.ended => self.ended = true,
                Step::Closed => return Err(io::ErrorKind::BrokenPipe.into()),
                Step::Idle => return Ok(()),
            }
        }
    }

    /// Makes `say`, to be sent after what waits.
    fn say(&mut self, say: &Say<'_>) -> io::Result<()> {
        let mut outgoing = mem::take(&mut self.outgoing);
        let mut out = Made::after(&mut outgoing);
        let said = self.make(say, &mut out);
        out.trim();
        self.outgoing = outgoing;
        said
    }

    /// Takes what was decrypted before, as much as `room` holds.
    fn take_plain(&mut self, room: &mut [u8]) -> usize {
        let Some(first) = self.plain.front_mut() else { return 0 };
        let amount = first.len().min(room.len());
        room[..amount].copy_from_slice(&first[..amount]);
        first.advance(amount);
        if first.is_empty() {
            self.plain.pop_front();
        }
        if self.plain.is_empty() {
            self.plain = VecDeque::new();
        }
        amount
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Session> TlsStream<S, C> {
    /// A stream that shook hands. Not bounded in time: callers put a timeout around it.
    pub async fn handshake(io: S, session: C) -> io::Result<Self> {
        let mut stream = Self::new(io, session);
        stream.shake().await.map(|()| stream)
    }

    /// Shakes hands. After an error the alert was said, if the kernel took it.
    pub async fn shake(&mut self) -> io::Result<()> {
        poll_fn(|cx| with_scratch(READ, 0, |scratch| self.poll_handshake(cx, &mut scratch.wire))).await
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>, wire: &mut Vec<u8>) -> Poll<io::Result<()>> {
        loop {
            match self.say(&Say::Nothing) {
                Ok(()) if !self.ended => {}
                Ok(()) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Err(error) => return Poll::Ready(Err(self.alert(cx, error))),
            }
            let sent = self.poll_send(cx);
            if !self.session.is_handshaking() || matches!(sent, Poll::Ready(Err(_))) {
                return sent;
            }
            // Reads although not all is sent: else two who talk much would wait for each other.
            let read = ready!(self.poll_wire(cx, wire, READ))?;
            if read == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.incoming = wire[..read].to_vec();
        }
    }

    /// Sends the alert that belongs to `error`, if the kernel takes it at once.
    pub(super) fn alert(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        self.ended = true;
        // What broke the session must not be processed again, and is not while an alert waits.
        self.done(self.incoming.len());
        let mut out = Made::after(&mut self.outgoing);
        while self.session.wants_write() {
            let (_, step) = Self::step(&mut self.session, &mut [], &mut out, &mut |_| {}, &Say::Nothing);
            let Ok(Step::Again) = step else { break };
        }
        out.trim();
        // The error that counts is the first one.
        let _: Poll<io::Result<()>> = self.poll_send(cx);
        error
    }

    /// Reads about `most` bytes of TLS behind those that are kept, and moves all to `wire`; says how many
    /// they are, 0 at the end.
    pub(super) fn poll_wire(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Vec<u8>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let kept = self.incoming.len() - self.processed;
        if kept >= INCOMING {
            let error = io::Error::new(io::ErrorKind::InvalidData, "a TLS message without end");
            return Poll::Ready(Err(error));
        }
        let room = most.max(kept + LEAST);
        if wire.len() < room {
            wire.resize(room, 0);
        }
        let mut buf = ReadBuf::new(&mut wire[kept..room]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
        let read = buf.filled().len();
        if read == 0 {
            return Poll::Ready(Ok(0));
        }
        wire[..kept].copy_from_slice(&self.incoming[self.processed..]);
        self.done(kept);
        Poll::Ready(Ok(kept + read))
    }

    /// Sends what was made.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.outgoing.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.outgoing[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.sent += taken,
            }
        }
        self.outgoing = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

pub(super) fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Session> AsyncRead for TlsStream<S, C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.plain.is_empty() {
            return with_scratch(READ, 1, |scratch| {
                ready!(this.poll_records(cx, scratch))?;
                let record = scratch.batch.bytes();
                let (now, later) = record.split_at(record.len().min(buf.remaining()));
                buf.put_slice(now);
                if !later.is_empty() {
                    this.plain.push_back(Bytes::copy_from_slice(later));
                }
                Poll::Ready(Ok(()))
            });
        }
        let room = buf.initialize_unfilled();
        let taken = this.take_plain(room);
        buf.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Session> AsyncWrite for TlsStream<S, C> {
    /// Takes at most 64 KiB, as records of at most 16 KiB, and only once what was taken before is sent.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        if this.said_close {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let taken = &buf[..buf.len().min(OUTGOING)];
        if !taken.is_empty() {
            if let Err(error) = this.say(&Say::Bytes(taken)) {
                return Poll::Ready(Err(this.alert(cx, error)));
            }
            if let Poll::Ready(Err(error)) = this.poll_send(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    /// close_notify, then the end of the stream beneath.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.said_close {
            this.said_close = true;
            // A broken session has said its alert instead.
            let _: io::Result<()> = this.say(&Say::Close);
        }
        ready!(this.poll_send(cx))?;
        match ready!(Pin::new(&mut this.io).poll_shutdown(cx)) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}

#[cfg(test)]
#[path = "tls_stream_tests.rs"]
mod tests;
