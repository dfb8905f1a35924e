//! What rustls itself does with a hello.

use std::io::Read as _;
use std::sync::{Arc, LazyLock};

use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
use rustls::crypto::aws_lc_rs;
use rustls::{ServerConfig, ServerConnection};

use super::build::Parts;
use crate::wire::client_hello::LeafKey;

pub(super) const LEAVES: [LeafKey; 4] =
    [LeafKey::Rsa, LeafKey::EcdsaP256, LeafKey::EcdsaP384, LeafKey::EcdsaP521];

/// What rustls said to a hello.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Answer {
    Accepts,
    /// It refuses it.
    Refuses,
    /// It wants a second hello with a share for this group.
    Retry(u16),
    /// It wants more bytes.
    Waits,
}

static CONFIGS: LazyLock<Vec<Arc<ServerConfig>>> =
    LazyLock::new(|| LEAVES.iter().map(|leaf| config(*leaf)).collect());

fn config(leaf: LeafKey) -> Arc<ServerConfig> {
    let generate = |algorithm: &'static SignatureAlgorithm| KeyPair::generate_for(algorithm).expect("a key");
    let key = match leaf {
        LeafKey::Rsa => generate(&rcgen::PKCS_RSA_SHA256),
        LeafKey::EcdsaP256 => generate(&rcgen::PKCS_ECDSA_P256_SHA256),
        LeafKey::EcdsaP384 => generate(&rcgen::PKCS_ECDSA_P384_SHA384),
        LeafKey::EcdsaP521 => generate(&rcgen::PKCS_ECDSA_P521_SHA512),
    };
    let certificate = CertificateParams::default().self_signed(&key).expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("default versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            key.serialize_der().try_into().expect("a key in DER"),
        )
        .expect("key and certificate match");
    Arc::new(config)
}

struct Server(ServerConnection);

impl Server {
    fn new(leaf: LeafKey) -> Self {
        let at = LEAVES.iter().position(|other| *other == leaf).expect("every leaf has a configuration");
        Self(ServerConnection::new(CONFIGS[at].clone()).expect("a connection"))
    }

    fn hear(&mut self, mut hello: &[u8]) -> Answer {
        while !hello.is_empty() {
            self.0.read_tls(&mut hello.by_ref()).expect("memory can be read");
            if self.0.process_new_packets().is_err() {
                return Answer::Refuses;
            }
        }
        let mut said = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut said).expect("memory can be written");
        }
        if said.is_empty() {
            return Answer::Waits;
        }
        retry_request(&said).map_or(Answer::Accepts, Answer::Retry)
    }
}

/// The group that a HelloRetryRequest asks for, if this is one.
fn retry_request(said: &[u8]) -> Option<u16> {
    const RANDOM: [u8; 4] = [0xcf, 0x21, 0xad, 0x74]; // the first of 32 fixed bytes
    let random = said.get(11..15)?;
    let session_id = usize::from(*said.get(43)?);
    let mut extensions = said.get(44 + session_id + 2 + 1 + 2..)?;
    while let Some(([k1, k2, l1, l2], rest)) = extensions.split_first_chunk::<4>() {
        let (body, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*l1, *l2])))?;
        if random == RANDOM && [*k1, *k2] == [0, 51] {
            return body.first_chunk().copied().map(u16::from_be_bytes);
        }
        extensions = rest;
    }
    None
}

/// What rustls says to these bytes.
pub(super) fn ask(hello: &[u8], leaf: LeafKey) -> Answer {
    Server::new(leaf).hear(hello)
}

/// What rustls says to this hello, or to the second one if it wants one.
pub(super) fn ask_twice(parts: &Parts, leaf: LeafKey, most: usize) -> Answer {
    let mut server = Server::new(leaf);
    match server.hear(&parts.records(most)) {
        Answer::Retry(group) => server.hear(&parts.clone().retried(group).records(most)),
        answer => answer,
    }
}
