//! After proof: follows the heads of the device's messages; copies nothing.

use super::{Refusal, begins};
use crate::device::settings::GuardMode;
use crate::net::relay::Watch;
use crate::wire::apf::{Event, Framer, kind};

/// After proof: follows frame headers from the device; copies nothing.
///
/// A message is judged by its type byte, before that byte is passed on, and by its length once that
/// is known. So the head of an oversized message may have gone out with an earlier chunk: without the
/// rest it means nothing to anybody.
#[derive(Debug)]
pub struct Follower {
    state: State,
}

#[derive(Debug)]
enum State {
    /// Every byte is looked at.
    Follows(Framer),
    /// `device.guard = "preamble"`.
    Off,
    /// The device sent this unknown type, so that nothing behind it can be delimited.
    SteppedAside(u8),
    /// Nothing may pass any more.
    Refused(Refusal),
}

impl Follower {
    /// A device whose next byte is the first of a message.
    pub(super) fn new(mode: GuardMode) -> Self {
        Self {
            state: match mode {
                GuardMode::Strict => State::Follows(Framer::new()),
                GuardMode::Preamble => State::Off,
            },
        }
    }

    /// The unknown type that made the guard stop following this session, if one did. Such bytes are
    /// passed on, since nobody has captured every firmware: count it once and log it once.
    pub fn stepped_aside(&self) -> Option<u8> {
        match self.state {
            State::SteppedAside(kind) => Some(kind),
            State::Follows(_) | State::Off | State::Refused(_) => None,
        }
    }

    fn follow(framer: &mut Framer, mut chunk: &[u8]) -> Result<Option<u8>, Refusal> {
        while let Some(event) = framer.next(&mut chunk)? {
            match event {
                // A second login could only serve to desynchronise: MPS consumes five bytes too
                // many when the method is not `password`, and acts on pieces.
                Event::Begin(kind::USERAUTH_REQUEST) => return Err(Refusal::UnexpectedFromDevice),
                Event::Begin(message) => begins(message)?,
                Event::End => {}
                Event::Unknown(message) => return Ok(Some(message)),
            }
        }
        Ok(None)
    }
}

impl Watch for Follower {
    type Refusal = Refusal;

    fn device_bytes(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let framer = match &mut self.state {
            State::Follows(framer) => framer,
            State::Off | State::SteppedAside(_) => return Ok(()),
            State::Refused(refusal) => return Err(*refusal),
        };
        match Self::follow(framer, chunk) {
            Ok(None) => Ok(()),
            Ok(Some(message)) => {
                self.state = State::SteppedAside(message);
                Ok(())
            }
            Err(refusal) => {
                self.state = State::Refused(refusal);
                Err(refusal)
            }
        }
    }
}
