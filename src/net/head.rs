//! Reads a bounded head of a stream, then gives the stream back.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use super::rewind::Rewind;

/// Why no head was found.
#[derive(Debug, thiserror::Error)]
pub enum HeadError<E> {
    /// The other side closed after so many bytes.
    #[error("closed after {0} bytes")]
    Closed(usize),
    /// Reading failed.
    #[error("read")]
    Io(#[from] io::Error),
    /// No answer within so many bytes.
    #[error("longer than {0} bytes")]
    Long(usize),
    /// The parser refused what it saw.
    #[error("refused: {0}")]
    Refused(E),
}

/// Reads until `parse` has an answer, never past `bound`, then gives the stream back.
///
/// `parse` sees all bytes so far (perhaps none yet: the first call may be with an empty slice) and
/// answers with a value and how many bytes it consumed; the rest is read again from the stream.
/// Not bounded in time: callers put a timeout around it. Cancelling it loses the stream.
pub async fn read_head<S, T, E>(
    _io: S,
    _bound: usize,
    _parse: impl FnMut(&[u8]) -> Result<Option<(T, usize)>, E>,
) -> Result<(T, Rewind<S>), HeadError<E>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    todo!()
}
