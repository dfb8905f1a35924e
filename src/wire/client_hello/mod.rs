//! Judges a raw ClientHello before rustls sees a byte: rustls can serve it, or it is legacy.
//!
//! rustls' own `Acceptor` cannot do this: it consumes what it reads, has an alert ready for TLS 1.0,
//! and does not tell which versions were offered. So the rules of rustls 0.23 with aws-lc-rs, its
//! defaults and no client certificates are written down here, and a test runs rustls on the same
//! hellos to keep the two together. Two things are not judged, since they take cryptography: whether
//! the number in a key share is a point on its curve, and whether a ticket decrypts.

mod offer;
mod records;

use offer::{Offer, numbers};
use records::Joined;

/// Longest hello taken, in bytes, record headers included.
pub const MAX_LEN: usize = 16 * 1024;

/// What kind of key the certificate we present has: decides which suites can be served, and the
/// curve decides the signature scheme.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeafKey {
    /// An ECDSA key on P-256.
    EcdsaP256,
    /// An ECDSA key on P-384.
    EcdsaP384,
    /// An ECDSA key on P-521.
    EcdsaP521,
    /// An RSA key.
    Rsa,
}

impl LeafKey {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::EcdsaP521 => "ECDSA P-521",
            Self::Rsa => "RSA",
        }
    }
}

/// Highest version a hello offers. Closed set: a metric label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// SSLv2-style or SSL 3.0.
    Ssl,
    /// TLS 1.0.
    Tls10,
    /// TLS 1.1.
    Tls11,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What a hello is good for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// Highest version offered.
    pub version: Version,
    /// Key exchange of the best suite offered. Closed set: a metric label.
    pub key_exchange: KeyExchange,
    /// Whether rustls (defaults, aws-lc-rs) can serve it, else why not.
    pub verdict: Result<(), Legacy>,
}

/// Families of key exchange, best first. Closed set: a metric label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyExchange {
    /// TLS 1.3: always ephemeral.
    Tls13,
    /// ECDHE with AES-GCM, AES-CCM or ChaCha20.
    EcdheAead,
    /// ECDHE with CBC.
    EcdheCbc,
    /// Finite-field ephemeral Diffie-Hellman.
    Dhe,
    /// RSA key exchange.
    Rsa,
    /// None of these.
    Other,
}

/// Why rustls cannot serve a hello: the first of these reasons in the order version, suite, group,
/// signature, format. Closed set: a metric label.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Legacy {
    /// No null compression, no uncompressed points, or a contradiction in itself: nobody sends that.
    #[error("no null compression, no uncompressed point format, or contradictory extensions")]
    Format,
    /// No common key-exchange group.
    #[error("no common key-exchange group")]
    Group,
    /// No common signature scheme.
    #[error("no common signature scheme")]
    Signature,
    /// No common cipher suite.
    #[error("no common cipher suite")]
    Suite,
    /// Older than TLS 1.2.
    #[error("older than TLS 1.2")]
    Version,
}

/// These bytes are no ClientHello at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotHello {
    /// No TLS, or the alert of a client that gave up.
    #[error("not a TLS hello")]
    Garbage,
    /// HTTP in clear (`GET `, `POST`, ..).
    #[error("HTTP in clear")]
    Http,
    /// A hello whose encoding contradicts itself, or that is longer than [`MAX_LEN`].
    #[error("a malformed hello")]
    Malformed,
    /// A TLS record longer than any may be.
    #[error("a TLS record too long")]
    Overflow,
    /// TLS, but a record or a message that must not be there.
    #[error("an unexpected TLS record or message")]
    Unexpected,
}

impl NotHello {
    /// The alert that answers it, by its number in RFC 8446 6; `None` for what is no TLS.
    pub const fn alert(self) -> Option<u8> {
        match self {
            Self::Garbage | Self::Http => None,
            Self::Malformed => Some(50),  // decode_error
            Self::Overflow => Some(22),   // record_overflow
            Self::Unexpected => Some(10), // unexpected_message
        }
    }
}

impl Version {
    /// Every version, in the order of [`Version::index`].
    pub const ALL: [Self; 5] = [Self::Ssl, Self::Tls10, Self::Tls11, Self::Tls12, Self::Tls13];

    /// Position in [`Version::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ssl => "ssl",
            Self::Tls10 => "tls10",
            Self::Tls11 => "tls11",
            Self::Tls12 => "tls12",
            Self::Tls13 => "tls13",
        }
    }

    /// A version as the wire has it; unknown ones (GREASE) are none.
    const fn of(number: u16) -> Option<Self> {
        Some(match number {
            0x0300 => Self::Ssl,
            0x0301 => Self::Tls10,
            0x0302 => Self::Tls11,
            0x0303 => Self::Tls12,
            0x0304 => Self::Tls13,
            _ => return None,
        })
    }
}

impl KeyExchange {
    /// Every family, in the order of [`KeyExchange::index`].
    pub const ALL: [Self; 6] =
        [Self::Tls13, Self::EcdheAead, Self::EcdheCbc, Self::Dhe, Self::Rsa, Self::Other];

    /// Position in [`KeyExchange::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tls13 => "tls13",
            Self::EcdheAead => "ecdhe-aead",
            Self::EcdheCbc => "ecdhe-cbc",
            Self::Dhe => "dhe",
            Self::Rsa => "rsa",
            Self::Other => "other",
        }
    }

    /// The family of a cipher suite (IANA's numbers).
    const fn of(suite: u16) -> Self {
        match suite {
            0x1301..=0x1305 => Self::Tls13,
            0xc02b | 0xc02c | 0xc02f | 0xc030 | 0xc0ac..=0xc0af | 0xcca8 | 0xcca9 => Self::EcdheAead,
            0xc008..=0xc00a | 0xc012..=0xc014 | 0xc023 | 0xc024 | 0xc027 | 0xc028 => Self::EcdheCbc,
            0x0013 | 0x0016 | 0x0032 | 0x0033 | 0x0038 | 0x0039 | 0x0040 | 0x0067 | 0x006a | 0x006b => {
                Self::Dhe
            }
            0x009e | 0x009f | 0x00a2 | 0x00a3 | 0xc09e | 0xc09f | 0xccaa => Self::Dhe,
            0x0004 | 0x0005 | 0x000a | 0x002f | 0x0035 | 0x003c | 0x003d => Self::Rsa,
            0x009c | 0x009d | 0xc09c | 0xc09d => Self::Rsa,
            _ => Self::Other,
        }
    }
}

impl Legacy {
    /// Every reason, in the order of [`Legacy::index`].
    pub const ALL: [Self; 5] = [Self::Format, Self::Group, Self::Signature, Self::Suite, Self::Version];

    /// Position in [`Legacy::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Group => "group",
            Self::Signature => "signature",
            Self::Suite => "suite",
            Self::Version => "version",
        }
    }
}

/// Judges the hello at the head of `buf`. `Ok(None)` means "so far so good, need more bytes": never
/// said of [`MAX_LEN`] bytes.
pub fn judge(buf: &[u8], leaf: LeafKey) -> Result<Option<Hello>, NotHello> {
    let handshake = match buf.first() {
        None => return Ok(None),
        Some(&records::HANDSHAKE) => records::join(buf)?,
        Some(&(records::CHANGE_CIPHER_SPEC | records::APPLICATION_DATA)) => return early(buf),
        Some(0x80..) => return sslv2(buf),
        Some(_) => return http(buf),
    };
    match handshake {
        Joined::Partial if buf.len() < MAX_LEN => Ok(None),
        Joined::Partial => Err(NotHello::Malformed),
        Joined::Whole(body) => {
            let offer = Offer::read(&body).ok_or(NotHello::Malformed)?;
            Ok(Some(Hello {
                version: highest(&offer),
                key_exchange: best(&offer),
                verdict: verdict(&offer, leaf),
            }))
        }
    }
}

/// The hello of SSL 2.0, which old clients used to offer SSL 3.0 and TLS 1.0 too: two bytes of length
/// with the highest bit set, type 1.
fn sslv2(buf: &[u8]) -> Result<Option<Hello>, NotHello> {
    match buf.get(2) {
        None => Ok(None),
        Some(1) => Ok(Some(Hello {
            version: Version::Ssl,
            key_exchange: KeyExchange::Other,
            verdict: Err(Legacy::Version),
        })),
        Some(_) => Err(NotHello::Garbage),
    }
}

/// A record that belongs behind a hello.
fn early(buf: &[u8]) -> Result<Option<Hello>, NotHello> {
    match buf.get(1) {
        None => Ok(None),
        Some(&records::MAJOR) => Err(NotHello::Unexpected),
        Some(_) => Err(NotHello::Garbage),
    }
}

fn http(buf: &[u8]) -> Result<Option<Hello>, NotHello> {
    const METHODS: [&[u8]; 10] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"OPTIONS ",
        b"CONNECT ",
        b"PATCH ",
        b"TRACE ",
        b"PRI ",
    ];
    if METHODS.iter().any(|method| buf.starts_with(method)) {
        Err(NotHello::Http)
    } else if METHODS.iter().any(|method| method.starts_with(buf)) {
        Ok(None)
    } else {
        Err(NotHello::Garbage)
    }
}

fn highest(offer: &Offer<'_>) -> Version {
    let listed =
        offer.versions.and_then(|list| numbers(list).filter_map(Version::of).max_by_key(|v| v.index()));
    listed.unwrap_or(match offer.client_version {
        ..0x0301 => Version::Ssl,
        0x0301 => Version::Tls10,
        0x0302 => Version::Tls11,
        0x0303.. => Version::Tls12,
    })
}

fn best(offer: &Offer<'_>) -> KeyExchange {
    let tls13 = highest(offer) == Version::Tls13;
    numbers(offer.suites)
        .map(KeyExchange::of)
        .filter(|family| tls13 || *family != KeyExchange::Tls13)
        .min_by_key(|family| family.index())
        .unwrap_or(KeyExchange::Other)
}

/// The version rustls picks: 1.3 wherever it is offered.
fn picked(offer: &Offer<'_>) -> Option<Version> {
    match offer.versions {
        Some(list) if numbers(list).any(|v| v == 0x0304) => Some(Version::Tls13),
        Some(list) => numbers(list).any(|v| v == 0x0303).then_some(Version::Tls12),
        None => (offer.client_version >= 0x0303).then_some(Version::Tls12),
    }
}

/// What rustls can do in one version with one leaf.
struct Served {
    suites: &'static [u16],
    groups: &'static [u16],
    schemes: &'static [u16],
}

fn served(version: Version, leaf: LeafKey) -> Served {
    let schemes: &[u16] = match (leaf, version) {
        (LeafKey::EcdsaP256, _) => &[0x0403],
        (LeafKey::EcdsaP384, _) => &[0x0503],
        (LeafKey::EcdsaP521, _) => &[0x0603],
        (LeafKey::Rsa, Version::Tls13) => &[0x0804, 0x0805, 0x0806],
        (LeafKey::Rsa, _) => &[0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806],
    };
    match (version, leaf) {
        (Version::Tls13, _) => {
            Served { suites: &[0x1301, 0x1302, 0x1303], groups: &[0x001d, 0x0017, 0x0018, 0x11ec], schemes }
        }
        (_, LeafKey::Rsa) => {
            Served { suites: &[0xc02f, 0xc030, 0xcca8], groups: &[0x001d, 0x0017, 0x0018], schemes }
        }
        _ => Served { suites: &[0xc02b, 0xc02c, 0xcca9], groups: &[0x001d, 0x0017, 0x0018], schemes },
    }
}

fn verdict(offer: &Offer<'_>, leaf: LeafKey) -> Result<(), Legacy> {
    let version = picked(offer).ok_or(Legacy::Version)?;
    let served = served(version, leaf);
    let common = |offered: &[u8], ours: &[u16]| numbers(offered).any(|n| ours.contains(&n));
    if !common(offer.suites, served.suites) {
        return Err(Legacy::Suite);
    }
    // rustls takes the first of the client's groups that it knows, not the best.
    let group = offer.groups.and_then(|list| numbers(list).find(|group| served.groups.contains(group)));
    let group = group.ok_or(Legacy::Group)?;
    if version == Version::Tls13 {
        tls13_share(offer, group)?;
    }
    if !common(offer.schemes.unwrap_or_default(), served.schemes) {
        return Err(Legacy::Signature);
    }
    let formed = match version {
        Version::Tls13 => offer.compressions == [0] && offer.is_consistent_in_tls13(),
        _ => offer.compressions.contains(&0) && offer.points.is_none_or(|points| points.contains(&0)),
    };
    if formed && offer.is_consistent() { Ok(()) } else { Err(Legacy::Format) }
}

/// TLS 1.3 needs key shares: one for the group is used, none for it leads to a second hello.
fn tls13_share(offer: &Offer<'_>, group: u16) -> Result<(), Legacy> {
    let share = offer.shares.as_ref().ok_or(Legacy::Group)?.iter().find(|share| share.group == group);
    let expected = match group {
        0x001d => 32,
        0x0017 => 65,
        0x0018 => 97,
        _ => 1184 + 32,
    };
    if share.is_none_or(|share| share.length == expected) { Ok(()) } else { Err(Legacy::Group) }
}

#[cfg(test)]
mod tests;
