//! `simulate`: what stands beside a gateway, as processes. `mps` tries a gateway without a real MPS;
//! `devices` aims load at any CIRA server.

mod devices;
mod mps;
mod screen;
#[cfg(test)]
mod tests;
mod units;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Subcommand;

use super::exit;
use crate::lifecycle::Signals;

/// What to simulate.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// AMT devices that call home: a load generator for any CIRA server, real ones and gateways alike.
    Devices(Box<devices::Arguments>),
    /// An MPS that takes every device with the one login.
    Mps(Box<mps::Arguments>),
}

/// Simulates.
pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Devices(arguments) => devices::run(*arguments),
        Command::Mps(arguments) => mps::run(*arguments),
    }
}

fn signals() -> Result<Signals, ExitCode> {
    Signals::listen().map_err(|error| {
        eprintln!("mps-gateway: cannot listen to signals: {error}");
        ExitCode::from(exit::SYSTEM)
    })
}

/// Ready when a signal says to stop, or the terminal has gone: there is no file to read again.
async fn stopped(signals: &mut Signals) {
    signals.next().await;
}

/// A line to whoever reads. One that has gone is no reason to end: the verdict is in the exit code, too.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Arguments that cannot be used: what is wrong, with its causes.
fn unusable(problem: &dyn Error) -> ExitCode {
    let mut told = problem.to_string();
    let mut cause = problem.source();
    while let Some(because) = cause {
        told += &format!(": {because}");
        cause = because.source();
    }
    eprintln!("mps-gateway: {told}");
    ExitCode::from(exit::CONFIG)
}
