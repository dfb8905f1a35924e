//! Both directions at once, between streams that take and give a part, now and then nothing: what arrives
//! is what was said, record for record.

use std::collections::VecDeque;

use proptest::prelude::*;
use proptest::sample::Index;
use rustls::SupportedProtocolVersion;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf, duplex};

use super::*;
use crate::net::records::poll_record;
use crate::net::tls_stream::{ClientStream, Session, TlsStream};

/// Takes and gives at most so much at a time, and is busy now and then.
struct Fitful {
    pipe: DuplexStream,
    most: usize,
    state: u64,
}

impl Fitful {
    /// How much may pass now; `None`: nothing, and the task is woken.
    fn room(&mut self, cx: &Context<'_>) -> Option<usize> {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chance = usize::try_from(self.state >> 33).expect("31 bits");
        if chance.is_multiple_of(4) {
            cx.waker().wake_by_ref();
            return None;
        }
        Some(1 + chance % self.most)
    }
}

impl AsyncRead for Fitful {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(room) = self.room(cx) else { return Poll::Pending };
        let mut part = vec![0; room.min(buf.remaining())];
        let mut part = ReadBuf::new(&mut part);
        ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fitful {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Some(room) = self.room(cx) else { return Poll::Pending };
        Pin::new(&mut self.pipe).poll_write(cx, &buf[..buf.len().min(room)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

impl Records for Fitful {
    fn poll_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        scratch.batch.poll_fill(cx, self)
    }
}

impl Records for DuplexStream {
    fn poll_records(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        scratch.batch.poll_fill(cx, self)
    }
}

/// What a stream keeps, in bytes.
trait Keeps {
    fn keeps(&self) -> usize;
    /// Announces new keys, if the stream has any.
    fn new_keys(&mut self) {}
}

impl Keeps for Fitful {
    fn keeps(&self) -> usize {
        0
    }
}

impl Keeps for DuplexStream {
    fn keeps(&self) -> usize {
        0
    }
}

impl<S, C: Session> Keeps for TlsStream<S, C> {
    fn keeps(&self) -> usize {
        let plain: usize = self.plain.iter().map(Bytes::len).sum();
        self.incoming.capacity() + self.outgoing.capacity() + plain
    }

    fn new_keys(&mut self) {
        let UnbufferedStatus { state, .. } = self.session.process(&mut []);
        if let Ok(ConnectionState::WriteTraffic(traffic)) = state {
            // TLS 1.2 has none.
            let _ = traffic.refresh_traffic_keys();
        }
    }
}

/// The far end of a leg: says its records and hears what comes, both at once.
struct Far<T> {
    stream: T,
    says: VecDeque<Vec<u8>>,
    heard: Vec<Vec<u8>>,
    /// Records between two announcements of new keys.
    keys: usize,
}

impl<T: Records + Keeps> Far<T> {
    /// Ready once all is said and so many bytes were heard.
    fn poll_talk(&mut self, cx: &mut Context<'_>, hears: usize) -> Poll<()> {
        while let Some(record) = self.says.front() {
            let Poll::Ready(taken) = Pin::new(&mut self.stream).poll_write(cx, record) else { break };
            let taken = taken.expect("writes");
            let record = self.says.pop_front().expect("it was there");
            if taken < record.len() {
                self.says.push_front(record[taken..].to_vec());
            } else if self.says.len().is_multiple_of(self.keys) {
                self.stream.new_keys();
            }
        }
        let said = self.says.is_empty() && Pin::new(&mut self.stream).poll_flush(cx).is_ready();
        while self.heard.iter().map(Vec::len).sum::<usize>() < hears {
            match poll_record(&mut self.stream, cx, <[u8]>::to_vec) {
                Poll::Ready(record) => {
                    let record = record.expect("reads");
                    assert!(!record.is_empty(), "it ended early");
                    self.heard.push(record);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        if said { Poll::Ready(()) } else { Poll::Pending }
    }

    async fn talk(&mut self, hears: usize) {
        poll_fn(|cx| self.poll_talk(cx, hears)).await;
    }
}

/// Both lanes until the device closes; what the watch saw, and the most that was kept.
async fn pump<D: Records + Keeps, I: Records + Keeps>(
    mut device: D,
    mut instance: I,
) -> (Vec<Vec<u8>>, usize) {
    let (mut up, mut down) = (Lane::<char>::default(), Lane::<char>::default());
    let (mut seen, mut kept) = (Vec::new(), 0);
    poll_fn(|cx| {
        let look = |batch: &mut Batch| {
            seen.extend(batch.records().map(<[u8]>::to_vec));
            None
        };
        if let Poll::Ready(end) = up.pump(cx, &mut device, &mut instance, look) {
            assert!(matches!(end, End::Closed), "the way up");
            return Poll::Ready(());
        }
        assert!(down.pump(cx, &mut instance, &mut device, |_| None).is_pending(), "the way down");
        kept = kept.max(up.rest.len() + down.rest.len() + device.keeps() + instance.keeps());
        Poll::Pending
    })
    .await;
    assert_eq!((up.rest.len(), down.rest.len(), device.keeps(), instance.keeps()), (0, 0, 0, 0));
    (seen, kept)
}

/// How streams behave in one case.
#[derive(Clone, Copy, Debug)]
struct Weather {
    version: &'static SupportedProtocolVersion,
    /// Bytes that a pipe holds.
    pipe: usize,
    /// Bytes that a near end takes or gives at once.
    most: usize,
    keys: usize,
    seed: u64,
}

impl Weather {
    fn pipe(self, seed: u64) -> (Fitful, DuplexStream) {
        let (near, far) = duplex(self.pipe);
        (Fitful { pipe: near, most: self.most, state: self.seed ^ seed }, far)
    }

    fn client(self) -> UnbufferedClientConnection {
        let config = Arc::new(fixtures::trusting_client(&[self.version]));
        UnbufferedClientConnection::new(config, "localhost".try_into().expect("a name")).expect("a session")
    }
}

async fn all_arrives(weather: Weather, up: Vec<Vec<u8>>, down: Vec<Vec<u8>>, tls: bool) {
    let server = ServerTls::new(fixtures::leaf().identity()).expect("a good identity");
    let (near, far) = weather.pipe(1);
    let (device, far_device) =
        tokio::join!(server.handshake(near), ClientStream::handshake(far, weather.client()));
    let (device, far_device) = (device.expect("server side"), far_device.expect("client side"));
    let (near, far) = weather.pipe(2);
    if !tls {
        let relaying = tokio::spawn(pump(device, near));
        return talk(weather, far_device, far, relaying, up, down, false).await;
    }
    let (instance, far_instance) =
        tokio::join!(ClientStream::handshake(near, weather.client()), server.handshake(far));
    let (instance, far_instance) = (instance.expect("client side"), far_instance.expect("server side"));
    let relaying = tokio::spawn(pump(device, instance));
    talk(weather, far_device, far_instance, relaying, up, down, true).await;
}

async fn talk<D: Records + Keeps, I: Records + Keeps>(
    weather: Weather,
    device: D,
    instance: I,
    relaying: JoinHandle<(Vec<Vec<u8>>, usize)>,
    up: Vec<Vec<u8>>,
    down: Vec<Vec<u8>>,
    tls: bool,
) {
    let end = |says: &[Vec<u8>]| (says.to_vec().into(), Vec::new());
    let ((says, heard), keys) = (end(&up), weather.keys);
    let mut device = Far { stream: device, says, heard, keys };
    let (says, heard) = end(&down);
    let mut instance = Far { stream: instance, says, heard, keys };
    let bytes = |records: &[Vec<u8>]| records.iter().map(Vec::len).sum();
    tokio::join!(device.talk(bytes(&down)), instance.talk(bytes(&up)));
    device.stream.shutdown().await.expect("closes");
    let (seen, kept) = relaying.await.expect("no panic");
    assert!(seen == up, "the watch saw each record once, in order");
    assert!(kept <= 2 * (MOST + LEAST), "{kept} bytes were kept");
    if tls {
        assert!(instance.heard == up, "up, record for record");
        assert!(device.heard == down, "down, record for record");
    } else {
        assert!(instance.heard.concat() == up.concat(), "up, every byte in order");
        assert!(device.heard.concat() == down.concat(), "down, every byte in order");
    }
}

/// Records of which most are small: many in a read, and now and then as large as can be.
fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let len = prop_oneof![20 => 1..60_usize, 2 => 1..5000_usize, 1 => 15_000..=16_384_usize];
    prop::collection::vec((len, any::<u64>()), 1..400)
        .prop_map(|records| records.into_iter().map(|(len, seed)| noise(len, seed)).collect())
}

fn weather() -> impl Strategy<Value = Weather> {
    let pipe = prop_oneof![Just(1 << 20), 1000..100_000_usize];
    let most = prop_oneof![Just(1 << 20), 500..40_000_usize];
    (any::<Index>(), pipe, most, 1..200_usize, any::<u64>()).prop_map(|(version, pipe, most, keys, seed)| {
        let version = [&TLS12, &TLS13][version.index(2)];
        Weather { version, pipe, most, keys, seed }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn however_streams_take_and_give_all_arrives_record_for_record(
        weather in weather(), up in records(), down in records(), tls in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(within(all_arrives(weather, up, down, tls)));
    }
}
