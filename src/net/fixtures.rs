//! Certificates and TLS clients for the tests of this stratum. Slow keys are made once per process.

use std::sync::{Arc, LazyLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, RsaKeySize, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, SupportedProtocolVersion};

use super::identity::Identity;

/// A leaf, who issued it, and its key, all PEM.
#[derive(Clone)]
pub struct Leaf {
    pub certificate: String,
    pub root: String,
    pub key: String,
}

impl Leaf {
    /// P-256, issued by a P-256 root, for DNS name and common name `name`.
    pub fn ecdsa(name: &str) -> Self {
        let root_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a P-256 key");
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a P-256 key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a DNS name");
        params.distinguished_name.push(DnType::CommonName, name);
        Self::issue(params, &key, root_key)
    }

    /// Built as MPS's `certificates.ts` builds its own: RSA-2048 signed with SHA-384 by a root of
    /// RSA-3072, two URIs for names, keyCertSign although it is no CA, Netscape's certificate type.
    pub fn like_mps(name: &str) -> Self {
        static KEYS: LazyLock<[String; 2]> = LazyLock::new(|| {
            [RsaKeySize::_2048, RsaKeySize::_3072].map(|size| {
                KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA384, size).expect("an RSA key").serialize_pem()
            })
        });
        let [key, root_key] = KEYS.each_ref().map(|pem| {
            KeyPair::from_pem_and_sign_algo(pem, &rcgen::PKCS_RSA_SHA384).expect("the key just made")
        });
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::CountryName, "unknown"); // not two letters: as it is
        params.distinguished_name.push(DnType::OrganizationName, "unknown");
        params.is_ca = IsCa::ExplicitNoCa;
        params.subject_alt_names = ["http://localhost/", "http://localhost/"]
            .map(|uri| SanType::URI(uri.try_into().expect("ASCII")))
            .to_vec();
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::ContentCommitment,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::DataEncipherment,
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::CodeSigning,
            ExtendedKeyUsagePurpose::EmailProtection,
            ExtendedKeyUsagePurpose::TimeStamping,
        ];
        let netscape_certificate_type = &[2, 16, 840, 1, 113_730, 1, 1];
        let client_server_email_objsign = vec![3, 2, 0, 0b1111_0111];
        params
            .custom_extensions
            .push(CustomExtension::from_oid_content(netscape_certificate_type, client_server_email_objsign));
        Self::issue(params, &key, root_key)
    }

    fn issue(params: CertificateParams, key: &KeyPair, root_key: KeyPair) -> Self {
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, format!("root-{}", &hex(root_key.public_key_raw())));
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = CertifiedIssuer::self_signed(root, root_key).expect("a root");
        let certificate = params.signed_by(key, &root).expect("a leaf");
        Self { certificate: certificate.pem(), root: root.pem(), key: key.serialize_pem() }
    }

    /// As a listener loads it.
    pub fn identity(&self) -> Identity {
        Identity::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).expect("a good identity")
    }

    /// The leaf alone.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![der(&self.certificate)]
    }

    /// The root.
    pub fn root(&self) -> CertificateDer<'static> {
        der(&self.root)
    }
}

/// One P-256 leaf for `localhost`, the same within a test process.
pub fn leaf() -> Leaf {
    static LEAF: LazyLock<Leaf> = LazyLock::new(|| Leaf::ecdsa("localhost"));
    LEAF.clone()
}

/// The first certificate of a PEM text.
pub fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

/// A client that trusts any certificate and resumes.
pub fn trusting_client(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(super::identity::provider()))
        .with_protocol_versions(versions)
        .expect("versions the provider knows")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.dangerous().set_certificate_verifier(super::instance_tls::trusting_verifier());
    config
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect()
}
