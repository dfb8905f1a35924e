//! A certificate authority: makes what MPS makes at its first start, and small fast ones for tests.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, RsaKeySize, SanType, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;

use crate::model::Secret;
use crate::net::identity::{Identity, IdentityError};
use crate::net::instance_tls::Pin;

const DAY: Duration = Duration::from_secs(86_400);

/// What kind of keys an authority makes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keys {
    /// P-256 for root and leaf: made in microseconds, but not what old firmware takes.
    P256,
    /// As MPS: a root of RSA-3072, leaves of RSA-2048, signatures with SHA-384. Seconds to make.
    Rsa,
}

impl Keys {
    const fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::Rsa => &rcgen::PKCS_RSA_SHA384,
        }
    }

    fn make(self, size: RsaKeySize) -> Result<KeyPair, rcgen::Error> {
        match self {
            Self::P256 => KeyPair::generate_for(self.algorithm()),
            Self::Rsa => KeyPair::generate_rsa_for(self.algorithm(), size),
        }
    }
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A name cannot be in a certificate.
    #[error("{0:?} is no DNS name")]
    Name(String),
    /// Making or signing failed.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// What was made cannot be read back.
    #[error(transparent)]
    Unusable(#[from] IdentityError),
}

/// A root that signs leaves.
pub struct Authority {
    keys: Keys,
    root: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A self-signed root called `name`, valid from a year ago for 30 years, as MPS makes it.
    pub fn new(keys: Keys, name: &str) -> Result<Self, PkiError> {
        let mut params = validity(CertificateParams::default());
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, "mps-gateway");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = CertifiedIssuer::self_signed(params, keys.make(RsaKeySize::_3072)?)?;
        Ok(Self { keys, root })
    }

    /// The root certificate: what devices trust.
    pub fn root(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    /// The root certificate, PEM.
    pub fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// The root's key, PKCS#8 PEM: whoever has it can be any server to every device.
    pub fn key_pem(&self) -> Secret {
        Secret::new(self.root.key().serialize_pem())
    }

    /// A leaf whose common name is `common_name` (devices compare it with the name they were given),
    /// and which names `names` and itself for everybody else.
    ///
    /// As MPS's but for its names: MPS writes URIs only, on which every usual check fails.
    pub fn issue(&self, common_name: &str, names: &[&str]) -> Result<Leaf, PkiError> {
        let mut params = validity(CertificateParams::default());
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Netscape's certificate type, "SSL server": MPS's leaves have it, AMT 12 may want it.
        let netscape_type =
            CustomExtension::from_oid_content(&[2, 16, 840, 1, 113_730, 1, 1], vec![3, 2, 6, 0x40]);
        params.custom_extensions.push(netscape_type);
        let mut all = vec![common_name];
        all.extend(names.iter().filter(|name| **name != common_name));
        params.subject_alt_names = all.into_iter().map(alternative).collect::<Result<_, _>>()?;
        let key = self.keys.make(RsaKeySize::_2048)?;
        let certificate = params.signed_by(&key, &self.root)?;
        Leaf::new(certificate.pem(), Secret::new(key.serialize_pem()))
    }
}

/// An address is named as such, anything else is a DNS name.
fn alternative(name: &str) -> Result<SanType, PkiError> {
    match name.parse() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => name.try_into().map(SanType::DnsName).map_err(|_| PkiError::Name(name.to_owned())),
    }
}

fn validity(mut params: CertificateParams) -> CertificateParams {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(365 * DAY);
    params.not_after = epoch + now + 30 * 365 * DAY;
    params
}

/// A leaf and its key.
#[derive(Clone, Debug)]
pub struct Leaf {
    certificate: String,
    key: Secret,
    identity: Identity,
    pins: [Pin; 2],
}

impl Leaf {
    fn new(certificate: String, key: Secret) -> Result<Self, PkiError> {
        let identity = Identity::from_pem(certificate.as_bytes(), key.expose().as_bytes())?;
        let pins = Pin::of(&identity.chain[0]).map_err(|error| IdentityError::Unusable(error.to_string()))?;
        Ok(Self { certificate, key, identity, pins })
    }

    /// The leaf alone, PEM: MPS sends no chain either.
    pub fn pem(&self) -> &str {
        &self.certificate
    }

    /// Its key, PKCS#8 PEM.
    pub const fn key_pem(&self) -> &Secret {
        &self.key
    }

    /// As a listener shows it.
    pub fn identity(&self) -> Identity {
        self.identity.clone()
    }

    /// What pins it: its public key, which survives a renewal, and itself.
    pub const fn pins(&self) -> [Pin; 2] {
        self.pins
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::client_hello::LeafKey;

    #[test]
    fn a_leaf_loads_as_an_identity_and_its_pins_are_those_of_its_certificate() {
        let authority = Authority::new(Keys::P256, "root of the test").expect("a root");
        let leaf =
            authority.issue("mps.example", &["localhost", "127.0.0.1", "mps.example"]).expect("a leaf");
        let identity = leaf.identity();
        assert_eq!(identity.common_name.as_deref(), Some("mps.example"));
        assert_eq!(identity.leaf_key, LeafKey::EcdsaP256);
        assert_eq!(Pin::of(&identity.chain[0]).expect("a certificate"), leaf.pins());
        assert!(
            identity.not_before < SystemTime::now() && SystemTime::now() + 3650 * DAY < identity.not_after
        );
    }

    #[test]
    fn the_root_issued_the_leaf() {
        let authority = Authority::new(Keys::P256, "root of the test").expect("a root");
        let leaf = authority.issue("mps.example", &[]).expect("a leaf");
        let chain = format!("{}{}", leaf.pem(), authority.root_pem());
        Identity::from_pem(chain.as_bytes(), leaf.key_pem().expose().as_bytes()).expect("a chain in order");
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        let authority = Authority::new(Keys::P256, "root of the test").expect("a root");
        assert!(matches!(authority.issue("café", &[]), Err(PkiError::Name(name)) if name == "café"));
    }
}
