//! Legacy TLS, spliced: a hello that rustls cannot serve reaches an instance untouched, and the instance
//! shakes hands. No GUID is known then: no owner, no claim, no guard. All that is left to choose an
//! instance by is where the device calls from.
//!
//! A spliced session never proves itself, so it cannot stay among those on their way to proof, whose
//! places are for seconds; `device.max-spliced` bounds it instead, from its hello to its end.

use std::convert::Infallible;
use std::time::Duration;

use quick_cache::unsync::Cache;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::warn;

use super::admission::Patience;
use super::counts::Counted;
use super::dial::Guest;
use super::ending::{SessionError, Stage};
use super::session::{Legs, Trip};
use crate::model::Source;
use crate::net::connect::Leg;
use crate::net::relay::{Side, Watch, relay};
use crate::net::rewind::Rewind;
use crate::sessions::{CloseReason, Splice};
use crate::wire::client_hello::{Hello, Legacy};

/// A source is logged once in so long.
const AGAIN: Duration = Duration::from_secs(3600);

/// Sources remembered as logged; those longest out of use go first.
const ENTRIES: usize = 10_000;

/// The sources whose legacy hellos were logged of late. Pure: the clock is an argument.
pub(super) struct Told(Cache<Source, Instant>);

impl Default for Told {
    fn default() -> Self {
        Self(Cache::new(ENTRIES))
    }
}

impl Told {
    /// Whether `source` is to be logged now: not if it was within the hour.
    fn tells(&mut self, source: Source, now: Instant) -> bool {
        let told = self.0.get(&source).is_some_and(|told| now.saturating_duration_since(*told) < AGAIN);
        if !told {
            self.0.insert(source, now);
        }
        !told
    }
}

/// A spliced session that has its instance.
pub(super) struct Splicing {
    _splice: Splice,
    _counted: Counted,
}

impl Trip {
    /// The first of an hour from this source: an operator is to know who still needs this.
    pub(super) fn tell_of_legacy(&self, hello: &Hello, verdict: Legacy) {
        let source = Source::of(self.source.ip());
        if self.plane.told.lock().tells(source, Instant::now()) {
            warn!(
                %source,
                version = hello.version.label(),
                key_exchange = hello.key_exchange.label(),
                verdict = verdict.label(),
                "legacy TLS: spliced to an instance, past the guard; told once an hour for each source"
            );
        }
    }

    /// Finds an instance for the device and leaves its hello to be relayed.
    pub(super) async fn splice(
        &mut self,
        tcp: Rewind<TcpStream>,
        legs: &mut Legs,
    ) -> Result<Splicing, SessionError> {
        self.stage = Stage::Connect;
        self.spliced = true;
        let tcp = legs.clear.insert(tcp);
        self.came_to(Patience::Login);
        let source = Source::of(self.source.ip());
        let max = most(self.settings.max_spliced, self.plane.max_connections);
        let table = self.plane.parts.sessions.spliced().clone();
        let splice = table.enter(source, self.traffic.clone(), self.shown_out.clone(), max);
        let splice = splice.map_err(SessionError::SpliceFull)?;
        let (instance, leg) = tokio::select! {
            found = Box::pin(self.seek(Guest::Source(source))) => found?,
            error = left(tcp.get_ref().1) => return Err(error),
        };
        legs.instance = Some(leg);
        splice.ends_at(&instance.name);
        self.instance = Some(instance.name.clone());
        self.place = None;
        if self.shown_out.is_cancelled() {
            return Err(SessionError::ShownOut);
        }
        self.stage = Stage::Spliced;
        self.plane.counts.accepts.of(Stage::Spliced).increment(1);
        Ok(Splicing { _splice: splice, _counted: Counted::by(&self.plane.parts.metrics.spliced) })
    }
}

/// How many may be spliced: who is need never leave, so it must not have all the `room` there is.
fn most(max: usize, room: usize) -> usize {
    if max < room { max } else { (room / 2).max(1) }
}

/// Ready when the device leaves while it waits. Nothing is taken from its stream: whatever it says, the
/// instance is to hear.
async fn left(tcp: &TcpStream) -> SessionError {
    match tcp.peek(&mut [0]).await {
        Ok(0) => SessionError::Closed(Side::Device),
        // It goes on unasked: that waits in the kernel, and its close behind it.
        Ok(_) => std::future::pending().await,
        Err(error) => SessionError::Failed(Side::Device, error),
    }
}

/// Relays until one side leaves, it has to make room or its turn to leave comes; then closes both legs.
pub(super) async fn relaying(
    mut trip: Box<Trip>,
    mut device: Rewind<TcpStream>,
    mut instance: Leg,
    splicing: Splicing,
) {
    let stop = async {
        tokio::select! {
            () = trip.shown_out.cancelled() => SessionError::ShownOut,
            () = trip.plane.parts.drain.turn(trip.ticket) => SessionError::Told(CloseReason::Draining),
        }
    };
    let limits = trip.limits();
    let ended = relay(&mut device, &mut instance, &mut Blind, &trip.traffic, &limits, stop).await;
    drop(splicing);
    trip.ended(&SessionError::of_relay(ended, |never| match never {}, |told| told));
    trip.close(Legs { clear: Some(device), instance: Some(instance), ..Legs::default() });
}

/// What is encrypted between others cannot be judged.
struct Blind;

impl Watch for Blind {
    type Refusal = Infallible;

    fn device_bytes(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::net::head::read_head;
    use crate::wire::client_hello::{self, LeafKey, NotHello};
    use crate::wire::proxy_protocol;

    const HEADER: &[u8] = b"PROXY TCP4 203.0.113.9 198.51.100.1 4000 4433\r\n";

    /// A hello of TLS 1.0 or 1.1 with RSA key exchange: `random` and `session` are its own to choose.
    fn old_hello(minor: u8, random: [u8; 32], session: &[u8], record: usize) -> Vec<u8> {
        let short = |len: usize| u16::try_from(len).expect("short").to_be_bytes();
        let sessions = u8::try_from(session.len()).expect("at most 32");
        let body = [&[3, minor][..], &random, &[sessions], session, &[0, 2, 0, 0x2f, 1, 0]].concat();
        let message = [&[1, 0][..], &short(body.len()), &body].concat();
        let records = message.chunks(record);
        records.flat_map(|part| [&[22, 3, 1][..], &short(part.len()), part].concat()).collect()
    }

    /// What is left to be relayed of a stream that came in these pieces: header taken, hello judged.
    async fn left_to_relay(pieces: Vec<Vec<u8>>) -> (Result<(), Legacy>, Vec<u8>) {
        let (mut near, far) = duplex(64);
        let says = async move {
            for piece in pieces {
                near.write_all(&piece).await.expect("somebody reads");
            }
        };
        let hears = async {
            let judge = |buf: &[u8]| {
                Ok::<_, NotHello>(client_hello::judge(buf, LeafKey::Rsa)?.map(|hello| (hello, 0)))
            };
            let head = read_head(far, proxy_protocol::MAX_LEN, proxy_protocol::parse).await;
            let (hello, stream) =
                read_head(head.expect("a header").1, client_hello::MAX_LEN, judge).await.expect("a hello");
            let (mut stream, mut left) = (stream.flatten(), Vec::new());
            stream.read_to_end(&mut left).await.expect("a duplex does not fail");
            (hello.verdict, left)
        };
        tokio::join!(says, hears).1
    }

    proptest! {
        #[test]
        fn whatever_the_pieces_all_that_follows_the_header_is_left_to_relay(
            minor in 1..=2_u8,
            random in any::<[u8; 32]>(),
            session in prop::collection::vec(any::<u8>(), 0..=32),
            record in prop_oneof![Just(usize::MAX), 1..90_usize],
            more in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let sent = [old_hello(minor, random, &session, record), more].concat();
            let stream = [HEADER, &sent].concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| stream[pair[0]..pair[1]].to_vec()).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let (verdict, left) = runtime.block_on(left_to_relay(pieces));
            prop_assert_eq!(verdict, Err(Legacy::Version));
            prop_assert_eq!(left, sent);
        }
    }

    fn source(number: u32) -> Source {
        Source::of(std::net::Ipv4Addr::from(number).into())
    }

    #[tokio::test]
    async fn a_source_is_told_of_once_an_hour() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert!(told.tells(source(1), now));
        assert!(!told.tells(source(1), now + AGAIN - Duration::from_secs(1)));
        assert!(told.tells(source(2), now));
        assert!(told.tells(source(1), now + AGAIN), "an hour after it was told, not after it came last");
        assert!(!told.tells(source(1), now + AGAIN * 2 - Duration::from_secs(1)));
    }

    #[tokio::test]
    async fn the_memory_of_sources_is_bounded() {
        let (mut told, now) = (Told::default(), Instant::now());
        for number in 0..30_000 {
            assert!(told.tells(source(number), now));
        }
        assert!(told.0.len() <= ENTRIES, "{}", told.0.len());
    }
}
