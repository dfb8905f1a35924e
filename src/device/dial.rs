//! From a device's name to an instance that answers: route, connect, hold.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use super::admission::{Patience, Place};
use super::counts::{ConnectOutcome, Counted};
use super::ending::{Chain, SessionError, Stage};
use super::guard::Prover;
use super::session::{DeviceLeg, Trip, spread, ticket};
use crate::instances::{Busy, ConnectPermit, Instance};
use crate::lifecycle::Ticket;
use crate::model::{DeviceId, InstanceName, Pool, Source};
use crate::net::connect::{ConnectError, Leg, connect};
use crate::net::records::next_bytes;
use crate::net::relay::Side;
use crate::net::traffic::Traffic;
use crate::route::{Itinerary, Why};

/// Held devices come back over this time once somebody can take them, not all at once.
const COME_BACK: Duration = Duration::from_millis(500);

/// While those who are up take nobody, each round comes back over twice the time, up to this.
const COME_BACK_MOST: Duration = Duration::from_secs(5);

/// For whom an instance is sought.
#[derive(Clone, Copy)]
pub(super) enum Guest {
    /// A device that said its name: it gets a connection as instances want it.
    Device(DeviceId),
    /// Somebody whose TLS an instance is to terminate: it gets a connection in clear.
    Source(Source),
}

/// What one look at the candidates came to.
enum Tried {
    Connected(Arc<Instance>, Leg),
    /// Its connects are spent: to be waited for.
    Busy(Arc<Instance>),
    /// Nobody is up, or nobody who is answers.
    Nobody,
}

impl Trip {
    /// A connection to the instance that `device` should go to. While none is to be had the device is
    /// held; that it leaves, or says what it must not, is noticed at once.
    pub(super) async fn connect(
        &mut self,
        id: DeviceId,
        device: &mut DeviceLeg,
        prover: &mut Prover,
    ) -> Result<Leg, SessionError> {
        let traffic = Arc::clone(&self.traffic);
        let (instance, leg) = tokio::select! {
            found = Box::pin(self.seek(Guest::Device(id))) => found?,
            error = hear(device, prover, &traffic) => return Err(error),
        };
        self.instance = Some(instance.name.clone());
        self.stage = Stage::Proof;
        Ok(leg)
    }

    /// Tries and waits in turn, for at most `hold` and one more try.
    pub(super) async fn seek(&mut self, guest: Guest) -> Result<(Arc<Instance>, Leg), SessionError> {
        let hold_ends = Instant::now() + self.settings.hold;
        let over = |_| SessionError::HoldOver;
        let mut pause = COME_BACK;
        loop {
            if self.place.is_none() {
                let place = timeout_at(hold_ends, self.come_in()).await.map_err(over)?;
                self.let_in(place);
            }
            let wait_for = match self.try_all(guest).await {
                Tried::Connected(instance, leg) => return Ok((instance, leg)),
                Tried::Busy(instance) => Some(instance),
                Tried::Nobody => None,
            };
            self.hold()?;
            let waiting = timeout_at(hold_ends, self.wait(guest, wait_for.as_deref(), pause));
            let Some((permit, place)) = waiting.await.map_err(over)? else {
                pause = (pause * 2).min(COME_BACK_MOST);
                continue;
            };
            self.let_in(place);
            let instance = wait_for.expect("a permit is for somebody");
            let until = Instant::now() + self.settings.connect_total;
            if let Some(leg) = self.try_one(guest, &instance, permit, until).await {
                return Ok((instance, leg));
            }
        }
    }

    /// Waits until it is this device's turn at an instance, or until somebody may be up.
    async fn wait(
        &self,
        guest: Guest,
        instance: Option<&Instance>,
        pause: Duration,
    ) -> Option<(ConnectPermit, Place)> {
        let instances = &self.plane.parts.instances;
        if let Some(instance) = instance {
            return instances.turn(&instance.name, self.come_in()).await.ok();
        }
        instances.somebody(&Pool::mps()).await;
        sleep(pause / 10 + spread(self.ticket_of(guest), pause)).await;
        None
    }

    fn ticket_of(&self, guest: Guest) -> Ticket {
        match guest {
            Guest::Device(id) => ticket(id),
            Guest::Source(_) => self.ticket, // of many devices at one source each its own
        }
    }

    /// The device is held from now on: among those held, not among those on their way to proof.
    fn hold(&mut self) -> Result<(), SessionError> {
        let room = Arc::clone(&self.plane.held).try_acquire_owned();
        let room = room.map_err(|_| SessionError::HoldFull)?;
        self.held = Some((room, Counted::by(&self.plane.parts.metrics.devices_held)));
        self.place = None;
        Ok(())
    }

    /// A place again, among those on their way to proof.
    async fn come_in(&self) -> Place {
        self.plane.admission.enter_as(Patience::Login, self.shown_out.clone()).await
    }

    /// The device is held no longer.
    fn let_in(&mut self, place: Place) {
        self.place = Some(place);
        self.held = None;
    }

    /// Goes through the candidates once, best first.
    async fn try_all(&self, guest: Guest) -> Tried {
        let Itinerary { stops } = match guest {
            Guest::Device(id) => self.plane.parts.router.route(id).await,
            Guest::Source(source) => self.plane.parts.router.route_source(source),
        };
        if let Some((_, why)) = stops.first() {
            self.plane.counts.placements.of(*why).increment(1);
        }
        let until = Instant::now() + self.settings.connect_total;
        let (mut tried, mut busy) = (0, None);
        for (instance, why) in stops {
            if tried >= self.settings.connect_candidates || Instant::now() >= until {
                break;
            }
            let permit = match self.plane.parts.instances.connect_permit(&instance.name) {
                Ok(permit) => permit,
                Err(Busy::Avoided | Busy::Unknown) => continue,
                // Its owner is worth waiting for; and without a directory or a name every replica must
                // choose the same. A device that is new here may go where there is room.
                Err(Busy::InFlight | Busy::Rate)
                    if matches!(why, Why::Owner | Why::DirectoryAway | Why::Source) =>
                {
                    return Tried::Busy(instance);
                }
                Err(Busy::InFlight | Busy::Rate) => {
                    busy.get_or_insert(instance);
                    continue;
                }
            };
            tried += 1;
            if let Some(leg) = self.try_one(guest, &instance, permit, until).await {
                return Tried::Connected(instance, leg);
            }
        }
        busy.map_or(Tried::Nobody, Tried::Busy)
    }

    /// One connect. A failed one makes the instance avoided for a while, if the fault may be its own.
    async fn try_one(
        &self,
        guest: Guest,
        instance: &Instance,
        permit: ConnectPermit,
        until: Instant,
    ) -> Option<Leg> {
        let began = Instant::now();
        let parts = &self.plane.parts;
        let limit = self.settings.connect_timeout.min(until.saturating_duration_since(began));
        let tls = match guest {
            Guest::Device(_) => parts.instance_tls.load_full(),
            Guest::Source(_) => None,
        };
        let connected = Box::pin(connect(&instance.cira, tls.as_deref(), limit)).await;
        drop(permit);
        match connected {
            Ok(leg) => {
                // A port that takes connections says nothing of the TLS behind it.
                if let Guest::Device(_) = guest {
                    parts.instances.connect_succeeded(&instance.name);
                    parts.metrics.connect_seconds.record(began.elapsed().as_secs_f64());
                }
                self.plane.counts.connects.of(ConnectOutcome::Connected).increment(1);
                Some(leg)
            }
            Err(error) => {
                self.plane.counts.connects.of((&error).into()).increment(1);
                let hurried =
                    matches!(error, ConnectError::Timeout) && limit < self.settings.connect_timeout / 2;
                let known = error.is_ours() || hurried || parts.instances.avoided(&instance.name);
                log_failure(&instance.name, &error, known);
                if !error.is_ours() && !hurried {
                    parts.instances.connect_failed(&instance.name);
                }
                None
            }
        }
    }
}

/// Once when an instance begins to be avoided; other failures are counted, and of no news.
fn log_failure(instance: &InstanceName, error: &ConnectError, known: bool) {
    let error = Chain(error);
    if known {
        debug!(%instance, %error, "cannot connect");
    } else {
        warn!(%instance, %error, "cannot connect: avoided for a while");
    }
}

/// Hears what the device says while it waits: ready when it leaves, or says what it must not.
async fn hear(device: &mut DeviceLeg, prover: &mut Prover, traffic: &Traffic) -> SessionError {
    while prover.wants_device() {
        match next_bytes(device.as_mut(), prover.room()).await {
            Ok(Some(bytes)) => {
                traffic.heard_device(bytes.len());
                if let Err(refusal) = prover.device_bytes(&bytes) {
                    return SessionError::Guard(refusal);
                }
            }
            Ok(None) => return SessionError::Closed(Side::Device),
            Err(error) => return SessionError::Failed(Side::Device, error),
        }
    }
    // Back-pressure: its close is noticed when there is room again.
    std::future::pending().await
}
