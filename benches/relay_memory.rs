//! User-space memory of idle relayed sessions: `cargo bench --bench relay_memory [-- SESSIONS]`.
//!
//! A gateway of `net` alone runs in a process of its own, with the allocator of `main.rs`; devices and
//! instances live in this one. Printed is the growth of the gateway's anonymous resident memory for
//! each session: idle after an echo of 64 bytes, and idle after an echo of 256 KiB.
//!
//! `-- --test` is a short form, whose figures mean nothing.
//!
//! `relay_memory gateway LISTEN UPSTREAM plain|tls PEM..` is that gateway, for other load generators.

use std::io::{BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use mps_gateway::lifecycle::Drain;
use mps_gateway::model::Endpoint;
use mps_gateway::net::connect::connect;
use mps_gateway::net::identity::Identity;
use mps_gateway::net::instance_tls::{InstanceTls, Verify};
use mps_gateway::net::listener::{Accepted, Listener};
use mps_gateway::net::records::{next_record, write_record};
use mps_gateway::net::relay::{Limits, Watch, close, relay};
use mps_gateway::net::server_tls::ServerTls;
use mps_gateway::net::traffic::Traffic;
use rustls::SupportedProtocolVersion;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::client::TlsStream;

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const LIMITS: Limits = Limits {
    silence: Duration::from_secs(120),
    stall: Duration::from_secs(60),
    grace: Duration::from_secs(2),
};
const CONNECT: Duration = Duration::from_secs(10);
/// Longer than jemalloc keeps what nobody uses (10 s).
const SETTLE: Duration = Duration::from_secs(13);
const WARM_UP: usize = 16;
const BURST: usize = 256 * 1024;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match args.first().map(String::as_str) {
        Some("gateway") => runtime.block_on(gateway(&args[1..])),
        Some("--test") => {
            println!("short form: the figures mean nothing");
            runtime.block_on(measure(WARM_UP, Duration::ZERO));
        }
        sessions => {
            let sessions = sessions.map_or(2000, |sessions| sessions.parse().expect("a number of sessions"));
            runtime.block_on(measure(sessions, SETTLE));
        }
    }
}

// ---- the gateway

struct Blind;

impl Watch for Blind {
    type Refusal = std::convert::Infallible;
    fn device_bytes(&mut self, _: &[u8]) -> Result<(), Self::Refusal> {
        Ok(())
    }
}

struct Parts {
    tls: ServerTls,
    upstream: Endpoint,
    upstream_tls: Option<InstanceTls>,
    drain: Drain,
}

async fn gateway(args: &[String]) {
    let [listen, upstream, leg, certificate, key] = args else {
        panic!("gateway LISTEN UPSTREAM plain|tls CERTIFICATE KEY");
    };
    let identity = Identity::load(certificate.as_ref(), key.as_ref()).expect("a certificate and its key");
    let parts = Arc::new(Parts {
        tls: ServerTls::new(identity).expect("a good identity"),
        upstream: upstream.parse().expect("host:port"),
        upstream_tls: (leg == "tls").then(|| InstanceTls::new(&Verify::None).expect("good settings")),
        drain: Drain::new(Duration::ZERO),
    });
    let room = Arc::new(Semaphore::new(100_000));
    let listener = Listener::bind(listen.parse().expect("an address"), room).expect("a free port");
    println!("{}", listener.local_addr());
    parts.drain.spawn(accept(Arc::clone(&parts), listener));
    // Each line asked is answered with the memory held; the end of the lines is the end.
    let asked = tokio::task::spawn_blocking(|| {
        for _line in std::io::stdin().lines() {
            println!("{}", anonymous_kib());
        }
    });
    asked.await.expect("no panic");
}

fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line RssAnon");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

async fn accept(parts: Arc<Parts>, listener: Listener) {
    loop {
        let accepted = listener.accept().await;
        let session = session(Arc::clone(&parts), accepted);
        parts.drain.spawn(async move {
            session.await; // a device that leaves early is of no interest here
        });
    }
}

/// As the device plane does it: hands over to a new, small task once nothing but relaying is left.
async fn session(parts: Arc<Parts>, accepted: Accepted) -> Option<()> {
    let mut device = parts.tls.handshake(accepted.tcp).await.ok()?;
    let preamble = next_record(&mut device).await.ok()??;
    let mut leg = connect(&parts.upstream, parts.upstream_tls.as_ref(), CONNECT).await.ok()?;
    write_record(&mut leg, &preamble).await.ok()?;
    let room = accepted.room;
    parts.drain.spawn(async move {
        let traffic = Traffic::begin();
        let stop = std::future::pending::<()>();
        relay(&mut device, &mut leg, &mut Blind, &traffic, &LIMITS, stop).await;
        tokio::join!(close(device, LIMITS.grace), close(leg, LIMITS.grace));
        drop(room);
    });
    Some(())
}

// ---- devices, instances and the figures

async fn measure(sessions: usize, settle: Duration) {
    let dir = std::env::temp_dir().join(format!("relay-memory-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let pem = [dir.join("leaf.crt"), dir.join("leaf.key")].map(|path| path.display().to_string());
    write_leaf(&pem);
    println!("{sessions} sessions; KiB of the gateway's memory for each");
    println!("{:<24}{:>10}{:>22}", "", "idle", "idle after 256 KiB");
    for (name, version, tls) in [
        ("TLS 1.2 -> plain", &rustls::version::TLS12, false),
        ("TLS 1.3 -> plain", &rustls::version::TLS13, false),
        ("TLS 1.2 -> TLS 1.3", &rustls::version::TLS12, true),
        ("TLS 1.3 -> TLS 1.3", &rustls::version::TLS13, true),
    ] {
        let [idle, after] = case(version, tls, (sessions, settle), &pem).await;
        println!("{name:<24}{idle:>10.1}{after:>22.1}");
    }
    std::fs::remove_dir_all(dir).expect("ours to remove");
}

/// RSA-2048, as MPS makes them.
fn write_leaf([certificate, key]: &[String; 2]) {
    let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    let pair = pair.expect("an RSA key");
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let leaf = params.self_signed(&pair).expect("a certificate");
    std::fs::write(certificate, leaf.pem()).expect("writable");
    std::fs::write(key, pair.serialize_pem()).expect("writable");
}

async fn case(
    version: &'static SupportedProtocolVersion,
    tls: bool,
    (sessions, settle): (usize, Duration),
    pem: &[String; 2],
) -> [f64; 2] {
    let drain = Drain::new(Duration::ZERO);
    let upstream = instance(&drain, tls, pem);
    let mut gateway = Gateway::start(upstream, tls, pem);
    let client = Arc::new(client(version, pem));
    let warm = devices(gateway.address, &client, WARM_UP).await;
    tokio::time::sleep(settle).await;
    let before = gateway.kib();
    let mut open = devices(gateway.address, &client, sessions).await;
    let each = |after: u64| after.saturating_sub(before) as f64 / sessions as f64;
    tokio::time::sleep(settle).await;
    let idle = each(gateway.kib());
    for some in open.chunks_mut(16) {
        futures_util::future::join_all(some.iter_mut().map(|device| echo(device, BURST))).await;
    }
    tokio::time::sleep(settle).await;
    let after = each(gateway.kib());
    drop((warm, open));
    [idle, after]
}

struct Gateway {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
    address: SocketAddr,
}

impl Gateway {
    fn start(upstream: SocketAddr, tls: bool, pem: &[String; 2]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["gateway", "127.0.0.1:0", &upstream.to_string(), if tls { "tls" } else { "plain" }])
            .args(pem)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let mut answers = BufReader::new(child.stdout.take().expect("piped"));
        let address = line(&mut answers).parse().expect("its address");
        Self { child, answers, address }
    }

    fn kib(&mut self) -> u64 {
        let ask = self.child.stdin.as_mut().expect("piped");
        ask.write_all(b"\n").and_then(|()| ask.flush()).expect("it listens");
        line(&mut self.answers).parse().expect("a number")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Nothing to be done about a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(from: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("the gateway talks");
    line.trim().to_owned()
}

/// Echoes whatever it hears.
fn instance(drain: &Drain, tls: bool, pem: &[String; 2]) -> SocketAddr {
    let room = Arc::new(Semaphore::new(100_000));
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), room).expect("a port");
    let address = listener.local_addr();
    let identity = Identity::load(pem[0].as_ref(), pem[1].as_ref()).expect("just written");
    let server = Arc::new(ServerTls::new(identity).expect("a good identity"));
    let tasks = drain.clone();
    drain.spawn(async move {
        loop {
            let Accepted { tcp, room, .. } = listener.accept().await;
            let server = Arc::clone(&server);
            tasks.spawn(async move {
                if tls {
                    if let Ok(stream) = server.handshake(tcp).await {
                        echo_all(stream).await;
                    }
                } else {
                    echo_all(tcp).await;
                }
                drop(room);
            });
        }
    });
    address
}

async fn echo_all<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T) {
    let mut buf = vec![0; 16384];
    while let Ok(heard @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..heard]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

type Device = TlsStream<TcpStream>;

fn client(version: &'static SupportedProtocolVersion, pem: &[String; 2]) -> rustls::ClientConfig {
    let identity = Identity::load(pem[0].as_ref(), pem[1].as_ref()).expect("just written");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(identity.chain[0].clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version the provider knows")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// Opens `count` devices, each proven by an echo of 64 bytes.
async fn devices(gateway: SocketAddr, client: &Arc<rustls::ClientConfig>, count: usize) -> Vec<Device> {
    let open = |_| async {
        let tcp = TcpStream::connect(gateway).await.expect("the gateway listens");
        tcp.set_nodelay(true).expect("a fresh socket");
        let name = "localhost".try_into().expect("a name");
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(client));
        let mut device = connector.connect(name, tcp).await.expect("a handshake");
        echo(&mut device, 64).await;
        device
    };
    futures_util::stream::iter(0..count).map(open).buffer_unordered(32).collect().await
}

async fn echo(device: &mut Device, bytes: usize) {
    let (mut reader, mut writer) = tokio::io::split(device);
    let (said, mut heard) = (vec![7; bytes], vec![0; bytes]);
    let say = async {
        writer.write_all(&said).await.expect("writes");
        writer.flush().await.expect("writes");
    };
    let (_, read) = tokio::join!(say, reader.read_exact(&mut heard));
    read.expect("an echo");
    assert!(said == heard, "what was said comes back");
}
