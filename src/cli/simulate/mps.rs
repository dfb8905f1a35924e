//! `simulate mps`: simulated MPS as a process, so that a gateway can be tried without a real one.

use std::error::Error;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::{say, units};
use crate::cli::{exit, runtime};
use crate::model::Secret;
use crate::net::identity::Identity;
use crate::sim::mps::{Account, Behaviour, Counts, Database, Mps, MpsSettings};

/// How often what is held is told, if it changed.
const TOLD: Duration = Duration::from_secs(1);

/// What the simulated MPS is like.
///
/// Beside what an MPS does it serves three channels that devices may open (`direct-tcpip` to port 7
/// echo, 9 discard, 19 chargen), for `simulate devices --bulk` and `--echo`. Real ones refuse those.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Its instance name; of several instances NAME-1, NAME-2 and so on.
    #[arg(long, default_value = "mps")]
    name: String,
    /// Where it takes devices.
    #[arg(long, default_value = "127.0.0.1:4433")]
    cira: SocketAddr,
    /// Where it answers REST.
    #[arg(long, default_value = "127.0.0.1:3000")]
    http: SocketAddr,
    /// So many instances in this process, each on the ports that follow (port 0 stays 0).
    #[arg(long, value_name = "N", default_value = "1")]
    instances: NonZeroU16,
    /// What it shows to devices, PEM; without it devices come in clear.
    #[arg(long, value_name = "FILE", requires = "private_key")]
    certificate: Option<PathBuf>,
    /// The certificate's key, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    private_key: Option<PathBuf>,
    /// User name of every device's CIRA login [default: admin].
    #[arg(long)]
    user: Option<String>,
    /// Password of every device's CIRA login [default: Passw0rd!].
    #[arg(long)]
    password: Option<String>,
    /// Receive window of every channel; without it 81920 of those it opens (as MPS), 1MiB of those
    /// that devices open.
    #[arg(long, value_name = "BYTES", value_parser = units::window)]
    window: Option<u32>,
    /// Silence after which it ends a connection.
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = units::duration)]
    idle: Duration,
    /// JSON, a line an event: `ready` for each instance, `holds` when that changed, `summary` at the end.
    #[arg(long)]
    json: bool,
}

/// Simulates until a signal says to stop; a second one is not waited for.
pub(super) fn run(arguments: Arguments) -> ExitCode {
    let json = arguments.json;
    let settings = match settings(arguments) {
        Ok(settings) => settings,
        Err(problem) => return super::unusable(&*problem),
    };
    match runtime() {
        Ok(runtime) => runtime.block_on(simulate(settings, json)),
        Err(code) => code,
    }
}

fn settings(arguments: Arguments) -> Result<Vec<MpsSettings>, Box<dyn Error>> {
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
    let mut behaviour = Behaviour { idle: arguments.idle, ..Behaviour::default() };
    if let Some(window) = arguments.window {
        (behaviour.window, behaviour.service_window) = (window, Some(window));
    }
    let database = Arc::new(Database::of_everyone(account)); // one for all, as with MPS
    let several = arguments.instances.get() > 1;
    (0..arguments.instances.get())
        .map(|i| {
            let name = if several { format!("{}-{}", arguments.name, i + 1) } else { arguments.name.clone() };
            let mut settings = MpsSettings::new(&name, identity.clone(), Arc::clone(&database));
            settings.behaviour = behaviour.clone();
            (settings.cira, settings.http) = (behind(arguments.cira, i)?, behind(arguments.http, i)?);
            Ok(settings)
        })
        .collect()
}

/// The address `i` ports behind `first`; port 0 is any port, however often.
fn behind(first: SocketAddr, i: u16) -> Result<SocketAddr, String> {
    let port = match first.port() {
        0 => 0,
        port => port.checked_add(i).ok_or("there are not so many ports: fewer instances, or lower ports")?,
    };
    Ok(SocketAddr::new(first.ip(), port))
}

async fn simulate(settings: Vec<MpsSettings>, json: bool) -> ExitCode {
    let mut signals = match super::signals() {
        Ok(signals) => signals,
        Err(code) => return code,
    };
    let mut instances = Vec::new();
    for settings in settings {
        match Mps::start(settings).await {
            Ok(mps) => instances.push(Told::new(mps)),
            Err(error) => {
                super::unusable(&error);
                return ExitCode::from(exit::UNAVAILABLE);
            }
        }
    }
    for Told { mps, .. } in &instances {
        if json {
            say(&json!({"event": "ready", "name": mps.name(), "cira": mps.cira(), "http": mps.http()})
                .to_string());
        } else {
            say(&format!("{} takes devices on {} and requests on {}", mps.name(), mps.cira(), mps.http()));
        }
    }
    let mut ticks = interval(TOLD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stopped = super::stopped(&mut signals);
    let mut stopped = std::pin::pin!(stopped);
    loop {
        tokio::select! {
            () = stopped.as_mut() => break,
            _ = ticks.tick() => instances.iter_mut().for_each(|told| told.tell(json)),
        }
    }
    for told in &instances {
        told.sum_up(json);
    }
    futures_util::future::join_all(instances.iter().map(|told| told.mps.leave())).await;
    exit::OK
}

/// An instance, and what was told of it.
struct Told {
    mps: Mps,
    connected: usize,
}

impl Told {
    fn new(mps: Mps) -> Self {
        Self { mps, connected: 0 }
    }

    fn tell(&mut self, json: bool) {
        let connected = self.mps.count();
        if connected == self.connected {
            return;
        }
        self.connected = connected;
        let name = self.mps.name();
        if json {
            let proofs = self.mps.counts().proofs;
            say(&json!({"event": "holds", "name": name, "connected": connected, "connects": proofs})
                .to_string());
        } else {
            say(&format!("{name} holds {connected} devices"));
        }
    }

    fn sum_up(&self, json: bool) {
        let (name, connected) = (self.mps.name(), self.mps.count());
        let Counts { accepted, failed_handshakes, proofs, refused_logins, moved, corrupt, .. } =
            self.mps.counts();
        if json {
            let summary = json!({
                "event": "summary", "name": name, "connected": connected, "accepted": accepted,
                "failed_handshakes": failed_handshakes, "connects": proofs, "refused_logins": refused_logins,
                "service_bytes": moved, "corrupt_blocks": corrupt,
            });
            say(&summary.to_string());
        } else {
            say(&format!(
                "{name} held {connected} devices at the end; {proofs} logins, {refused_logins} refused, \
                 {failed_handshakes} failed handshakes; {moved} bytes through channels of devices, \
                 {corrupt} blocks corrupt"
            ));
        }
    }
}
