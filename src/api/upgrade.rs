//! A request that became something else: a WebSocket, as a rule.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;
use xxhash_rust::xxh3::xxh3_64;

use super::counts::{Counted, Way};
use super::ending::Reason;
use super::trip::Trip;
use super::{Calls, Plane};
use crate::http::client::Download;
use crate::http::pipe::{self, PipeEnd};
use crate::net::relay::{Ended, Side};
use crate::net::traffic::Traffic;

/// How long both connections may take to become free of HTTP.
const SWITCH: Duration = Duration::from_secs(10);
/// How often the bytes of a live WebSocket are counted.
const COUNT: Duration = Duration::from_secs(15);

/// Pipes in a task of its own. `busy` says that the instance has it to do.
pub(super) fn spawn(
    calls: &Calls,
    mut trip: Box<Trip>,
    on_caller: OnUpgrade,
    on_instance: OnUpgrade,
    busy: Download,
) {
    let (room, peer) = (calls.room.clone(), calls.caller.peer);
    let plane = std::sync::Arc::clone(&trip.plane);
    plane.parts.drain.clone().spawn(async move {
        trip.reason = Some(run(&plane, &mut trip, peer, on_caller, on_instance).await);
        drop((trip, busy, room)); // the place is free, and the line written, only now
    });
}

async fn run(
    plane: &Plane,
    trip: &mut Trip,
    peer: SocketAddr,
    on_caller: OnUpgrade,
    on_instance: OnUpgrade,
) -> Reason {
    let _counted = Counted::by(&plane.parts.metrics.upgrades);
    let both = async { tokio::try_join!(on_caller, on_instance) };
    let (caller, instance) = match timeout(SWITCH, both).await {
        Ok(Ok((caller, instance))) => match (pipe::caller::<TcpStream>(caller), pipe::instance(instance)) {
            (Ok(caller), Ok(instance)) => (caller, instance),
            (Err(error), _) | (_, Err(error)) => {
                debug!(%error, "a connection cannot be piped");
                return Reason::UpgradeLeft;
            }
        },
        Ok(Err(_)) | Err(_) => return Reason::UpgradeLeft,
    };
    let limits = plane.settings.load().pipe();
    let traffic = Traffic::begin();
    let turn = plane.parts.drain.turn(xxh3_64(peer.to_string().as_bytes()));
    let stop = async {
        tokio::select! {
            () = turn => {}
            () = count(plane, &traffic) => {}
        }
    };
    let ended = pipe::pipe(caller, instance, &traffic, &limits, stop).await;
    report(plane, &traffic);
    (trip.received, trip.sent) = traffic.bytes();
    reason(&ended)
}

/// Counts what flowed since the last time, for ever: some last for days.
async fn count(plane: &Plane, traffic: &Traffic) {
    let mut ticks = interval(COUNT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        report(plane, traffic);
    }
}

fn report(plane: &Plane, traffic: &Traffic) {
    let (from_caller, from_instance) = traffic.unreported();
    plane.counts.bytes.of(Way::FromCaller).increment(from_caller);
    plane.counts.bytes.of(Way::FromInstance).increment(from_instance);
}

fn reason(ended: &PipeEnd<()>) -> Reason {
    match ended {
        Ended::Closed(Side::Device) | Ended::Failed(Side::Device, _) => Reason::UpgradeLeft,
        Ended::Closed(Side::Instance) | Ended::Failed(Side::Instance, _) => Reason::InstanceClosed,
        Ended::Refused(never) => match *never {},
        Ended::Silent => Reason::Silent,
        Ended::Stalled(_) => Reason::Stalled,
        Ended::Stopped(()) => Reason::Draining,
    }
}
