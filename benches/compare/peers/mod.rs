//! Who is measured, and how each is started: fresh, in an empty folder, alone.

mod direct;
mod gateway;
mod haproxy;
mod nginx;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mps_gateway::model::DeviceId;
use tempfile::TempDir;

use crate::arguments::{Arguments, Peer};
use crate::house::{House, Leg};
use crate::http;
use crate::machine;
use crate::program::Program;
use crate::report::{DIRECT, GATEWAY, HAPROXY, NGINX};

/// Who is measured.
#[derive(Clone, Debug)]
pub enum Target {
    /// A build of the gateway, by its name in the report.
    Gateway { name: String, program: PathBuf },
    /// HAProxy, one thread.
    Haproxy,
    /// nginx, one worker.
    Nginx,
    /// An instance of its own in the proxy's place.
    Direct { program: PathBuf },
}

/// A target that runs.
pub struct Running {
    /// Its process.
    pub program: Program,
    /// Where devices call.
    pub address: SocketAddr,
    /// Where the gateway tells who owns a device.
    admin: Option<SocketAddr>,
    _folder: TempDir,
}

impl Target {
    /// All that were asked for.
    pub fn all(arguments: &Arguments, own: &Path) -> Vec<Self> {
        let program = arguments.gateway.clone().unwrap_or_else(|| own.to_owned());
        let mut targets = vec![Self::Gateway { name: GATEWAY.to_owned(), program }];
        let also = arguments.also.iter().cloned();
        targets.extend(also.map(|(name, program)| Self::Gateway { name, program }));
        targets.extend(arguments.peers.iter().map(|peer| match peer {
            Peer::Haproxy => Self::Haproxy,
            Peer::Nginx => Self::Nginx,
            Peer::Direct => Self::Direct { program: own.to_owned() },
        }));
        targets
    }

    /// The versions of `targets`, by name. What is missing is an error that says the cure.
    pub fn versions(targets: &[Self]) -> Result<BTreeMap<String, String>, String> {
        let mut versions = BTreeMap::new();
        for target in targets {
            let version = target.version()?.map(|version| (target.name().to_owned(), version));
            versions.extend(version);
        }
        Ok(versions)
    }

    /// What it is called in the report.
    pub fn name(&self) -> &str {
        match self {
            Self::Gateway { name, .. } => name,
            Self::Haproxy => HAPROXY,
            Self::Nginx => NGINX,
            Self::Direct { .. } => DIRECT,
        }
    }

    fn version(&self) -> Result<Option<String>, String> {
        match self {
            Self::Gateway { name, program } => {
                let version = machine::gateway(program)?;
                Ok(Some(if name == GATEWAY { version } else { format!("{name}: {version}") }))
            }
            Self::Haproxy => machine::haproxy().map(Some),
            Self::Nginx => machine::nginx().map(Some),
            Self::Direct { .. } => Ok(None),
        }
    }

    /// Starts it with `leg` towards the instances, and waits until it takes devices.
    pub async fn start(&self, house: &House, leg: Leg) -> Result<Running, String> {
        let folder = TempDir::new().map_err(|error| format!("a temporary folder: {error}"))?;
        match self {
            Self::Gateway { program, .. } => gateway::start(program, house, leg, folder).await,
            Self::Haproxy => haproxy::start(house, leg, folder).await,
            Self::Nginx => nginx::start(house, leg, folder).await,
            Self::Direct { program } => direct::start(program, house, folder).await,
        }
    }

    /// Whether `devices`, which are all connected through `running`, each ended where they belong.
    pub async fn check_routes(
        &self,
        running: &Running,
        house: &House,
        leg: Leg,
        devices: &[DeviceId],
    ) -> Result<(), String> {
        for device in devices {
            let holder = house.holder(leg, *device).await?;
            let belongs = match self {
                Self::Gateway { .. } => Some(running.owner(*device).await?),
                Self::Haproxy => house.mapped(leg, *device),
                Self::Nginx | Self::Direct { .. } => holder.clone(), // wherever it is
            };
            if holder.is_none() || holder != belongs {
                let name = self.name();
                return Err(format!("{name}: {device} belongs to {belongs:?} and is at {holder:?}"));
            }
        }
        Ok(())
    }
}

impl Running {
    async fn begin(
        name: &str,
        house: &House,
        command: &[&OsStr],
        address: SocketAddr,
        folder: TempDir,
    ) -> Result<Self, String> {
        let mut program = Program::start(name, house.cpus.proxy, command, folder.path(), false)?;
        program.listening(address).await?;
        Ok(Self { program, address, admin: None, _folder: folder })
    }

    /// The instance that the gateway says owns `device`.
    async fn owner(&self, device: DeviceId) -> Result<String, String> {
        let admin = self.admin.ok_or("only a gateway knows owners")?;
        let answer = http::get(admin, &format!("/admin/v1/devices/{device}")).await?;
        answer["owner"].as_str().map(str::to_owned).ok_or_else(|| format!("no owner in {answer}"))
    }
}

/// Writes `text` as the configuration file `name` in `folder`.
fn configuration(folder: &TempDir, name: &str, text: &str) -> Result<PathBuf, String> {
    let path = folder.path().join(name);
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}
