//! What a listener shows: a certificate chain and its key, checked before they are used.

use std::path::Path;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::wire::client_hello::LeafKey;

/// A certificate chain with its private key: parsed, matching, not yet judged for expiry.
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
    /// What kind of key, and so which suites.
    pub leaf_key: LeafKey,
    /// Key size in bits.
    pub key_bits: usize,
    /// The subject's common name, which devices compare with the configured MPS name.
    pub common_name: Option<String>,
    /// When the leaf ends to be valid.
    pub not_after: SystemTime,
    /// When the leaf begins to be valid.
    pub not_before: SystemTime,
}

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// No certificate in the PEM text.
    #[error("no certificate found in {0}")]
    NoCertificate(String),
    /// No private key in the PEM text.
    #[error("no private key found in {0}")]
    NoKey(String),
    /// The leaf is malformed, or its key of a kind we cannot use.
    #[error("unusable certificate: {0}")]
    Unusable(String),
    /// The key is not the leaf's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// A certificate of the chain did not issue the one before it.
    #[error("certificate {0} of the chain did not issue the one before it")]
    Chain(usize),
}

impl Identity {
    /// Reads and checks a PEM certificate chain and its PEM key (PKCS#8, PKCS#1 or SEC1).
    pub fn load(_certificate: &Path, _key: &Path) -> Result<Self, IdentityError> {
        todo!()
    }

    /// The same from PEM texts in memory; `certificate_name` and `key_name` are for messages.
    pub fn from_pem(_certificate: &[u8], _key: &[u8]) -> Result<Self, IdentityError> {
        todo!()
    }
}
