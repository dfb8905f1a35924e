//! The TLS of simulated devices: what they offer, and whom they trust.

use std::net::SocketAddr;
use std::sync::Arc;

use mps_gateway::sim::pki::Leaf;
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, ServerConfig};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{background, devices, pki};

/// What a device's TLS came to.
type Negotiated = (Option<ProtocolVersion>, Option<CipherSuite>, Option<NamedGroup>);

/// Shakes hands, notes what was agreed upon, and closes.
async fn tls_server(leaf: &Leaf) -> (SocketAddr, Arc<Mutex<Vec<Negotiated>>>) {
    let identity = leaf.identity();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("defaults")
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .expect("a leaf and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, seen) = (listener.local_addr().expect("bound"), Arc::new(Mutex::new(Vec::new())));
    let agreed = Arc::clone(&seen);
    background(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let session = stream.get_ref().1;
            agreed.lock().push((
                session.protocol_version(),
                session.negotiated_cipher_suite().map(|suite| suite.suite()),
                session.negotiated_key_exchange_group().map(|group| group.name()),
            ));
            // Its first words; then it is gone already, or is told.
            let _ = stream.read_u8().await;
            let _ = stream.shutdown().await;
        }
    });
    (address, seen)
}

#[tokio::test]
async fn tls_is_as_asked_and_trust_is_checked() {
    let folder = TempDir::new().expect("a folder");
    let ((authority, leaf), (other, _)) = (pki(), pki());
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let (root, wrong) = (write("root.crt", authority.root_pem()), write("wrong.crt", other.root_pem()));
    let (address, seen) = tls_server(&leaf).await;
    let address = address.to_string();
    let one = ["--target", &address, "--count", "1", "--ca"];

    use CipherSuite as Suite;
    for (arguments, expected) in [
        (
            ["1.2", "p256", "aes128"],
            (ProtocolVersion::TLSv1_2, Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, NamedGroup::secp256r1),
        ),
        (
            ["1.3", "x25519", "aes256"],
            (ProtocolVersion::TLSv1_3, Suite::TLS13_AES_256_GCM_SHA384, NamedGroup::X25519),
        ),
        (
            ["1.3", "p384", "aes128"],
            (ProtocolVersion::TLSv1_3, Suite::TLS13_AES_128_GCM_SHA256, NamedGroup::secp384r1),
        ),
    ] {
        let [version, group, cipher] = arguments;
        let tls = ["--tls-version", version, "--group", group, "--cipher", cipher];
        let (code, summary) = devices(&[&one[..], &[&root], &tls].concat()).await;
        assert_eq!((code, &summary["failed"]), (Some(1), &json!({"closed before proof": 1})), "{summary}");
        assert_eq!(summary["latency_ms"]["tls"]["count"], 1, "{summary}");
        let (version, suite, group) = expected;
        assert_eq!(seen.lock().drain(..).collect::<Vec<_>>(), [(Some(version), Some(suite), Some(group))]);
    }
    let untrusted = json!({"tls certificate not trusted": 1});
    assert_eq!(devices(&[&one[..], &[&wrong]].concat()).await.1["failed"], untrusted);
    let named = |name| [&one[..], &[&root, "--name", name]].concat();
    assert_eq!(devices(&named("another.example.com")).await.1["failed"], untrusted);
    let trusted = json!({"closed before proof": 1});
    assert_eq!(devices(&named("mps.example.com")).await.1["failed"], trusted);
    let anybody = ["--target", &address, "--count", "1", "--insecure"];
    assert_eq!(devices(&anybody).await.1["failed"], trusted);
}
