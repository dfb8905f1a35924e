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
use crate::net::connect::connect;
use crate::net::fixtures;
use crate::net::instance_tls::{InstanceTls, Verify};
use crate::net::records::{next_record, write_record};
use crate::net::rewind::Rewind;
use crate::net::server_tls::ServerTls;
use crate::net::socket;
use crate::net::tls_stream::ServerStream;

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

#[tokio::test]
async fn bulk_goes_both_ways_at_once() {
    for version in [&TLS12, &TLS13] {
        for tls in [false, true] {
            let mut rig = rig_of(version, tls, LIMITS).await;
            let up = noise(3 << 20, 1);
            let down = noise(3 << 20, 2);
            within(async {
                tokio::join!(exchange(&mut rig.device, &up, &down), exchange(rig.far.io(), &down, &up))
            })
            .await;
            assert_eq!(rig.traffic.bytes(), (3 << 20, 3 << 20));
            drop((rig.device, rig.far));
            within(rig.relay).await.expect("no panic");
        }
    }
}

#[tokio::test]
async fn a_record_leaves_as_a_record_in_both_directions() {
    let mut rig = rig(true, LIMITS).await;
    let Far::Tls(far) = &mut rig.far else { panic!("asked for TLS") };
    let sizes = [1, 2, 93, 23, 4096, 4097, 16384, 1, 5000];
    let records: Vec<_> = sizes.iter().map(|&size| vec![b'r'; size]).collect();
    // All at once, so that many are there when the relay looks.
    let say_up = async {
        for record in &records {
            write_record(&mut rig.device, record).await.expect("writes");
        }
    };
    let hear_up = async {
        for size in sizes {
            assert_eq!(next_record(&mut **far).await.expect("reads").expect("not closed").len(), size);
        }
    };
    within(async { tokio::join!(say_up, hear_up) }).await;
    let say_down = async {
        for record in &records {
            write_record(&mut **far, record).await.expect("writes");
        }
    };
    let hear_down = async {
        for size in sizes {
            assert_eq!(next_record(&mut rig.device).await.expect("reads").expect("not closed").len(), size);
        }
    };
    within(async { tokio::join!(say_down, hear_down) }).await;
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

#[tokio::test]
async fn a_slow_reader_stops_its_writer_and_nobody_else() {
    for tls in [false, true] {
        let mut rig = rig(tls, LIMITS).await;
        let taken = within(fill(&mut rig.device)).await;
        let (held, _) = rig.traffic.bytes();
        // The other direction still flows.
        rig.far.io().write_all(b"down").await.expect("writes");
        rig.far.io().flush().await.expect("writes");
        let mut heard = [0; 4];
        within(rig.device.read_exact(&mut heard)).await.expect("reads");
        assert_eq!(&heard, b"down");
        assert_eq!(rig.traffic.bytes(), (held, 4), "the relay reads no more while the instance takes none");
        // Then everything arrives after all.
        let more = async {
            rig.device.flush().await.expect("writes");
            rig.device.shutdown().await.expect("closes");
        };
        let mut all = Vec::new();
        let (_, read) = within(async { tokio::join!(more, rig.far.io().read_to_end(&mut all)) }).await;
        read.expect("reads to the end");
        assert_eq!(all.len(), taken);
        let ended = within(rig.relay).await.expect("no panic");
        assert!(matches!(ended, Ended::Closed(Side::Device)), "{ended:?}");
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_ends_it_and_a_slow_one_does_not() {
    let limits = Limits { stall: Duration::from_millis(700), ..LIMITS };
    for tls in [false, true] {
        let mut rig = rig(tls, limits).await;
        SockRef::from(rig.far.tcp()).set_recv_buffer_size(65536).expect("a live socket");
        let slowly = async {
            let mut chunk = vec![0; 256 << 10];
            for _ in 0..6 {
                // Longer than the limit in all, shorter each.
                tokio::time::sleep(Duration::from_millis(300)).await;
                rig.far.io().read_exact(&mut chunk).await.expect("still relaying");
            }
        };
        within(async {
            tokio::select! {
                () = slowly => {}
                () = flood(&mut rig.device) => panic!("the relay ended early"),
            }
        })
        .await;
        let (ended, ()) = within(async { tokio::join!(rig.relay, flood(&mut rig.device)) }).await;
        let ended = ended.expect("no panic");
        assert!(matches!(ended, Ended::Stalled(Side::Instance)), "{ended:?}");
    }
}

#[tokio::test]
async fn a_device_that_takes_nothing_ends_it() {
    let mut rig = rig(true, Limits { stall: Duration::from_millis(500), ..LIMITS }).await;
    let (ended, ()) = within(async { tokio::join!(rig.relay, flood(rig.far.io())) }).await;
    let ended = ended.expect("no panic");
    assert!(matches!(ended, Ended::Stalled(Side::Device)), "{ended:?}");
}

#[tokio::test]
async fn silence_ends_it_and_a_word_from_either_side_puts_it_off() {
    let silence = Duration::from_millis(600);
    let mut rig = rig(true, Limits { silence, ..LIMITS }).await;
    let began = Instant::now();
    for turn in 0..8 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if turn % 2 == 0 {
            write_record(&mut rig.device, b"up").await.expect("writes");
        } else {
            write_record(&mut rig.far.io(), b"down").await.expect("writes");
        }
        assert!(!rig.relay.is_finished(), "after {:?}", began.elapsed());
    }
    let last = Instant::now();
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Silent), "{ended:?}");
    assert!(last.elapsed() > silence / 2, "{:?}", last.elapsed());
}

#[tokio::test]
async fn what_a_side_said_before_it_closed_arrives() {
    for tls in [false, true] {
        let mut rig = rig(tls, LIMITS).await;
        let last = noise(200_000, 3);
        let said = last.clone();
        let say = async {
            rig.device.write_all(&said).await.expect("writes");
            rig.device.shutdown().await.expect("closes");
        };
        let mut heard = Vec::new();
        let (_, read) = within(async { tokio::join!(say, rig.far.io().read_to_end(&mut heard)) }).await;
        read.expect("close_notify and FIN");
        assert!(heard == said, "all of it");
        drop(rig.far);
        let ended = within(rig.relay).await.expect("no panic");
        assert!(matches!(ended, Ended::Closed(Side::Device)), "{ended:?}");

        let mut rig = self::rig(tls, LIMITS).await;
        let say = async {
            rig.far.io().write_all(&last).await.expect("writes");
            rig.far.io().shutdown().await.expect("closes");
        };
        let mut heard = Vec::new();
        let (_, read) = within(async { tokio::join!(say, rig.device.read_to_end(&mut heard)) }).await;
        read.expect("close_notify and FIN");
        assert!(heard == last, "all of it");
        drop(rig.device);
        let ended = within(rig.relay).await.expect("no panic");
        assert!(matches!(ended, Ended::Closed(Side::Instance)), "{ended:?}");
    }
}

#[tokio::test]
async fn leaving_without_close_notify_is_closing() {
    let rig = rig(true, LIMITS).await;
    let (mut tcp, _session) = rig.device.into_inner();
    tcp.shutdown().await.expect("a FIN alone");
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Closed(Side::Device)), "{ended:?}");
}

#[tokio::test]
async fn a_reset_is_a_failure_of_its_side() {
    let rig = rig(true, LIMITS).await;
    SockRef::from(rig.device.get_ref().0).set_linger(Some(Duration::ZERO)).expect("a live socket");
    drop(rig.device);
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Failed(Side::Device, _)), "{ended:?}");

    let rig = self::rig(false, LIMITS).await;
    SockRef::from(rig.far.tcp()).set_linger(Some(Duration::ZERO)).expect("a live socket");
    drop(rig.far);
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Failed(Side::Instance, _)), "{ended:?}");
}

#[tokio::test]
async fn a_broken_record_is_a_failure_of_its_side() {
    let rig = rig(false, LIMITS).await;
    let (mut tcp, _session) = rig.device.into_inner();
    tcp.write_all(b"\x17\x03\x03\x00\x20 these bytes were never encrypted").await.expect("writes");
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Failed(Side::Device, _)), "{ended:?}");
}

#[tokio::test]
async fn what_the_watch_refuses_does_not_pass() {
    let mut rig = rig(true, LIMITS).await;
    write_record(&mut rig.device, b"good").await.expect("writes");
    write_record(&mut rig.device, b"!bad").await.expect("writes");
    let mut heard = Vec::new();
    within(rig.far.io().read_to_end(&mut heard)).await.expect("closed properly");
    assert_eq!(heard, b"good");
    drop((rig.device, rig.far));
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Refused('!')), "{ended:?}");
}

#[tokio::test]
async fn it_stops_when_told_to_and_closes_both_sides_even_in_a_flood() {
    let mut rig = rig(true, LIMITS).await;
    let mut sink = Vec::new();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.stop.send("enough").expect("still running");
    };
    let (_, _, read) =
        within(async { tokio::join!(flood(&mut rig.device), stop, rig.far.io().read_to_end(&mut sink)) })
            .await;
    read.expect("close_notify and FIN reach the instance");
    drop((rig.device, rig.far));
    let ended = within(rig.relay).await.expect("no panic");
    assert!(matches!(ended, Ended::Stopped("enough")), "{ended:?}");
}

#[tokio::test]
async fn closing_says_so_and_waits_no_longer_than_its_grace() {
    let grace = Duration::from_millis(300);
    let (mut device, near) = device_leg(&TLS12).await;
    let began = Instant::now();
    let closing = tokio::spawn(close(near, grace));
    // close_notify arrives; this side never closes, and talks on.
    assert_eq!(within(device.read(&mut [0; 16])).await.expect("close_notify, then FIN"), 0);
    write_record(&mut device, b"still here").await.expect("the socket is open a little longer");
    within(closing).await.expect("no panic");
    assert!(began.elapsed() >= grace && began.elapsed() < WITHIN / 2, "{:?}", began.elapsed());

    let (device, near) = device_leg(&TLS12).await;
    let closing = close(near, WITHIN);
    drop(device);
    timeout(WITHIN / 2, closing).await.expect("the other side closed: nothing to wait for");
}

#[tokio::test]
async fn an_idle_relay_is_small() {
    let ((_device, mut near), (mut leg, _far)) = tokio::join!(device_leg(&TLS13), instance_leg(true));
    let traffic = Traffic::begin();
    let mut watch = NoShouting;
    let relay = relay(&mut near, &mut leg, &mut watch, &traffic, &LIMITS, std::future::pending::<()>());
    let bytes = size_of_val(&relay);
    assert!(bytes <= 512, "the relay's future has {bytes} bytes");
}
