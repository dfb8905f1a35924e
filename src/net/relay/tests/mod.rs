#![expect(clippy::disallowed_methods, reason = "tests have no drain")]

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client};

use super::*;
use crate::net::connect::{Leg, connect};
use crate::net::fixtures;
use crate::net::instance_tls::{InstanceTls, Verify};
use crate::net::records::{next_record, write_record};
use crate::net::rewind::Rewind;
use crate::net::server_tls::ServerTls;
use crate::net::socket;
use crate::net::tls_stream::ServerStream;

mod ending;
mod flow;
mod lane;
mod random;

const WITHIN: Duration = Duration::from_secs(20);
const LIMITS: Limits = Limits {
    silence: Duration::from_secs(60),
    stall: Duration::from_secs(60),
    grace: Duration::from_millis(300),
};

async fn within<F: Future>(what: F) -> F::Output {
    timeout(WITHIN, what).await.expect("in time")
}

/// Refuses chunks that begin with `!`.
struct NoShouting;

impl Watch for NoShouting {
    type Refusal = char;
    fn device_bytes(&mut self, chunk: &[u8]) -> Result<(), char> {
        if chunk.first() == Some(&b'!') { Err('!') } else { Ok(()) }
    }
}

/// The instance's own end of the leg.
enum Far {
    Plain(TcpStream),
    Tls(Box<ServerStream<TcpStream>>),
}

impl Far {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    fn io(&mut self) -> &mut (dyn Io + Send) {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(stream) => stream,
        }
    }
}

trait Io: tokio::io::AsyncRead + AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + AsyncWrite + Unpin> Io for T {}

type Device = client::TlsStream<TcpStream>;
type Outcome = Ended<char, &'static str>;

/// A device and an instance with a relay between them, all over loopback.
struct Rig {
    device: Device,
    far: Far,
    traffic: Arc<Traffic>,
    stop: oneshot::Sender<&'static str>,
    relay: JoinHandle<Outcome>,
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.expect("connects"), far.expect("accepts").0)
}

/// Both ends of the device's leg.
async fn device_leg(
    version: &'static rustls::SupportedProtocolVersion,
) -> (Device, ServerStream<Rewind<TcpStream>>) {
    let server = ServerTls::new(fixtures::leaf().identity()).expect("a good identity");
    let connector = TlsConnector::from(Arc::new(fixtures::trusting_client(&[version])));
    let (near, far) = tcp_pair().await;
    for tcp in [&near, &far] {
        socket::tune(tcp).expect("a fresh socket");
    }
    let name = "localhost".try_into().expect("a name");
    let far = Rewind::new(Bytes::new(), far);
    let (near, far) = tokio::join!(connector.connect(name, near), server.handshake(far));
    (near.expect("client side"), far.expect("server side"))
}

/// Both ends of the instance's leg.
async fn instance_leg(tls: bool) -> (Leg, Far) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = listener.local_addr().expect("an address").into();
    let client = InstanceTls::new(&Verify::None).expect("good settings");
    let serve = async {
        let (tcp, _) = listener.accept().await.expect("accepts");
        if !tls {
            return Far::Plain(tcp);
        }
        let server = ServerTls::new(fixtures::leaf().identity()).expect("a good identity");
        Far::Tls(Box::new(server.handshake(tcp).await.expect("server side")))
    };
    let (leg, far) = tokio::join!(connect(&endpoint, tls.then_some(&client), WITHIN), serve);
    (leg.expect("connects"), far)
}

async fn rig(tls: bool, limits: Limits) -> Rig {
    rig_of(&TLS13, tls, limits).await
}

async fn rig_of(version: &'static rustls::SupportedProtocolVersion, tls: bool, limits: Limits) -> Rig {
    let ((device, mut near), (mut leg, far)) = tokio::join!(device_leg(version), instance_leg(tls));
    let traffic = Arc::new(Traffic::begin());
    let (stop, stopped) = oneshot::channel();
    let counted = Arc::clone(&traffic);
    let relay = tokio::spawn(async move {
        let stop = async move {
            match stopped.await {
                Ok(why) => why,
                Err(_) => std::future::pending().await,
            }
        };
        let ended = relay(&mut near, &mut leg, &mut NoShouting, &counted, &limits, stop).await;
        tokio::join!(close(near, limits.grace), close(leg, limits.grace));
        ended
    });
    Rig { device, far, traffic, stop, relay }
}

/// Bytes that repeat only after a long while, and never shout.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0] | 0x80
    };
    (0..len).map(|_| next()).collect()
}

/// Says `out` and hears as many bytes as `expected` has, at once.
async fn exchange<T: Io>(stream: T, out: &[u8], expected: &[u8]) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let say = async {
        writer.write_all(out).await.expect("writes");
        writer.flush().await.expect("writes");
    };
    let hear = async {
        let mut heard = vec![0; expected.len()];
        reader.read_exact(&mut heard).await.expect("reads");
        assert!(heard == expected, "every byte arrives, in order");
    };
    tokio::join!(say, hear);
}

/// Writes until the other side is gone.
async fn flood<T: Io + ?Sized>(stream: &mut T) {
    let chunk = vec![b'f'; 16384];
    while stream.write_all(&chunk).await.is_ok() {}
}

/// Writes until nothing is taken for a while; how many bytes were.
async fn fill<T: Io>(stream: &mut T) -> usize {
    let chunk = vec![b'f'; 16384];
    let mut taken = 0;
    while let Ok(n) = timeout(Duration::from_millis(300), stream.write(&chunk)).await {
        taken += n.expect("writes");
        assert!(taken < 256 << 20, "somebody buffers without bound");
    }
    taken
}
