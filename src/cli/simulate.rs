//! `simulate`: a simulated MPS as a process, so that a gateway can be tried without a real one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::{exit, runtime};
use crate::lifecycle::{Signals, Wish};
use crate::model::Secret;
use crate::net::identity::Identity;
use crate::sim::mps::{Account, Database, Mps, MpsSettings};

/// What to simulate.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// An MPS that takes every device with the one login.
    Mps(MpsArguments),
}

/// What the simulated MPS is like.
#[derive(Debug, Args)]
pub struct MpsArguments {
    /// Its instance name.
    #[arg(long, default_value = "mps")]
    name: String,
    /// Where it takes devices.
    #[arg(long, default_value = "127.0.0.1:4433")]
    cira: SocketAddr,
    /// Where it answers REST.
    #[arg(long, default_value = "127.0.0.1:3000")]
    http: SocketAddr,
    /// What it shows to devices, PEM; without it devices come in clear.
    #[arg(long, requires = "private_key")]
    certificate: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, requires = "certificate")]
    private_key: Option<PathBuf>,
    /// User name of every device's CIRA login.
    #[arg(long)]
    user: Option<String>,
    /// Password of every device's CIRA login.
    #[arg(long)]
    password: Option<String>,
}

/// Simulates until a signal says to stop; a second one is not waited for.
pub fn run(command: Command) -> ExitCode {
    let Command::Mps(arguments) = command;
    let settings = match settings(arguments) {
        Ok(settings) => settings,
        Err(problem) => {
            eprintln!("mps-gateway: {problem}");
            return ExitCode::from(exit::CONFIG);
        }
    };
    match runtime() {
        Ok(runtime) => runtime.block_on(simulate(settings)),
        Err(code) => code,
    }
}

fn settings(arguments: MpsArguments) -> Result<MpsSettings, Box<dyn std::error::Error>> {
    let identity = match arguments.certificate.zip(arguments.private_key) {
        Some((certificate, key)) => Some(Identity::load(&certificate, &key)?),
        None => None,
    };
    let mut account = Account::default();
    if let Some(user) = arguments.user {
        account.user = user;
    }
    if let Some(password) = arguments.password {
        account.password = Secret::new(&password);
    }
    let mut settings = MpsSettings::new(&arguments.name, identity, Arc::new(Database::of_everyone(account)));
    (settings.cira, settings.http) = (arguments.cira, arguments.http);
    Ok(settings)
}

async fn simulate(settings: MpsSettings) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("mps-gateway: cannot listen to signals: {error}");
            return ExitCode::from(exit::SYSTEM);
        }
    };
    let mps = match Mps::start(settings).await {
        Ok(mps) => mps,
        Err(error) => {
            eprintln!("mps-gateway: {error}");
            return ExitCode::from(exit::UNAVAILABLE);
        }
    };
    println!("{} takes devices on {} and requests on {}", mps.name(), mps.cira(), mps.http());
    while signals.next().await != Wish::Stop {}
    mps.leave().await;
    exit::OK
}
