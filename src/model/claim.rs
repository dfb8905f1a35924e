//! Claims: the directory's record of which instance a device's session ends at.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use super::InstanceName;

/// One process of ours, from its start to its end: 40 random bits, never used again.
///
/// Written as 8 characters of lower-case base32 (RFC 4648, no padding).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReplicaId([u8; 8]);

impl ReplicaId {
    const ALPHABET: &'static [u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

    /// The replica named by the low 40 bits of `random`.
    pub const fn new(random: u64) -> Self {
        let mut text = [0; 8];
        let mut i = 0;
        while i < 8 {
            text[i] = Self::ALPHABET[((random >> (5 * i)) & 31) as usize];
            i += 1;
        }
        Self(text)
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base32 is ASCII")
    }
}

impl FromStr for ReplicaId {
    type Err = MalformedClaim;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let raw: [u8; 8] = text.as_bytes().try_into().map_err(|_| MalformedClaim)?;
        if raw.iter().all(|b| Self::ALPHABET.contains(b)) { Ok(Self(raw)) } else { Err(MalformedClaim) }
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One session of a replica: a counter, written in hexadecimal.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Names one device connection for ever: which replica has it, and the how-manieth it is there.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionKey {
    /// The replica that holds the connection.
    pub replica: ReplicaId,
    /// Its number there.
    pub session: SessionId,
}

/// When the session was proven, in microseconds of the directory's clock since 1970, raised above
/// the epoch it displaced: orders the claims of one device, and survives the loss of all data.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Epoch(pub NonZeroU64);

impl Epoch {
    /// The epoch of `micros` microseconds; `None` for zero, which means "not yet claimed".
    pub const fn new(micros: u64) -> Option<Self> {
        match NonZeroU64::new(micros) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// Microseconds of the directory's clock since 1970.
    pub const fn micros(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who has a device: the record that every replica must agree on.
///
/// Its text, the public contract of the directory, is `<epoch>:<replica>:<session>:<instance>`:
/// decimal microseconds, base32, hexadecimal, and the rest of the line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// Orders claims of one device.
    pub epoch: Epoch,
    /// The connection that proved itself.
    pub key: SessionKey,
    /// The instance it ends at.
    pub instance: InstanceName,
}

/// A text that is not a claim. The directory treats such a record as absent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a claim: expected epoch:replica:session:instance")]
pub struct MalformedClaim;

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SessionKey { replica, session } = self.key;
        write!(f, "{}:{replica}:{session}:{}", self.epoch, self.instance)
    }
}

impl FromStr for Claim {
    type Err = MalformedClaim;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(4, ':');
        let mut next = || parts.next().ok_or(MalformedClaim);
        let (epoch, replica, session, instance) = (next()?, next()?, next()?, next()?);
        let digits = |text: &str, radix| {
            if text.starts_with('+') { None } else { u64::from_str_radix(text, radix).ok() }
        };
        Ok(Self {
            epoch: digits(epoch, 10).and_then(Epoch::new).ok_or(MalformedClaim)?,
            key: SessionKey {
                replica: replica.parse()?,
                session: SessionId(digits(session, 16).ok_or(MalformedClaim)?),
            },
            instance: instance.parse().map_err(|_| MalformedClaim)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_reads_back_as_written_whatever_its_instance_is_called() {
        for name in ["10.0.0.11", "fd00::1", "stack_mps.1.x7k", &"n".repeat(255)] {
            let claim = Claim {
                epoch: Epoch::new(1_790_000_000_123_456).expect("not zero"),
                key: SessionKey { replica: ReplicaId::new(0x00de_adbe_ef42), session: SessionId(0x1f) },
                instance: name.parse().expect(name),
            };
            assert_eq!(claim.to_string().parse(), Ok(claim));
        }
    }

    #[test]
    fn what_is_no_claim_says_so() {
        for text in [
            "",
            "1",
            "1:aaaaaaaa:1",
            "0:aaaaaaaa:1:mps",
            "+1:aaaaaaaa:1:mps",
            "1:AAAAAAAA:1:mps",
            "1:aaaaaaa:1:mps",
            "1:aaaaaaaa:g:mps",
            "1:aaaaaaaa:1:",
            "1:aaaaaaaa:1:a b",
        ] {
            assert_eq!(text.parse::<Claim>(), Err(MalformedClaim), "{text:?}");
        }
    }
}
