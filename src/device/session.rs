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
use super::settings::Settings;
use crate::lifecycle::Ticket;
use crate::model::{DeviceId, InstanceName};
use crate::net::connect::Leg;
use crate::net::listener::Accepted;
use crate::net::relay::close;
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
    let leave = drain.turn(xxh3_64(peer.to_string().as_bytes()));
    // In a box: the relay's task, of which there are as many as devices, carries it along.
    let mut trip = Box::new(Trip::new(plane, peer, room, place));
    let shown_out = trip.shown_out.clone();
    let mut legs = Legs::default();
    let ended = tokio::select! {
        arrived = Box::pin(trip.travel(tcp, &mut legs)) => match arrived {
            Ok((listing, follower)) => {
                let device = legs.device.expect("nobody is proven without a device's leg");
                let instance = legs.instance.expect("nobody is proven without an instance's leg");
                drain.spawn(super::relaying::relaying(trip, device, instance, listing, follower));
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

/// The connections of a trip, as far as it came: kept beside it, so that however it ends both are
/// closed fully.
#[derive(Default)]
pub(super) struct Legs {
    pub device: Option<DeviceLeg>,
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
    fn new(plane: Arc<Plane>, peer: SocketAddr, room: OwnedSemaphorePermit, place: Place) -> Self {
        Self {
            settings: plane.settings.load_full(),
            source: peer,
            stage: Stage::Proxy,
            hello: None,
            device: None,
            instance: None,
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
    async fn travel(
        &mut self,
        tcp: TcpStream,
        legs: &mut Legs,
    ) -> Result<(super::prove::Listing, super::guard::Follower), SessionError> {
        let tcp = self.proxy_header(tcp).await?; // greet: who is behind the balancer
        let tcp = self.hello(tcp).await?; // greet, wire: can rustls serve it
        let device = legs.device.insert(self.handshake(tcp).await?); // greet, net
        let preamble = self.preamble(device).await?; // greet, wire: who it says it is
        self.admit(preamble.device).await?; // contested, backoff: whether it may try
        let mut prover = super::guard::Prover::new(self.settings.guard, self.settings.max_login_failures);
        let instance = self.connect(preamble.device, device, &mut prover).await?; // dial: route, net
        let instance = legs.instance.insert(instance);
        let proof = self.prove(device, instance, preamble, prover).await?; // prove, guard: until byte 52
        self.claim_and_pass(device, instance, proof).await // directory: who owns it now
    }

    /// Closes both legs fully in a task of its own; the room is free when that is done.
    pub fn close(&mut self, legs: Legs) {
        let Legs { device: Some(device), instance } = legs else { return };
        let (grace, room) = (self.settings.grace, self.room.take());
        self.plane.parts.drain.spawn(async move {
            match instance {
                Some(instance) => drop(tokio::join!(close(device, grace), close(instance, grace))),
                None => close(device, grace).await,
            }
            drop(room);
        });
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
        let proven = self.stage == Stage::Proven;
        if !proven {
            counts.accepts.of(self.stage).increment(1); // one that is proven was counted then
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
        if proven || reason.loudness() == Loudness::Normal { line!(info) } else { line!(debug) }
    }
}

/// A device's turn in a drain: the same at every replica.
pub(super) fn ticket(device: DeviceId) -> Ticket {
    xxh3_64(device.as_bytes())
}

/// A part of `most` that is the same for a device: spreads those who would come back together.
pub(super) fn spread(device: DeviceId, most: Duration) -> Duration {
    most.mul_f64(ticket(device) as f64 / u64::MAX as f64)
}
