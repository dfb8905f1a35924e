//! Judges a raw ClientHello before rustls sees a byte: rustls can serve it, or it is legacy.

use std::fmt;

/// What kind of key the certificate we present has: decides which suites can be served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeafKey {
    /// An ECDSA key (P-256, P-384 or P-521: the curve decides the signature scheme).
    Ecdsa,
    /// An RSA key.
    Rsa,
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
    /// ECDHE with AES-GCM or ChaCha20.
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

/// Why rustls cannot serve a hello. Closed set: a metric label.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Legacy {
    /// No null compression, no uncompressed points: nobody sends that.
    #[error("no null compression or no uncompressed point format")]
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
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NotHello {
    /// HTTP in clear (`GET `, `POST`, ..).
    Http,
    /// Anything else.
    Garbage,
}

impl fmt::Display for NotHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP in clear",
            Self::Garbage => "not a TLS hello",
        })
    }
}

/// Judges the hello at the head of `buf`. `Ok(None)` means "so far so good, need more bytes".
pub fn judge(_buf: &[u8], _leaf: LeafKey) -> Result<Option<Hello>, NotHello> {
    todo!()
}
