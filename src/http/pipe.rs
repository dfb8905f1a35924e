//! What an upgraded connection is: bytes both ways, until one side ends it.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::watched::Watched;
use crate::net::records::{Records, close, next_record};
use crate::net::relay::{Ended, Limits, Side, Watch, relay};
use crate::net::rewind::Rewind;
use crate::net::traffic::Traffic;

/// Looks at nothing.
struct Everything;

impl Watch for Everything {
    type Refusal = Infallible;

    fn device_bytes(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
}

/// How a pipe ended; `S` is what stopped it from outside. The caller is the side called the device.
pub type PipeEnd<S> = Ended<Infallible, S>;

/// The caller's connection, with the bytes that came together with its request. Fails if it was no
/// [`Watched`] of `S`.
pub fn caller<S>(upgraded: Upgraded) -> io::Result<Rewind<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let parts = upgraded
        .downcast::<TokioIo<Watched<S>>>()
        .map_err(|_| io::Error::other("not a caller's connection"))?;
    Ok(Rewind::new(parts.read_buf, parts.io.into_inner().into_inner()))
}

/// The instance's connection, with the bytes that came together with its answer.
pub fn instance(upgraded: Upgraded) -> io::Result<Rewind<TcpStream>> {
    let parts = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| io::Error::other("not an instance's connection"))?;
    Ok(Rewind::new(parts.read_buf, parts.io.into_inner()))
}

/// Passes bytes both ways until one side ends it, time runs out or `stop` is ready; then closes both.
///
/// The end of one side, however it comes, reaches the other at once. One that only stops speaking still
/// hears what the other says, for `limits.grace`. Not safe to cancel: bytes may be lost.
pub async fn pipe<C, I, F>(
    mut caller: C,
    mut instance: I,
    traffic: &Traffic,
    limits: &Limits,
    stop: F,
) -> PipeEnd<F::Output>
where
    C: Records,
    I: Records,
    F: Future,
{
    let ended = relay(&mut caller, &mut instance, &mut Everything, traffic, limits, stop).await;
    let heard = |bytes| traffic.heard_instance(bytes);
    let said = |bytes| traffic.heard_device(bytes);
    match &ended {
        Ended::Closed(Side::Device) => hear_out(&mut instance, &mut caller, limits.grace, heard).await,
        Ended::Closed(Side::Instance) => hear_out(&mut caller, &mut instance, limits.grace, said).await,
        _ => {}
    }
    tokio::join!(close(caller, limits.grace), close(instance, limits.grace));
    ended
}

/// Tells `speaker` that nothing more will come, and passes on what it still says.
async fn hear_out<A: Records, B: Records>(
    speaker: &mut A,
    listener: &mut B,
    grace: Duration,
    count: impl Fn(usize),
) {
    let hearing = async {
        speaker.shutdown().await?;
        while let Some(record) = next_record(speaker).await? {
            count(record.len());
            listener.write_all(&record).await?;
            listener.flush().await?;
        }
        io::Result::Ok(())
    };
    // Whatever it comes to, both are closed next.
    let _ = timeout(grace, hearing).await;
}
