//! `simulate devices`: a load generator for any CIRA server.

use std::error::Error;
use std::io::IsTerminal as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use rustls::NamedGroup;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::oneshot;

use super::screen::Screen;
use super::units::{self, Bulk};
use crate::cli::{exit, runtime};
use crate::model::{DeviceId, Endpoint, Secret};
use crate::sim::device::{AesBits, DeviceTls, Reconnect, TlsSettings, Trust, Versions};
use crate::sim::load::{self, Guids, LoadSettings, Summary, Work};

/// Simulated devices.
///
/// Exit code 0: every device logged in, nothing failed and (without --reconnect) no server ended a
/// connection. 1: something of that did not hold; the summary says what. The first Ctrl-C ends the run,
/// which is then summed up; a second one exits at once.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("trust").required(true))]
pub struct Arguments {
    /// Where to connect; repeat it, or separate by commas: devices are spread over all of them.
    #[arg(long = "target", value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    targets: Vec<Endpoint>,
    /// Devices.
    #[arg(long, value_name = "N", default_value = "10", value_parser = units::count)]
    count: usize,
    /// New connections a second, at most [default: as fast as --in-flight allows].
    ///
    /// With it a connect is measured from when it was due; those that a slow server held up are made up
    /// for.
    #[arg(long, value_name = "R", value_parser = units::rate)]
    rate: Option<f64>,
    /// Connects being made at once, at most.
    #[arg(long, value_name = "N", default_value = "64", value_parser = units::count)]
    in_flight: usize,
    /// Who the devices are: a file with a GUID a line (--count of them must be there, each once).
    #[arg(long, value_name = "FILE", conflicts_with = "base")]
    guids: Option<PathBuf>,
    /// Who the devices are: this GUID, the next number, and so on
    /// [default: 4c4c4544-0000-1000-8000-000000000000].
    #[arg(long, value_name = "GUID")]
    base: Option<DeviceId>,
    /// User name of their CIRA login [default: admin, as `simulate mps`].
    #[arg(long)]
    user: Option<String>,
    /// Password of their CIRA login [default: Passw0rd!, as `simulate mps`].
    #[arg(long)]
    password: Option<String>,
    /// Trust servers whose certificate chains to one in this PEM file. No name is compared but --name.
    #[arg(long, value_name = "FILE", group = "trust")]
    ca: Option<PathBuf>,
    /// The common name that the server's certificate must have, as AMT is given one.
    #[arg(long, value_name = "NAME", requires = "ca")]
    name: Option<String>,
    /// Trust any server.
    #[arg(long, group = "trust")]
    insecure: bool,
    /// No TLS, for a server behind something that terminates it (`mpsTlsOffload`).
    #[arg(long, group = "trust")]
    plain: bool,
    /// Their interval of keep-alives until the server asks for another.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = units::interval)]
    keepalive: Duration,
    /// Try again so long after a connection ended: 25s with some jitter, as firmware, if no time is
    /// given; exactly at once for 0s (100ms after a failure). Without it each device connects once.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "25s",
          value_parser = units::duration)]
    reconnect: Option<Duration>,
    /// How long a device stays after its login; 0s: it leaves at once, before it offers a port
    /// [default: until the run ends, or its --bulk is done].
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    hold: Option<Duration>,
    /// How long the whole run lasts [default: until Ctrl-C, or until no device is left].
    #[arg(long = "for", value_name = "DURATION", value_parser = units::duration)]
    lasts: Option<Duration>,
    /// Move data as fast as they can, up, down or both; each device SIZE (64MiB, say) each way, or until
    /// it leaves. The content is checked at both ends. Needs `simulate mps` behind it: they open channels
    /// to discard (port 9) and chargen (19).
    #[arg(long, value_name = "WAY[:SIZE]", conflicts_with = "echo")]
    bulk: Option<Bulk>,
    /// Send so many bytes and wait until they are back, again and again. Needs `simulate mps` behind it:
    /// they open a channel to echo (port 7).
    #[arg(long, value_name = "BYTES", value_parser = units::bytes)]
    echo: Option<u64>,
    /// The version of TLS they offer.
    #[arg(long, value_enum, default_value = "1.2", conflicts_with = "plain")]
    tls_version: Version,
    /// The one key-exchange group they offer [default: all three].
    #[arg(long, value_enum, conflicts_with = "plain")]
    group: Option<Group>,
    /// The one cipher they offer, AES-GCM [default: those and ChaCha20].
    #[arg(long, value_enum, conflicts_with = "plain")]
    cipher: Option<Cipher>,
    /// Source addresses of this host, all IPv4 or all IPv6, used in turn: each is good for some 28,000
    /// connections to one target.
    #[arg(long = "from", value_name = "ADDR", value_delimiter = ',')]
    sources: Vec<IpAddr>,
    /// How long each answer of the server may take.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = units::interval)]
    timeout: Duration,
    /// JSON, a line an event: `progress` once a second, `summary` at the end.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Version {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Group {
    X25519,
    P256,
    P384,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Cipher {
    Aes128,
    Aes256,
}

/// Runs them.
pub(super) fn run(arguments: Arguments) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let json = arguments.json;
    let code = runtime.block_on(async {
        match settings(arguments).await {
            Ok(settings) => simulate(settings, json).await,
            Err(problem) => super::unusable(&*problem),
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

async fn simulate(settings: LoadSettings, json: bool) -> ExitCode {
    let mut signals = match super::signals() {
        Ok(signals) => signals,
        Err(code) => return code,
    };
    let mut screen = Screen::of_stdout(json, std::io::stdout().is_terminal(), &settings);
    let (stop, stopped) = oneshot::channel::<()>();
    let mut stop = Some(stop);
    let stopped = async {
        // Whoever could say it is gone only when the run is.
        let _ = stopped.await;
    };
    let summary: Summary = {
        let mut running = std::pin::pin!(load::run(settings, stopped, |progress| screen.tell(progress)));
        loop {
            tokio::select! {
                summary = running.as_mut() => break summary,
                () = super::stopped(&mut signals) => match stop.take() {
                    // It may just have ended by itself.
                    Some(stop) => drop(stop.send(())),
                    None => return exit::FAILED, // told twice: at once
                },
            }
        }
    };
    screen.sum_up(&summary);
    if summary.all_well { exit::OK } else { exit::FAILED }
}

async fn settings(arguments: Arguments) -> Result<LoadSettings, Box<dyn Error>> {
    let targets = callable(resolve(&arguments.targets).await?, &arguments.sources)?;
    let tls = tls(&arguments)?;
    let mut settings = LoadSettings::new(targets, tls);
    settings.count = arguments.count;
    settings.guids = guids(&arguments)?;
    if let Some(user) = arguments.user {
        settings.user = user;
    }
    if let Some(password) = arguments.password {
        settings.password = Secret::new(password);
    }
    settings.sources = arguments.sources;
    settings.rate = arguments.rate;
    settings.in_flight = arguments.in_flight;
    settings.keepalive = arguments.keepalive;
    settings.reconnect = arguments.reconnect.map(|after| Reconnect { after, ..Reconnect::default() });
    settings.hold = arguments.hold;
    settings.lasts = arguments.lasts;
    settings.answer = arguments.timeout;
    settings.work = match (arguments.bulk, arguments.echo) {
        (Some(Bulk(work)), _) => work,
        (None, Some(size)) => Work::Echo(size),
        (None, None) => Work::Nothing,
    };
    Ok(settings)
}

fn guids(arguments: &Arguments) -> Result<Guids, Box<dyn Error>> {
    let Some(path) = &arguments.guids else {
        return Ok(arguments.base.map_or_else(Guids::default, Guids::From));
    };
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("--guids {}: {error}", path.display()))?;
    let guids = Guids::parse(&text).map_err(|error| format!("--guids {}: {error}", path.display()))?;
    match guids.how_many() {
        Some(there) if there < arguments.count => {
            let count = arguments.count;
            Err(format!("--guids {}: {there} GUIDs are not enough for {count} devices", path.display())
                .into())
        }
        _ => Ok(guids),
    }
}

fn tls(arguments: &Arguments) -> Result<Option<DeviceTls>, Box<dyn Error>> {
    if arguments.plain {
        return Ok(None);
    }
    let trust = match &arguments.ca {
        None => Trust::Anything,
        Some(path) => {
            let certificates: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            let roots = certificates.map_err(|error| format!("--ca {}: {error}", path.display()))?;
            if roots.is_empty() {
                return Err(format!("--ca {}: no certificate in it", path.display()).into());
            }
            Trust::Roots { roots, common_name: arguments.name.clone() }
        }
    };
    let mut settings = TlsSettings::trusting(trust);
    settings.versions = match arguments.tls_version {
        Version::Tls12 => Versions::Tls12,
        Version::Tls13 => Versions::Tls13,
    };
    settings.groups = arguments.group.map(|group| {
        vec![match group {
            Group::X25519 => NamedGroup::X25519,
            Group::P256 => NamedGroup::secp256r1,
            Group::P384 => NamedGroup::secp384r1,
        }]
    });
    settings.aes = arguments.cipher.map(|cipher| match cipher {
        Cipher::Aes128 => AesBits::Aes128,
        Cipher::Aes256 => AesBits::Aes256,
    });
    Ok(Some(DeviceTls::new(&settings)?))
}

/// The targets that can be called from `sources`.
fn callable(targets: Vec<SocketAddr>, sources: &[IpAddr]) -> Result<Vec<SocketAddr>, String> {
    for source in sources {
        std::net::UdpSocket::bind((*source, 0)).map_err(|error| format!("--from {source}: {error}"))?;
    }
    let can = |target: &SocketAddr| sources.iter().all(|source| source.is_ipv4() == target.is_ipv4());
    let callable: Vec<_> = targets.into_iter().filter(can).collect();
    if callable.is_empty() {
        Err("--from: no --target can be called from there".to_owned())
    } else {
        Ok(callable)
    }
}

/// Every address of every target.
async fn resolve(targets: &[Endpoint]) -> Result<Vec<SocketAddr>, String> {
    let mut all = Vec::new();
    for target in targets {
        let found = tokio::net::lookup_host((target.host(), target.port())).await;
        let before = all.len();
        all.extend(found.map_err(|error| format!("--target {target}: {error}"))?);
        if all.len() == before {
            return Err(format!("--target {target}: this name has no address"));
        }
    }
    Ok(all)
}
