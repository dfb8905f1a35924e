//! `demo`: two simulated MPS, ten simulated devices and one gateway, all in this process, over real
//! TLS on loopback. Needs no configuration, no Redis and no port of a fixed number.

mod ask;
mod control;
mod house;
mod screen;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::house::House;
use self::screen::Screen;
use self::watch::Watch;
use super::exit;
use crate::lifecycle::{Signals, Wish};
use crate::telemetry::{self, Format};

/// How often the owner of every device is asked for.
const ROUND: Duration = Duration::from_millis(500);

/// How long all devices may take to connect, and to come back.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the end may take: whoever is not gone by then is cut.
const GOODBYE: Duration = Duration::from_secs(8);

/// How to show it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Stop one MPS, and exit 0 when all devices are back on the other and found, 1 otherwise.
    #[arg(long)]
    kill_one: bool,
}

/// Shows it.
pub fn run(arguments: &Arguments) -> ExitCode {
    let runtime = match super::runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    // The table is the news here; what a gateway logs of a stopped MPS would only tear it apart.
    telemetry::init_log(Format::Text, "error");
    let code = runtime.block_on(async {
        match show(arguments.kill_one, Screen::of_stdout()).await {
            Ok(code) => code,
            Err(problem) => {
                eprintln!("mps-gateway: demo: {problem}");
                exit::FAILED
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// The whole demo, from its first word to a clean end.
async fn show(kill_one: bool, mut screen: Screen) -> Result<ExitCode, String> {
    let mut signals = Signals::listen().map_err(|error| format!("cannot listen to signals: {error}"))?;
    let house = tokio::select! {
        house = House::build() => house?,
        () = stopped(&mut signals) => return Ok(exit::OK),
    };
    screen.say(&house.introduction());
    let mut watch = Watch::new(&house);
    let code = tokio::select! {
        code = play(kill_one, &house, &mut watch, &mut screen) => code,
        () = stopped(&mut signals) => {
            screen.say("\nstopping");
            if kill_one { exit::FAILED } else { exit::OK }
        }
    };
    tokio::select! {
        _cut = timeout(GOODBYE, house.leave()) => Ok(code),
        () = stopped(&mut signals) => Ok(exit::FAILED), // told twice: at once
    }
}

async fn stopped(signals: &mut Signals) {
    while signals.next().await == Wish::Reload {} // there is no file to read again
}

async fn play(kill_one: bool, house: &House, watch: &mut Watch, screen: &mut Screen) -> ExitCode {
    if kill_one {
        return rehearse(house, watch, screen).await;
    }
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let round = watch.round(house).await;
        screen.show(&round);
    }
}

/// Stops one MPS, and sees that its devices come back and are found.
async fn rehearse(house: &House, watch: &mut Watch, screen: &mut Screen) -> ExitCode {
    if !all_found(house, watch, screen, None).await {
        screen.say("FAILED: not every device is connected and found");
        return exit::FAILED;
    }
    let (victim, devices) = house.busiest();
    screen.say(&format!("\nstopping {}, which has {devices} devices", victim.name()));
    let began = Instant::now();
    victim.stop().await;
    let back = all_found(house, watch, screen, Some(victim.name())).await;
    let took = began.elapsed().as_secs_f64();
    let answered = watch.ask_devices(house).await;
    let (all, wrong) = (house.devices.len(), watch.wrong());
    let verdict = format!(
        "{answered} of {all} devices answer through the tunnel of the MPS that the gateway names; \
         {took:.1} s after it was stopped; wrong answers: {wrong}"
    );
    if back && answered == all && wrong == 0 {
        screen.say(&format!("\nOK: {verdict}"));
        exit::OK
    } else {
        screen.say(&format!("\nFAILED: {verdict}"));
        exit::FAILED
    }
}

/// Whether, within the time allowed, every device is where the gateway says, and that is not `gone`.
async fn all_found(house: &House, watch: &mut Watch, screen: &mut Screen, gone: Option<&str>) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let round = watch.round(house).await;
        screen.show(&round);
        if round.all_found_but_at(gone) {
            return true;
        }
        tokio::time::sleep(ROUND / 5).await;
    }
    false
}

#[cfg(test)]
mod tests;
