//! One device, from its first connect to its last.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::dial::dial;
use super::failure::{Ended, Failure, Stage};
use super::login::Login;
use super::pace::{Pace, Turn};
use super::stay::{Verdict, stay};
use super::tally::{Metric, Tally};
use super::tunnel::Tunnel;
use super::{LoadSettings, Work};
use crate::lifecycle::Drain;
use crate::model::DeviceId;
use crate::net::records::close;
use crate::sim::transfer::pattern::Pattern;

/// How long the server may take to close behind a device that leaves.
const GRACE: Duration = Duration::from_secs(2);

/// The shortest pause after a failure: a server that refuses is not to be hammered.
const BREATH: Duration = Duration::from_millis(100);

/// What all devices of a run share.
pub(super) struct Shared {
    pub settings: LoadSettings,
    pub tally: Tally,
    pub pace: Pace,
    pub pattern: Pattern,
    pub drain: Drain,
}

/// Device `i`, whose first turn is `turn`, until it is done or the run is over.
pub(super) async fn live(shared: Arc<Shared>, i: usize, mut turn: Turn) {
    let Shared { settings, tally, pace, drain, .. } = &*shared;
    let (mut attempt, mut failures) = (i, 0_u32);
    loop {
        let connected = tokio::select! {
            () = drain.begun() => return,
            // Boxed: a device that stays for hours has no room set aside for its first second.
            connected = Box::pin(connect(&shared, i, attempt, turn)) => connected,
        };
        let failure = match connected {
            Ok(tunnel) => visit(&shared, i, tunnel).await,
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            tally.failed(failure);
        }
        let Some(reconnect) = &settings.reconnect else { return };
        failures = if failure.is_some() { failures.saturating_add(1) } else { 0 };
        attempt = attempt.wrapping_add(1);
        let least = if failure.is_some() { BREATH } else { Duration::ZERO };
        let pause = reconnect.pause(failures).max(least);
        let again = async {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            pace.turn(Instant::now()).await
        };
        turn = tokio::select! {
            () = drain.begun() => return,
            turn = again => turn,
        };
    }
}

/// Connects and logs in.
async fn connect(shared: &Shared, i: usize, attempt: usize, turn: Turn) -> Result<Box<Tunnel>, Failure> {
    let Shared { settings, tally, .. } = shared;
    let target = settings.targets[attempt % settings.targets.len()];
    let link = dial(settings, tally, target, source(&settings.sources, attempt)).await?;
    let mut tunnel = Box::new(Tunnel::new(link));
    let began = Instant::now();
    let mut login = Login::begin(settings, device(settings, i), &mut tunnel.outbox);
    match timeout(settings.answer, tunnel.converse(&mut login)).await {
        Ok(said) => said.map_err(|lost| Failure::of_lost(&lost, Stage::Login))?,
        Err(_) => return Err(Failure::TimedOut(Stage::Login)),
    }
    tally.took(Metric::Login, began.elapsed());
    tally.took(Metric::Connect, turn.due.elapsed());
    tally.proven(i);
    Ok(tunnel)
}

/// What a device does between its login and its goodbye. What failed, if something did.
async fn visit(shared: &Shared, i: usize, mut tunnel: Box<Tunnel>) -> Option<Failure> {
    let Shared { settings, tally, drain, pattern, .. } = shared;
    let at_once = settings.hold == Some(Duration::ZERO) && settings.work == Work::Nothing;
    let verdict = if at_once {
        Verdict { ended: Ended::Held, failure: None }
    } else {
        let position = pattern.of(device(settings, i));
        stay(settings, tally, &mut tunnel, position, drain).await
    };
    tally.ended(verdict.ended);
    close((*tunnel).into_link(), GRACE).await;
    verdict.failure
}

fn device(settings: &LoadSettings, i: usize) -> DeviceId {
    settings.guids.get(i)
}

fn source(sources: &[IpAddr], attempt: usize) -> Option<IpAddr> {
    (!sources.is_empty()).then(|| sources[attempt % sources.len()])
}
