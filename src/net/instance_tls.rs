//! TLS towards instances: verification by pin, by root, by name or not at all; resumption.
//!
//! MPS shows a leaf without chain whose names are URIs only, so the usual name check fails on it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::{constant_time, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, OtherError, RootCertStore};

use super::identity::provider;
use super::verifier::{Judge, Shown, Verifier};

/// Instances whose tickets are kept at once; each is worth up to 8 tickets of TLS 1.3.
const RESUMABLE: usize = 256;

/// How the certificate of an instance is verified.
#[derive(Clone, Debug)]
pub enum Verify {
    /// The chain must end at one of these roots; the name is not checked.
    Ca(Vec<CertificateDer<'static>>),
    /// The chain must end at one of these roots and the certificate must name the instance.
    Full(Vec<CertificateDer<'static>>),
    /// Anything goes: for trials only.
    None,
    /// The leaf, or its public key, must be one of these. Expiry and names do not matter.
    Pin(Vec<Pin>),
}

/// A pinned leaf. Written `spki-sha256:..` or `cert-sha256:..`, base64 or hexadecimal.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Pin {
    /// SHA-256 of the leaf, DER.
    Cert([u8; 32]),
    /// SHA-256 of the leaf's SubjectPublicKeyInfo, DER.
    Spki([u8; 32]),
}

/// A text that is not a pin.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a pin: expected spki-sha256:.. or cert-sha256:.. and 32 bytes in base64 or hexadecimal")]
pub struct MalformedPin;

impl Pin {
    /// Both pins of a leaf: of its public key, which survives a renewal, and of itself.
    ///
    /// Fails if `leaf` is no certificate.
    pub fn of(leaf: &CertificateDer<'_>) -> Result<[Self; 2], rustls::Error> {
        let spki = ParsedCertificate::try_from(leaf)?.subject_public_key_info();
        Ok([Self::Spki(sha256(&spki)), Self::Cert(sha256(leaf))])
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cert(one), Self::Cert(two)) | (Self::Spki(one), Self::Spki(two)) => {
                constant_time::verify_slices_are_equal(one, two).is_ok()
            }
            (Self::Cert(_), Self::Spki(_)) | (Self::Spki(_), Self::Cert(_)) => false,
        }
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl FromStr for Pin {
    type Err = MalformedPin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, value) = text.split_once(':').ok_or(MalformedPin)?;
        let hash = hash(value).ok_or(MalformedPin)?;
        match kind {
            "cert-sha256" => Ok(Self::Cert(hash)),
            "spki-sha256" => Ok(Self::Spki(hash)),
            _ => Err(MalformedPin),
        }
    }
}

/// 64 hexadecimal digits (with colons or without, as OpenSSL prints them) or 44 of base64.
fn hash(text: &str) -> Option<[u8; 32]> {
    if let Some(hash) = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok()) {
        return Some(hash);
    }
    let digits: Vec<u8> = text.bytes().filter(|&byte| byte != b':').collect();
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(hash)
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, hash) = match self {
            Self::Cert(hash) => ("cert-sha256", hash),
            Self::Spki(hash) => ("spki-sha256", hash),
        };
        write!(f, "{kind}:{}", BASE64.encode(hash))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f) // rustls shows a verifier's error by `Debug` only
    }
}

/// A TLS client for one pool of instances, with a ticket store of its own.
pub struct InstanceTls {
    config: Arc<ClientConfig>,
}

impl InstanceTls {
    /// A client that verifies as told. New settings mean a new client, and so an empty ticket store.
    ///
    /// Fails if a root is no certificate, or if roots are wanted and none is given.
    pub fn new(verify: &Verify) -> Result<Self, rustls::Error> {
        let provider = Arc::new(provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier: Arc<dyn ServerCertVerifier> = match verify {
            Verify::Ca(roots) => Arc::new(Verifier::new(Accept::Chain(store(roots)?), algorithms)),
            Verify::Full(roots) => {
                WebPkiServerVerifier::builder_with_provider(Arc::new(store(roots)?), Arc::clone(&provider))
                    .build()
                    .map_err(|error| rustls::Error::General(error.to_string()))?
            }
            Verify::None => Arc::new(Verifier::new(Accept::Any, algorithms)),
            Verify::Pin(pins) => Arc::new(Verifier::new(Accept::Pins(pins.clone()), algorithms)),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(RESUMABLE * 8);
        Ok(Self { config: Arc::new(config) })
    }

    /// A session with `name`, yet to shake hands.
    pub(super) fn session(
        &self,
        name: ServerName<'static>,
    ) -> Result<UnbufferedClientConnection, rustls::Error> {
        UnbufferedClientConnection::new(Arc::clone(&self.config), name)
    }
}

fn store(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, rustls::Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    if store.is_empty() {
        return Err(rustls::Error::General("no root certificate given".to_owned()));
    }
    Ok(store)
}

#[derive(Debug)]
enum Accept {
    Any,
    Chain(RootCertStore),
    Pins(Vec<Pin>),
}

/// The leaf is none of those pinned. Names its key, so that an operator can compare.
#[derive(Debug, thiserror::Error)]
#[error("the instance shows {0}, which is not pinned")]
struct NotPinned(Pin);

impl Judge for Accept {
    fn judge(&self, shown: Shown<'_>) -> Result<(), rustls::Error> {
        match self {
            Self::Any => Ok(()),
            Self::Chain(roots) => shown.chains_to(roots),
            Self::Pins(pins) => {
                let shown = Pin::of(shown.leaf)?;
                // Every pin is compared, whichever matches.
                let matches = |pin: &Pin| shown.iter().fold(false, |found, one| found | one.is(pin));
                if pins.iter().fold(false, |found, pin| found | matches(pin)) {
                    return Ok(());
                }
                Err(CertificateError::Other(OtherError(Arc::new(NotPinned(shown[0])))).into())
            }
        }
    }
}

/// Accepts any certificate.
#[cfg(test)]
pub(super) fn trusting_verifier() -> Arc<dyn ServerCertVerifier> {
    let algorithms = provider().signature_verification_algorithms;
    Arc::new(Verifier::new(Accept::Any, algorithms))
}

#[cfg(test)]
#[path = "instance_tls_tests.rs"]
mod tests;
