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

/// Bytes made to be sent, at the front of room that may be larger: room is not cleared each time.
pub(super) struct Made<'a> {
    room: &'a mut Vec<u8>,
    len: usize,
}

impl<'a> Made<'a> {
    /// Nothing yet, in `room`, whatever is there.
    pub fn over(room: &'a mut Vec<u8>) -> Self {
        Self { room, len: 0 }
    }

    /// After what `room` has.
    pub fn after(room: &'a mut Vec<u8>) -> Self {
        let len = room.len();
        Self { room, len }
    }

    /// What was made.
    pub fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    /// Nothing but what was made is left.
    pub fn trim(self) {
        self.room.truncate(self.len);
    }

    /// Lets `write` append as much as it says it needs.
    pub fn append(
        &mut self,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, NotAppended>,
    ) -> io::Result<()> {
        loop {
            let room = self.room.len() - self.len;
            match write(&mut self.room[self.len..]) {
                Ok(written) => {
                    self.len += written;
                    return Ok(());
                }
                Err(NotAppended::Room(needed)) if needed > room => self.room.resize(self.len + needed, 0),
                Err(NotAppended::Room(_)) => {
                    return Err(io::Error::other("rustls asks for less room than it has"));
                }
                Err(NotAppended::Never(why)) => return Err(io::Error::other(why)),
            }
        }
    }
}
