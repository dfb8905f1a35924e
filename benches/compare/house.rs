//! What all targets share: certificate, GUIDs, and four simulated MPS instances of each kind.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mps_gateway::model::DeviceId;
use mps_gateway::sim::pki::{Authority, Keys};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use crate::http;
use crate::machine::Cpus;
use crate::ports::Ports;
use crate::program::Program;

/// Instances behind a proxy.
const INSTANCES: usize = 4;
/// Devices that may call.
pub const DEVICES: usize = 16_384;
/// How long an instance may take to start.
const START: Duration = Duration::from_secs(30);

/// What the proxy speaks to instances.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Leg {
    /// TCP in clear.
    Plain,
    /// TLS 1.3.
    Tls,
}

/// A simulated MPS, as a process.
pub struct Instance {
    /// Its `instance_name`.
    pub name: String,
    /// Where it takes devices.
    pub cira: SocketAddr,
    /// Where it answers requests.
    pub http: SocketAddr,
    program: Program,
}

/// What all targets share.
pub struct House {
    /// Who runs where.
    pub cpus: Cpus,
    /// Sessions that a proxy has files for.
    pub sessions: usize,
    /// The leaf, RSA-2048, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Both in one file, as peers want it.
    pub pair: PathBuf,
    /// The root that devices trust, PEM.
    pub root: PathBuf,
    /// What pins the leaf.
    pub pin: String,
    /// The GUIDs of all devices, one a line.
    pub guids: PathBuf,
    /// HAProxy's map from GUIDs, as they are on the wire, to instances.
    pub map: PathBuf,
    plain: Vec<Instance>,
    tls: Vec<Instance>,
    ports: RefCell<Ports>,
    folder: TempDir,
}

impl House {
    /// Makes the files and starts the instances, which are `program` with `simulate mps`.
    pub async fn build(program: &Path, cpus: Cpus, sessions: usize) -> Result<Self, String> {
        let folder = TempDir::new().map_err(|error| format!("a temporary folder: {error}"))?;
        let path = |name: &str| folder.path().join(name);
        let mut house = Self {
            cpus,
            sessions,
            certificate: path("leaf.crt"),
            key: path("leaf.key"),
            pair: path("pair.pem"),
            root: path("root.crt"),
            pin: String::new(),
            guids: path("guids"),
            map: path("haproxy.map"),
            plain: vec![],
            tls: vec![],
            ports: RefCell::default(),
            folder,
        };
        house.write().map_err(|error| format!("{}: {error}", house.folder.path().display()))?;
        let identity = (house.certificate.clone(), house.key.clone());
        for number in 0..INSTANCES {
            let tls = Some((identity.0.as_path(), identity.1.as_path()));
            house.plain.push(Instance::start(program, number, &house, None).await?);
            house.tls.push(Instance::start(program, number, &house, tls).await?);
        }
        Ok(house)
    }

    fn write(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let authority = Authority::new(Keys::Rsa, "compare")?;
        let leaf = authority.issue("localhost", &["127.0.0.1"])?;
        self.pin = leaf.pins()[0].to_string();
        fs::write(&self.certificate, leaf.pem())?;
        fs::write(&self.key, leaf.key_pem().expose())?;
        fs::write(&self.pair, format!("{}{}", leaf.pem(), leaf.key_pem().expose()))?;
        fs::write(&self.root, authority.root_pem())?;
        let (mut guids, mut map) = (String::new(), String::new());
        for number in 0..DEVICES {
            let device = device(number);
            let wire = device.to_wire().map(|byte| format!("{byte:02X}")).concat();
            writeln!(guids, "{device}")?;
            writeln!(map, "{wire} {}", instance_name(number % INSTANCES))?;
        }
        fs::write(&self.guids, guids)?;
        fs::write(&self.map, map)?;
        Ok(())
    }

    /// The instances to which a proxy speaks `leg`.
    pub fn instances(&self, leg: Leg) -> &[Instance] {
        match leg {
            Leg::Plain => &self.plain,
            Leg::Tls => &self.tls,
        }
    }

    /// The processes of those instances.
    pub fn processes(&self, leg: Leg) -> impl Iterator<Item = u32> {
        self.instances(leg).iter().map(|instance| instance.program.pid())
    }

    /// A free port of loopback.
    pub fn port(&self) -> Result<SocketAddr, String> {
        self.ports.borrow_mut().take()
    }

    /// A fresh place for what a load says.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The instances that say they hold `device`.
    pub async fn holders(&self, leg: Leg, device: DeviceId) -> Result<Vec<String>, String> {
        let mut holders = Vec::new();
        for instance in self.instances(leg) {
            let row = http::get(instance.http, &format!("/api/v1/devices/{device}")).await?;
            if row["connectionStatus"] == true {
                holders.push(instance.name.clone());
            }
        }
        Ok(holders)
    }

    /// The instance that HAProxy's map names for `device`.
    pub fn mapped(&self, device: DeviceId) -> Result<String, String> {
        let number = (0..DEVICES).find(|number| self::device(*number) == device);
        number.map(|number| instance_name(number % INSTANCES)).ok_or_else(|| format!("{device} is unknown"))
    }
}

impl Instance {
    async fn start(
        program: &Path,
        number: usize,
        house: &House,
        identity: Option<(&Path, &Path)>,
    ) -> Result<Self, String> {
        let name = instance_name(number);
        let folder = house.folder.path().join(if identity.is_some() { "tls" } else { "plain" });
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let ((cira, http), program) =
            Self::program(program, &name, house.cpus.load, identity, &folder).await?;
        Ok(Self { name, cira, http, program })
    }

    /// `simulate mps` on ports of the kernel's choice: where it takes devices and requests.
    pub async fn program(
        program: &Path,
        name: &str,
        cpu: usize,
        identity: Option<(&Path, &Path)>,
        folder: &Path,
    ) -> Result<((SocketAddr, SocketAddr), Program), String> {
        let mut command: Vec<&OsStr> = vec![program.as_os_str()];
        command.extend(["simulate", "mps", "--cira", "127.0.0.1:0", "--http", "127.0.0.1:0"].map(OsStr::new));
        command.extend(["--name", name].map(OsStr::new));
        if let Some((certificate, key)) = identity {
            command.extend(["--certificate".as_ref(), certificate.as_os_str()]);
            command.extend(["--private-key".as_ref(), key.as_os_str()]);
        }
        let mut program = Program::start(name, cpu, &command, folder, true)?;
        let output = program.output().ok_or("an output that is piped")?;
        let line = timeout(START, BufReader::new(output).lines().next_line()).await;
        match line {
            Ok(Ok(Some(line))) => match addresses(&line) {
                Some(addresses) => Ok((addresses, program)),
                None => Err(program.failed(&format!("said {line:?}"))),
            },
            _ => Err(program.failed("did not say where it listens")),
        }
    }
}

/// Where an instance takes devices and requests, by the line it says at its start.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (_, rest) = line.split_once("takes devices on ")?;
    let (cira, http) = rest.split_once(" and requests on ")?;
    Some((cira.parse().ok()?, http.trim().parse().ok()?))
}

fn instance_name(number: usize) -> String {
    format!("mps-{number}")
}

/// The device of a number: a GUID whose bytes all vary, so that no table gets off lightly.
pub fn device(number: usize) -> DeviceId {
    let mixed = (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    DeviceId::from_bytes((mixed ^ (mixed >> 61)).to_be_bytes())
}
