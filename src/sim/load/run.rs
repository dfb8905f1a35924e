//! A run: devices come by turns, are watched, and leave.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::LoadSettings;
use super::one::{Shared, live};
use super::pace::Pace;
use super::report::{Progress, Summary};
use super::tally::Tally;
use crate::lifecycle::Drain;
use crate::sim::transfer::pattern::Pattern;

/// How long all devices may take to leave.
const GOODBYE: Duration = Duration::from_secs(10);

/// How often progress is told.
const TOLD: Duration = Duration::from_secs(1);

/// Runs until `settings` say that it is over, no device is left, or `stop` is ready. Tells how it is
/// getting on once a second. Cancelling it leaves devices that go on: stop it instead.
pub async fn run(
    settings: LoadSettings,
    stop: impl Future<Output = ()>,
    mut tell: impl FnMut(&Progress),
) -> Summary {
    let pace = Pace::new(settings.rate, settings.in_flight);
    let drain = Drain::new(GOODBYE);
    let (tally, pattern) = (Tally::new(), Pattern::new());
    let shared = Arc::new(Shared { settings, tally, pace, pattern, drain: drain.clone() });
    let Shared { settings, tally, .. } = &*shared;
    let mut over = pin!(async {
        match settings.lasts {
            Some(lasts) => sleep(lasts).await,
            None => std::future::pending().await,
        }
    });
    let mut stop = pin!(stop);
    let mut all = pin!(everybody(&shared));
    let mut ticks = interval(TOLD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // the first is at once
    let interrupted = loop {
        tokio::select! {
            () = stop.as_mut() => break true,
            () = over.as_mut() => break false,
            () = all.as_mut() => break false,
            _ = ticks.tick() => tell(&tally.progress()),
        }
    };
    let held = tally.progress().connected;
    let mut leaving = pin!(drain.finish());
    loop {
        tokio::select! {
            // Whoever outlives it is cut with the runtime.
            _ = leaving.as_mut() => break,
            _ = ticks.tick() => tell(&tally.progress()),
        }
    }
    tell(&tally.progress());
    tally.summary(settings, held, interrupted)
}

/// Starts every device when it is its turn; ready when none is left.
async fn everybody(shared: &Arc<Shared>) {
    let ready = Instant::now();
    let mut devices = Vec::new();
    for i in 0..shared.settings.count {
        let turn = shared.pace.turn(ready).await;
        devices.push(shared.drain.spawn(live(Arc::clone(shared), i, turn)));
    }
    for device in devices {
        // A panic of its task has been printed already.
        let _ = device.await;
    }
}
