//! TLS of the two ends, of the plain copy between them, and of nothing but records.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mps_gateway::net::identity::Identity;
use mps_gateway::sim::pki::{Authority, Keys, Leaf};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Stream;

const NAME: &str = "localhost";

/// A device speaks TLS 1.2, an instance 1.3.
#[derive(Clone)]
pub struct Configs {
    leaf: Leaf,
    server: Arc<ServerConfig>,
    device: Arc<ClientConfig>,
    client: Arc<ClientConfig>,
}

impl Configs {
    pub fn new() -> Self {
        let authority = Authority::new(Keys::P256, "bench").expect("a root");
        let leaf = authority.issue(NAME, &[]).expect("a leaf");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let Identity { chain, key, .. } = leaf.identity();
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions the provider knows")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a good identity");
        let mut roots = RootCertStore::empty();
        roots.add(authority.root()).expect("a root");
        let client = |version| {
            let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[version])
                .expect("a version the provider knows")
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            Arc::new(config)
        };
        Self { leaf, server: Arc::new(server), device: client(&TLS12), client: client(&TLS13) }
    }

    pub fn identity(&self) -> Identity {
        self.leaf.identity()
    }
}

/// The device's end.
pub async fn device(tcp: TcpStream, tls: Option<&Configs>) -> Box<dyn Stream> {
    connected(tcp, tls.map(|configs| &configs.device)).await
}

/// The instance's end.
pub async fn instance(tcp: TcpStream, tls: Option<&Configs>) -> Box<dyn Stream> {
    as_server(tcp, tls).await
}

/// The copy's end towards the device.
pub async fn as_server(tcp: TcpStream, tls: Option<&Configs>) -> Box<dyn Stream> {
    let Some(configs) = tls else { return Box::new(tcp) };
    let acceptor = TlsAcceptor::from(Arc::clone(&configs.server));
    Box::new(acceptor.accept(tcp).await.expect("a handshake"))
}

/// The copy's end towards the instance.
pub async fn as_client(tcp: TcpStream, tls: Option<&Configs>) -> Box<dyn Stream> {
    connected(tcp, tls.map(|configs| &configs.client)).await
}

async fn connected(tcp: TcpStream, config: Option<&Arc<ClientConfig>>) -> Box<dyn Stream> {
    let Some(config) = config else { return Box::new(tcp) };
    let connector = TlsConnector::from(Arc::clone(config));
    let name = NAME.try_into().expect("a name");
    Box::new(connector.connect(name, tcp).await.expect("a handshake"))
}

/// rustls alone, in memory: a record is opened as a device's and sealed for an instance.
pub struct Alone {
    device: ClientConnection,
    server: ServerConnection,
    client: ClientConnection,
    said: Bytes,
}

impl Alone {
    /// Records that carry `said`.
    pub fn new(configs: &Configs, said: Bytes) -> Self {
        let (device, server) = shaken(&configs.device, &configs.server);
        let (client, _) = shaken(&configs.client, &configs.server);
        Self { device, server, client, said }
    }

    /// How long so many records take, without those who say and hear them.
    pub fn records(&mut self, records: u64) -> Duration {
        const BATCH: u64 = 64;
        let (mut heard, mut sent) = (vec![0; self.said.len()], Vec::new());
        let (mut left, mut took) = (records, Duration::ZERO);
        while left > 0 {
            let batch = left.min(BATCH);
            left -= batch;
            let sealed: Vec<_> = (0..batch).map(|_| self.sealed()).collect();
            let began = Instant::now();
            for record in sealed {
                let mut rest = &*record;
                while !rest.is_empty() {
                    self.server.read_tls(&mut rest).expect("bytes in memory");
                    self.server.process_new_packets().expect("a good record");
                }
                self.server.reader().read_exact(&mut heard).expect("a whole record");
                self.client.writer().write_all(&heard).expect("room for a record");
                sent.clear();
                self.client.write_tls(&mut sent).expect("bytes in memory");
            }
            took += began.elapsed();
        }
        assert_eq!(heard, self.said);
        took
    }

    fn sealed(&mut self) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.device.writer().write_all(&self.said).expect("room for a record");
        while self.device.wants_write() {
            self.device.write_tls(&mut sealed).expect("bytes in memory");
        }
        sealed
    }
}

fn shaken(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> (ClientConnection, ServerConnection) {
    let name = NAME.try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::clone(client), name).expect("a good configuration");
    let mut server = ServerConnection::new(Arc::clone(server)).expect("a good configuration");
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
        let mut said = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut said).expect("bytes in memory");
        }
        let mut rest = &*said;
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("bytes in memory");
            server.process_new_packets().expect("a good client");
        }
        let mut said = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut said).expect("bytes in memory");
        }
        let mut rest = &*said;
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("bytes in memory");
            client.process_new_packets().expect("a good server");
        }
    }
    (client, server)
}
