//! Room for what rustls makes: its unbuffered connection says how much it needs, and we make that.

use std::io;

use rustls::unbuffered::{EncodeError, EncryptError, InsufficientSizeError};

/// Why nothing was appended.
pub(super) enum NotAppended {
    Room(usize),
    Never(&'static str),
}

impl From<EncodeError> for NotAppended {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Room(required_size)
            }
            EncodeError::AlreadyEncoded => Self::Never("a TLS message was encoded twice"),
        }
    }
}

impl From<EncryptError> for NotAppended {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => {
                Self::Room(required_size)
            }
            EncryptError::EncryptExhausted => Self::Never("the TLS session's keys are exhausted"),
        }
    }
}

/// Lets `write` append to `to` as much as it says it needs.
pub(super) fn append(
    to: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, NotAppended>,
) -> io::Result<()> {
    let before = to.len();
    let mut room = 0;
    loop {
        to.resize(before + room, 0);
        match write(&mut to[before..]) {
            Ok(written) => {
                to.truncate(before + written);
                return Ok(());
            }
            Err(NotAppended::Room(needed)) if needed > room => room = needed,
            Err(NotAppended::Room(_)) => {
                return Err(io::Error::other("rustls asks for less room than it has"));
            }
            Err(NotAppended::Never(why)) => return Err(io::Error::other(why)),
        }
    }
}
