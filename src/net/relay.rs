//! The relay: bytes both ways, record for record, the two directions never waiting for each other.
//!
//! Nothing is held while idle: a chunk is read into a buffer shared by all relays of a thread and
//! written at once; only what the other side does not take is kept, and then nothing more is read.

use std::io;
use std::time::Duration;

use tokio_rustls::server;

use super::connect::Leg;
use super::traffic::Traffic;

/// Which side something is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The side that called us.
    Device,
    /// The side we called.
    Instance,
}

/// How long a relay waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// No byte from either side for so long ends it.
    pub silence: Duration,
    /// A write that makes no progress for so long ends it.
    pub stall: Duration,
    /// After the end: how long close_notify and FIN may take before the sockets are dropped.
    pub grace: Duration,
}

/// How a relay ended. `R` is the watch's refusal, `S` what stopped it from outside.
#[derive(Debug)]
pub enum Ended<R, S> {
    /// A side closed its connection (close_notify, FIN or both).
    Closed(Side),
    /// A side's connection failed.
    Failed(Side, io::Error),
    /// The watch refused bytes of the device.
    Refused(R),
    /// Nobody spoke for [`Limits::silence`].
    Silent,
    /// This side took no bytes for [`Limits::stall`].
    Stalled(Side),
    /// `stop` was ready.
    Stopped(S),
}

/// What the relay shows each chunk of the device to before it passes it on.
pub trait Watch {
    /// Why bytes may not pass.
    type Refusal;
    /// Looks at a chunk. `Err` ends the relay and the chunk is not passed on.
    fn device_bytes(&mut self, chunk: &[u8]) -> Result<(), Self::Refusal>;
}

/// Relays until something ends it. Then the caller calls [`close`].
///
/// A side that closes ends the relay at once after what it said before was passed on: APF has no
/// half-close, and firmware keeps talking into a half-closed tunnel.
pub async fn relay<S, W, F>(
    _device: &mut server::TlsStream<S>,
    _instance: &mut Leg,
    _watch: &mut W,
    _traffic: &Traffic,
    _limits: &Limits,
    _stop: F,
) -> Ended<W::Refusal, F::Output>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    W: Watch,
    F: Future,
{
    todo!()
}

pub use super::records::close;
