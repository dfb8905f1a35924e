//! Reads a bounded head of a stream, then gives the stream back.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::rewind::Rewind;

/// Bytes taken from the stream at once, at most.
const STEP: usize = 2048;

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
/// `parse` sees all bytes so far (perhaps none yet: the first call is with an empty slice) and
/// answers with a value and how many bytes it consumed; the rest is read again from the stream.
/// Not bounded in time: callers put a timeout around it. Cancelling it loses the stream.
pub async fn read_head<S, T, E>(
    mut io: S,
    bound: usize,
    mut parse: impl FnMut(&[u8]) -> Result<Option<(T, usize)>, E>,
) -> Result<(T, Rewind<S>), HeadError<E>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = BytesMut::new();
    loop {
        if let Some((found, consumed)) = parse(&head).map_err(HeadError::Refused)? {
            let rest = head.split_off(consumed);
            let rest = if rest.is_empty() { Bytes::new() } else { rest.freeze() };
            return Ok((found, Rewind::new(rest, io)));
        }
        let room = bound.saturating_sub(head.len());
        if room == 0 {
            return Err(HeadError::Long(bound));
        }
        head.reserve(room.min(STEP));
        let heard = match (&mut io).take(room as u64).read_buf(&mut head).await {
            Ok(heard) => heard,
            // A TLS peer that leaves without close_notify closed, like any other.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error.into()),
        };
        if heard == 0 {
            return Err(HeadError::Closed(head.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    const LEN: usize = 93;

    /// A message of 93 bytes that begins with 192; consumes only the first `consumed`.
    fn message(consumed: usize) -> impl FnMut(&[u8]) -> Result<Option<(u8, usize)>, u8> {
        move |buf| match buf.first() {
            None => Ok(None),
            Some(192) if buf.len() < LEN => Ok(None),
            Some(192) => Ok(Some((buf[1], consumed))),
            Some(&other) => Err(other),
        }
    }

    fn bytes(len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).expect("below 251")).collect();
        bytes[0] = 192;
        bytes
    }

    async fn read_all(mut stream: Rewind<DuplexStream>) -> Vec<u8> {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("a duplex does not fail");
        all
    }

    #[tokio::test]
    async fn a_head_cut_at_any_byte_is_found_and_read_again() {
        let sent = bytes(200);
        for cut in 0..=sent.len() {
            for consumed in [0, 40, LEN] {
                let (mut near, far) = duplex(1024);
                near.write_all(&sent[..cut]).await.expect("room");
                let rest = sent[cut..].to_vec();
                let says_the_rest = async move {
                    tokio::task::yield_now().await;
                    near.write_all(&rest).await.expect("room");
                };
                let ((), found) = tokio::join!(says_the_rest, read_head(far, 4096, message(consumed)));
                let (found, stream) = found.expect("a whole message");
                assert_eq!(found, 1);
                assert_eq!(read_all(stream).await, &sent[consumed..], "cut at {cut}, {consumed} consumed");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_is_cut_by_the_callers_timeout() {
        let (mut near, far) = duplex(1024);
        let drip = async move {
            for byte in bytes(LEN) {
                near.write_u8(byte).await.expect("room");
                sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
        };
        let began = Instant::now();
        let limited = timeout(Duration::from_secs(10), read_head(far, 4096, message(LEN)));
        tokio::select! {
            () = drip => unreachable!("it drips for ever"),
            found = limited => { found.map(|_| ()).expect_err("93 s are more than 10 s"); }
        }
        assert_eq!(began.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_close_after_40_bytes_says_so() {
        let (mut near, far) = duplex(1024);
        near.write_all(&bytes(LEN)[..40]).await.expect("room");
        drop(near);
        let error = read_head(far, 4096, message(LEN)).await.map(|_| ()).expect_err("closed");
        assert!(matches!(error, HeadError::Closed(40)), "{error}");
    }

    #[tokio::test]
    async fn one_byte_over_the_bound_is_too_long_and_none_is_not() {
        let (mut near, far) = duplex(1024);
        near.write_all(&bytes(LEN)).await.expect("room");
        let error = read_head(far, LEN - 1, message(LEN)).await.map(|_| ()).expect_err("too long");
        assert!(matches!(error, HeadError::Long(bound) if bound == LEN - 1), "{error}");

        let (mut near, far) = duplex(1024);
        near.write_all(&bytes(LEN)).await.expect("room");
        read_head(far, LEN, message(LEN)).await.map(|_| ()).expect("exactly within the bound");
    }

    #[tokio::test]
    async fn never_reads_past_the_bound() {
        let (mut near, mut far) = duplex(1024);
        near.write_all(&bytes(200)).await.expect("room");
        read_head(&mut far, 50, message(LEN)).await.map(|_| ()).expect_err("too long");
        drop(near);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.expect("a duplex does not fail");
        assert_eq!(rest, &bytes(200)[50..]);
    }

    #[tokio::test]
    async fn a_refusal_is_passed_on() {
        let (mut near, far) = duplex(1024);
        near.write_all(b"GET /").await.expect("room");
        let error = read_head(far, 4096, message(LEN)).await.map(|_| ()).expect_err("refused");
        assert!(matches!(error, HeadError::Refused(b'G')), "{error}");
    }
}
