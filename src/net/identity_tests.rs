use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;
use crate::net::fixtures::{self, Leaf};

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a P-256 key")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

#[test]
fn a_leaf_is_described() {
    let identity = Leaf::ecdsa("mps.example.org").identity();
    assert_eq!(identity.leaf_key, LeafKey::EcdsaP256);
    assert_eq!(identity.key_bits, 256);
    assert_eq!(identity.common_name.as_deref(), Some("mps.example.org"));
    assert!(identity.not_before < SystemTime::now() && SystemTime::now() < identity.not_after);
    assert!(!format!("{identity:?}").contains("PRIVATE"), "a key is never shown");
}

#[test]
fn the_leaf_that_mps_generates_loads() {
    let leaf = Leaf::like_mps("mps.example.org");
    let identity = leaf.identity();
    assert_eq!((identity.leaf_key, identity.key_bits), (LeafKey::Rsa, 2048));
    assert_eq!(identity.common_name.as_deref(), Some("mps.example.org"));
    let chain = format!("{}{}", leaf.certificate, leaf.root);
    Identity::from_pem(chain.as_bytes(), leaf.key.as_bytes()).expect("its root may follow");
}

/// The same keys in the older wrappings, cut out of PKCS#8 by hand.
#[test]
fn keys_in_pkcs1_and_sec1_load() {
    use base64::Engine as _;
    let wrap = |label: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|l| str::from_utf8(l).expect("ASCII")).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    for (leaf, label) in [(Leaf::like_mps("a"), "RSA PRIVATE KEY"), (Leaf::ecdsa("a"), "EC PRIVATE KEY")] {
        let pkcs8 = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("PKCS#8");
        let (_, outer) = Sequence::from_der(pkcs8.secret_der()).expect("a sequence");
        let (after_version, _) = x509_parser::asn1_rs::Integer::from_der(&outer.content).expect("a version");
        let (after_algorithm, _) = Sequence::from_der(after_version).expect("an algorithm");
        let (_, inner) = x509_parser::asn1_rs::OctetString::from_der(after_algorithm).expect("a key");
        let old = wrap(label, inner.as_ref());
        let identity = Identity::from_pem(leaf.certificate.as_bytes(), old.as_bytes()).expect(label);
        assert_eq!(identity.common_name.as_deref(), Some("a"));
    }
}

#[test]
fn another_key_is_a_mismatch() {
    let (one, two) = (fixtures::leaf(), Leaf::ecdsa("localhost"));
    let error = Identity::from_pem(one.certificate.as_bytes(), two.key.as_bytes()).expect_err("other key");
    assert!(matches!(error, IdentityError::Mismatch), "{error}");
    let rsa = Leaf::like_mps("localhost");
    let error = Identity::from_pem(one.certificate.as_bytes(), rsa.key.as_bytes()).expect_err("other kind");
    assert!(matches!(error, IdentityError::Mismatch), "{error}");
}

#[test]
fn a_chain_must_be_in_order_and_signed() {
    let root = CertifiedIssuer::self_signed(authority("root"), key()).expect("a root");
    let intermediate = CertifiedIssuer::signed_by(authority("between"), key(), &root).expect("between");
    let leaf_key = key();
    let leaf = authority("leaf").signed_by(&leaf_key, &intermediate).expect("a leaf");
    let load =
        |chain: &[String]| Identity::from_pem(chain.concat().as_bytes(), leaf_key.serialize_pem().as_bytes());
    assert_eq!(load(&[leaf.pem(), intermediate.pem(), root.pem()]).expect("in order").chain.len(), 3);
    let error = load(&[leaf.pem(), root.pem(), intermediate.pem()]).expect_err("out of order");
    assert!(matches!(error, IdentityError::Chain(2)), "{error}");
    let impostor = CertifiedIssuer::self_signed(authority("root"), key()).expect("a root");
    let error = load(&[leaf.pem(), intermediate.pem(), impostor.pem()]).expect_err("same name, other key");
    assert!(matches!(error, IdentityError::Chain(3)), "{error}");
}

#[test]
fn files_are_named_when_they_are_missing_or_empty() {
    let dir = tempfile::tempdir().expect("a directory");
    let (certificate, key) = (dir.path().join("cira.crt"), dir.path().join("cira.key"));
    let leaf = fixtures::leaf();
    let error = Identity::load(&certificate, &key).expect_err("no such file");
    assert!(matches!(&error, IdentityError::Read { path, .. } if path.ends_with("cira.crt")), "{error}");
    std::fs::write(&certificate, "nothing here").expect("writable");
    std::fs::write(&key, "nor here").expect("writable");
    let error = Identity::load(&certificate, &key).expect_err("no certificate");
    assert!(matches!(&error, IdentityError::NoCertificate(name) if name.ends_with("cira.crt")), "{error}");
    std::fs::write(&certificate, &leaf.certificate).expect("writable");
    let error = Identity::load(&certificate, &key).expect_err("no key");
    assert!(matches!(&error, IdentityError::NoKey(name) if name.ends_with("cira.key")), "{error}");
    std::fs::write(&key, &leaf.key).expect("writable");
    Identity::load(&certificate, &key).expect("all there");
}

#[test]
fn garbage_in_pem_is_unusable() {
    let leaf = fixtures::leaf();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = Identity::from_pem(garbage.as_bytes(), leaf.key.as_bytes()).expect_err("garbage");
    assert!(matches!(error, IdentityError::Unusable(_)), "{error}");
    let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let error = Identity::from_pem(leaf.certificate.as_bytes(), garbage.as_bytes()).expect_err("garbage");
    assert!(matches!(error, IdentityError::UnusableKey(_)), "{error}");
}
