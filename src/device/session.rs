//! The itinerary of one device, first byte to last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};
use xxhash_rust::xxh3::xxh3_64;

use super::Plane;
use super::admission::Place;
use super::counts::Counted;
use super::ending::{Chain, Loudness, SessionError, Stage};
use super::greet::Greeted;
use super::settings::Settings;
use super::splice::Splicing;
use crate::lifecycle::Ticket;
use crate::model::{DeviceId, InstanceName};
use crate::net::connect::Leg;
use crate::net::listener::Accepted;
use crate::net::records::Records;
use crate::net::relay::{Limits, close};
use crate::net::rewind::Rewind;
use crate::net::tls_stream::ServerStream;
use crate::net::traffic::Traffic;
use crate::sessions::CloseReason;
use crate::telemetry::{Direction, Label as _};
use crate::wire::client_hello::Version;

/// The device's leg. In a box, since tasks and futures that carry it would each be as large.
pub(super) type DeviceLeg = Box<ServerStream<Rewind<TcpStream>>>;

/// One device, from accept until it is relayed in a task of its own, or is gone.
///
/// What a trip holds (places, gauges, claim) is given back by guards, whichever way it ends, so it
/// may be dropped at any point: when it has to make room for another, or when its turn to leave comes.
pub(super) async fn session(plane: Arc<Plane>, accepted: Accepted, place: Place) {
    let Accepted { tcp, peer, room } = accepted;
    let drain = plane.parts.drain.clone();
    let ticket = xxh3_64(peer.to_string().as_bytes());
    let leave = drain.turn(ticket);
    // In a box: the relay's task, of which there are as many as devices, carries it along.
    let mut trip = Box::new(Trip::new(plane, peer, ticket, room, place));
    let shown_out = trip.shown_out.clone();
    let mut legs = Legs::default();
    let ended = tokio::select! {
        arrived = Box::pin(trip.travel(tcp, &mut legs)) => match arrived {
            Ok(Arrived::Proven(listing, follower)) => {
                let device = legs.device.expect("nobody is proven without a device's leg");
                let instance = legs.instance.expect("nobody is proven without an instance's leg");
                drain.spawn(super::relaying::relaying(trip, device, instance, listing, follower));
                return;
            }
            Ok(Arrived::Spliced(splicing)) => {
                let device = legs.clear.expect("nobody is spliced without a device's leg");
                let instance = legs.instance.expect("nobody is spliced without an instance's leg");
                drain.spawn(super::splice::relaying(trip, device, instance, splicing));
                return;
            }
            Err(error) => error,
        },
        () = shown_out.cancelled() => SessionError::ShownOut,
        () = leave => SessionError::Told(CloseReason::Draining),
    };
    trip.ended(&ended);
    trip.close(legs);
}

/// Where a trip came to: what is relayed from here on.
enum Arrived {
    Proven(super::prove::Listing, super::guard::Follower),
    Spliced(Splicing),
}

/// The connections of a trip, as far as it came: kept beside it, so that however it ends both are
/// closed fully.
#[derive(Default)]
pub(super) struct Legs {
    pub device: Option<DeviceLeg>,
    /// The device's, if it is to be spliced.
    pub clear: Option<Rewind<TcpStream>>,
    pub instance: Option<Leg>,
}

/// What is known of one session and what it holds.
pub(super) struct Trip {
    pub plane: Arc<Plane>,
    /// As they were when the session began.
    pub settings: Arc<Settings>,
    /// Who called: behind the balancer, if one said so.
    pub source: SocketAddr,
    pub stage: Stage,
    pub hello: Option<Version>,
    pub device: Option<DeviceId>,
    pub instance: Option<InstanceName>,
    /// Whether it is spliced, or to be.
    pub spliced: bool,
    /// Its turn to leave, as long as no device is known.
    pub ticket: Ticket,
    pub traffic: Arc<Traffic>,
    /// Its place among those on their way to proof; given back at proof, and while it is held.
    pub place: Option<Place>,
    /// Cancelled when it has to make room for another, whichever place it has then.
    pub shown_out: CancellationToken,
    /// Its place among those held, while it is.
    pub held: Option<(OwnedSemaphorePermit, Counted)>,
    began: Instant,
    room: Option<OwnedSemaphorePermit>,
    _counted: Counted,
}

impl Trip {
    fn new(
        plane: Arc<Plane>,
        peer: SocketAddr,
        ticket: Ticket,
        room: OwnedSemaphorePermit,
        place: Place,
    ) -> Self {
        Self {
            settings: plane.settings.load_full(),
            source: peer,
            stage: Stage::Proxy,
            hello: None,
            device: None,
            instance: None,
            spliced: false,
            ticket,
            traffic: Arc::new(Traffic::begin()),
            shown_out: place.shown_out(),
            place: Some(place),
            held: None,
            began: Instant::now(),
            room: Some(room),
            _counted: Counted::by(&plane.parts.metrics.device_connections),
            plane,
        }
    }

    /// Every arrow of the architecture is a line here, up to the relay.
    async fn travel(&mut self, tcp: TcpStream, legs: &mut Legs) -> Result<Arrived, SessionError> {
        let tcp = self.proxy_header(tcp).await?; // greet: who is behind the balancer
        let tcp = match self.hello(tcp).await? {
            Greeted::Served(tcp) => tcp, // greet, wire: rustls can serve it
            Greeted::Legacy(tcp) => return self.splice(tcp, legs).await.map(Arrived::Spliced),
        };
        let device = legs.device.insert(self.handshake(tcp).await?); // greet, net
        let preamble = self.preamble(device).await?; // greet, wire: who it says it is
        self.admit(preamble.device).await?; // contested, backoff: whether it may try
        let mut prover = super::guard::Prover::new(self.settings.guard, self.settings.max_login_failures);
        let instance = self.connect(preamble.device, device, &mut prover).await?; // dial: route, net
        let instance = legs.instance.insert(instance);
        let proof = self.prove(device, instance, preamble, prover).await?; // prove, guard: until byte 52
        let (listing, follower) = self.claim_and_pass(device, instance, proof).await?; // directory: its owner
        Ok(Arrived::Proven(listing, follower))
    }

    /// Closes both legs fully in a task of its own; the room is free when that is done.
    pub fn close(&mut self, legs: Legs) {
        let Legs { device, clear, instance } = legs;
        if device.is_none() && clear.is_none() {
            return;
        }
        let (grace, room) = (self.settings.grace, self.room.take());
        self.plane.parts.drain.spawn(async move {
            let (device, clear) = (close_some(device, grace), close_some(clear, grace));
            tokio::join!(device, clear, close_some(instance, grace));
            drop(room);
        });
    }

    /// How long its relay waits.
    pub fn limits(&self) -> Limits {
        let Settings { silence, stall, grace, .. } = *self.settings;
        Limits { silence, stall, grace }
    }

    /// Counts the end and writes the one line of this session.
    pub fn ended(&self, error: &SessionError) {
        let reason = error.reason();
        let (counts, metrics) = (&self.plane.counts, &self.plane.parts.metrics);
        let (from_device, from_instance) = self.traffic.unreported();
        metrics.bytes.of(Direction::FromDevice).increment(from_device);
        metrics.bytes.of(Direction::FromInstance).increment(from_instance);
        let (from_device, from_instance) = self.traffic.bytes();
        counts.ends.of(reason).increment(1);
        if self.spliced {
            counts.splice_ends.of(reason).increment(1);
        }
        let relayed = matches!(self.stage, Stage::Proven | Stage::Spliced);
        if !relayed {
            counts.accepts.of(self.stage).increment(1); // one that is relayed was counted then
        }
        if let SessionError::Guard(refusal) = error {
            counts.refusals.of(*refusal).increment(1);
        }
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    target: "mps_gateway::session",
                    device = self.device.map(tracing::field::display),
                    instance = self.instance.as_ref().map(tracing::field::display),
                    source = %self.source,
                    hello = self.hello.map(Version::label),
                    spliced = self.spliced.then_some(true),
                    stage = self.stage.label(),
                    reason = reason.reason(),
                    blame = reason.blame().label(),
                    seconds = self.began.elapsed().as_secs_f64(),
                    from_device,
                    from_instance,
                    error = %Chain(error),
                    "session"
                )
            };
        }
        if relayed || reason.loudness() == Loudness::Normal { line!(info) } else { line!(debug) }
    }
}

async fn close_some<T: Records>(leg: Option<T>, grace: Duration) {
    if let Some(leg) = leg {
        close(leg, grace).await;
    }
}

/// A device's turn in a drain: the same at every replica.
pub(super) fn ticket(device: DeviceId) -> Ticket {
    xxh3_64(device.as_bytes())
}

/// A part of `most` that is the same for a ticket: spreads those who would come back together.
pub(super) fn spread(ticket: Ticket, most: Duration) -> Duration {
    most.mul_f64(ticket as f64 / u64::MAX as f64)
}
