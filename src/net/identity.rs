//! What a listener shows: a certificate chain and its key, checked before they are used.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::asn1_rs::{FromDer as _, Sequence};
use x509_parser::prelude::{ASN1Time, X509Certificate};
use x509_parser::public_key::PublicKey;

pub use crate::wire::client_hello::LeafKey;

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
    /// The private key is malformed or of a kind we cannot use.
    #[error("unusable private key: {0}")]
    UnusableKey(String),
    /// The key is not the leaf's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// A certificate of the chain did not issue the one before it.
    #[error("certificate {0} of the chain did not issue the one before it")]
    Chain(usize),
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("common_name", &self.common_name)
            .field("leaf_key", &self.leaf_key)
            .field("key_bits", &self.key_bits)
            .field("chain", &self.chain.len())
            .finish_non_exhaustive() // never the key
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            leaf_key: self.leaf_key,
            key_bits: self.key_bits,
            common_name: self.common_name.clone(),
            not_after: self.not_after,
            not_before: self.not_before,
        }
    }
}

impl Identity {
    /// Reads and checks a PEM certificate chain and its PEM key (PKCS#8, PKCS#1 or SEC1).
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|source| IdentityError::Read { path: path.display().to_string(), source })
        };
        Self::parse(
            (&read(certificate)?, &certificate.display().to_string()),
            (&read(key)?, &key.display().to_string()),
        )
    }

    /// The same from PEM texts in memory.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        Self::parse((certificate, "the certificate's PEM text"), (key, "the key's PEM text"))
    }

    fn parse(
        (certificate, certificate_name): (&[u8], &str),
        (key, key_name): (&[u8], &str),
    ) -> Result<Self, IdentityError> {
        let unusable = |error: &dyn fmt::Display| IdentityError::Unusable(error.to_string());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(&format!("{certificate_name}: {error}")))?;
        if chain.is_empty() {
            return Err(IdentityError::NoCertificate(certificate_name.to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => IdentityError::NoKey(key_name.to_owned()),
            other => IdentityError::UnusableKey(format!("{key_name}: {other}")),
        })?;

        let parsed = chain
            .iter()
            .map(|der| X509Certificate::from_der(der).map(|(_, parsed)| parsed))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(&error))?;
        let leaf = parsed.first().expect("a chain that is not empty has a first certificate");
        let (leaf_key, key_bits) = match leaf.public_key().parsed().map_err(|error| unusable(&error))? {
            PublicKey::RSA(rsa) => (LeafKey::Rsa, rsa.key_size()),
            PublicKey::EC(point) => (
                match point.key_size() {
                    ..=256 => LeafKey::EcdsaP256,
                    257..=384 => LeafKey::EcdsaP384,
                    _ => LeafKey::EcdsaP521,
                },
                point.key_size(),
            ),
            _ => return Err(unusable(&"its key is neither RSA nor ECDSA")),
        };
        check_key(&chain, &key)?;
        check_order(&parsed, &chain)?;
        Ok(Self {
            leaf_key,
            key_bits,
            common_name: common_name(leaf),
            not_after: system_time(leaf.validity().not_after),
            not_before: system_time(leaf.validity().not_before),
            chain,
            key,
        })
    }
}

/// The provider used everywhere: never the process default, which a dependency could set.
pub(super) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn check_key(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> Result<(), IdentityError> {
    let key = provider()
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|error| IdentityError::UnusableKey(error.to_string()))?;
    match CertifiedKey::new(chain.to_vec(), key).keys_match() {
        Ok(()) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::Mismatch),
        Err(error) => Err(IdentityError::Unusable(error.to_string())),
    }
}

fn check_order(parsed: &[X509Certificate<'_>], chain: &[CertificateDer<'_>]) -> Result<(), IdentityError> {
    for (i, pair) in parsed.windows(2).enumerate() {
        let [child, issuer] = pair else { unreachable!("windows of two") };
        let named = child.issuer().as_raw() == issuer.subject().as_raw();
        if !named || signed_by(child, &chain[i], issuer) == Some(false) {
            return Err(IdentityError::Chain(i + 2));
        }
    }
    Ok(())
}

/// Whether `issuer`'s key made `child`'s signature; `None`: an algorithm we do not know.
fn signed_by(child: &X509Certificate<'_>, child_der: &[u8], issuer: &X509Certificate<'_>) -> Option<bool> {
    // rustls names algorithms by the content of their DER AlgorithmIdentifier.
    let (_, outer) = Sequence::from_der(child_der).ok()?;
    let after_tbs = outer.content.get(child.tbs_certificate.as_ref().len()..)?;
    let (_, signature_algorithm) = Sequence::from_der(after_tbs).ok()?;
    let (_, spki) = Sequence::from_der(issuer.public_key().raw).ok()?;
    let (_, key_algorithm) = Sequence::from_der(&spki.content).ok()?;
    let mut known = provider()
        .signature_verification_algorithms
        .all
        .iter()
        .filter(|algorithm| algorithm.signature_alg_id().as_ref() == &*signature_algorithm.content)
        .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == &*key_algorithm.content)
        .peekable();
    known.peek()?;
    let (key, signature) = (&issuer.public_key().subject_public_key.data, &child.signature_value.data);
    Some(
        known.any(|algorithm| {
            algorithm.verify_signature(key, child.tbs_certificate.as_ref(), signature).is_ok()
        }),
    )
}

fn common_name(leaf: &X509Certificate<'_>) -> Option<String> {
    leaf.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned)
}

fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
