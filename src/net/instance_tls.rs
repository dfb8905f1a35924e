//! TLS towards instances: verification by pin, by root, by name or not at all; resumption.
//!
//! MPS shows a leaf without chain whose names are URIs only, so the usual name check fails on it.

use rustls::pki_types::CertificateDer;

/// How the certificate of an instance is verified.
#[derive(Clone, Debug)]
pub enum Verify {
    /// The chain must end at one of these roots; the name is not checked.
    Ca(Vec<CertificateDer<'static>>),
    /// The chain must end at one of these roots and the certificate must name the instance.
    Full(Vec<CertificateDer<'static>>),
    /// Anything goes: for trials only.
    None,
    /// The leaf, or its public key, must be one of these.
    Pin(Vec<Pin>),
}

/// A pinned leaf. Written `spki-sha256:..` or `cert-sha256:..`, base64 or hexadecimal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pin {
    /// SHA-256 of the leaf, DER.
    Cert([u8; 32]),
    /// SHA-256 of the leaf's SubjectPublicKeyInfo, DER.
    Spki([u8; 32]),
}
// FromStr (MalformedPin), Display (base64), `Pin::of(&CertificateDer) -> [Pin; 2]`.

/// A TLS client for one pool of instances, with a ticket store of its own.
pub struct InstanceTls {}

impl InstanceTls {
    /// A client that verifies as told. New settings mean a new client, and so an empty ticket store.
    pub fn new(_verify: &Verify) -> Result<Self, rustls::Error> {
        todo!()
    }
}
