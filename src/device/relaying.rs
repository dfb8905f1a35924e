//! The long part of a session, in a task as small as can be: there are as many as devices.

use tracing::info;

use super::Plane;
use super::ending::SessionError;
use super::guard::{Follower, Refusal};
use super::prove::Listing;
use super::session::{DeviceLeg, Legs, Trip, ticket};
use crate::model::DeviceId;
use crate::net::connect::Leg;
use crate::net::relay::{self, Watch, relay};
use crate::sessions::CloseReason;

/// Relays until one side leaves, the guard refuses or somebody asks the session to end; then gives
/// the claim back, and closes both legs.
pub(super) async fn relaying(
    mut trip: Box<Trip>,
    mut device: DeviceLeg,
    mut instance: Leg,
    listing: Listing,
    follower: Follower,
) {
    let session = &listing.listed.session;
    let limits = trip.limits();
    let plane = &*trip.plane;
    let mut watch = Watched { follower, told: false, device: session.device, plane };
    let stop = async {
        tokio::select! {
            reason = session.closed() => reason,
            () = plane.parts.drain.turn(ticket(session.device)) => CloseReason::Draining,
        }
    };
    let ended = relay(&mut device, &mut instance, &mut watch, &trip.traffic, &limits, stop).await;
    if let relay::Ended::Stopped(CloseReason::Superseded) = ended {
        // Still in the table: nobody here took its place, so one at another replica did. (One here has
        // been counted, and may be gone already.)
        if plane.parts.sessions.get(session.device).is_some_and(|there| there.id == session.id) {
            plane.taken_over(session.device, session, None);
        }
    }
    drop(listing); // the claim first: closing may take its time
    trip.ended(&SessionError::from(ended));
    trip.close(Legs { device: Some(device), instance: Some(instance), ..Legs::default() });
}

/// The follower, and who hears that it stepped aside: once a session.
struct Watched<'a> {
    follower: Follower,
    told: bool,
    device: DeviceId,
    plane: &'a Plane,
}

impl Watch for Watched<'_> {
    type Refusal = Refusal;

    fn device_bytes(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let verdict = self.follower.device_bytes(chunk);
        if !self.told
            && let Some(message) = self.follower.stepped_aside()
        {
            self.told = true;
            self.plane.parts.metrics.guard_stepped_aside.increment(1);
            info!(device = %self.device, message, "unknown message type: the guard steps aside");
        }
        verdict
    }
}
