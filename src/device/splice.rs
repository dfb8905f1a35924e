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
        let (source, max) = (Source::of(self.source.ip()), self.settings.max_spliced);
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
    use super::*;

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
