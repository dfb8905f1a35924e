//! What all targets share: certificate, GUIDs, and four simulated MPS instances of each kind, those of a
//! kind in one process.

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
use tokio::time::{Instant, sleep};

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

/// A simulated MPS.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its `instance_name`.
    pub name: String,
    /// Where it takes devices.
    pub cira: SocketAddr,
    /// Where it answers requests.
    pub http: SocketAddr,
}

/// Instances of one process, which share a database as those of MPS do.
pub struct Instances {
    /// Their process.
    pub program: Program,
    /// All of them.
    pub list: Vec<Instance>,
}

/// What all targets share.
pub struct House {
    /// Who runs where.
    pub cpus: Cpus,
    /// Sessions that a proxy has files for.
    pub sessions: usize,
    /// What is on disk.
    pub files: Files,
    /// What pins the leaf.
    pub pin: String,
    plain: Instances,
    tls: Instances,
    ports: RefCell<Ports>,
    folder: TempDir,
}

/// What all targets read.
pub struct Files {
    /// The leaf, RSA-2048, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Both in one file, as peers want it.
    pub pair: PathBuf,
    /// The root that devices trust, PEM.
    pub root: PathBuf,
    /// The GUIDs of all devices, one a line.
    pub guids: PathBuf,
    /// HAProxy's map from GUIDs, as they are on the wire, to the number of an instance.
    pub map: PathBuf,
}

impl House {
    /// Makes the files and starts the instances, which are `program` with `simulate mps`.
    pub async fn build(program: &Path, cpus: Cpus, sessions: usize) -> Result<Self, String> {
        let folder = TempDir::new().map_err(|error| format!("a temporary folder: {error}"))?;
        let path = |name: &str| folder.path().join(name);
        let files = Files {
            certificate: path("leaf.crt"),
            key: path("leaf.key"),
            pair: path("pair.pem"),
            root: path("root.crt"),
            guids: path("guids"),
            map: path("haproxy.map"),
        };
        let pin = files.write().map_err(|error| format!("{}: {error}", folder.path().display()))?;
        let start = async |name, identity| {
            Instances::start(program, name, INSTANCES, cpus.load, identity, folder.path()).await
        };
        let plain = start("plain", None).await?;
        let tls = start("tls", Some(files.identity())).await?;
        Ok(Self { cpus, sessions, files, pin, plain, tls, ports: RefCell::default(), folder })
    }

    const fn of(&self, leg: Leg) -> &Instances {
        match leg {
            Leg::Plain => &self.plain,
            Leg::Tls => &self.tls,
        }
    }

    /// The instances to which a proxy speaks `leg`.
    pub fn instances(&self, leg: Leg) -> &[Instance] {
        &self.of(leg).list
    }

    /// The process of those instances.
    pub const fn process(&self, leg: Leg) -> u32 {
        self.of(leg).program.pid()
    }

    /// A free port of loopback.
    pub fn port(&self) -> Result<SocketAddr, String> {
        self.ports.borrow_mut().take()
    }

    /// A fresh place for what a load says.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The instance that holds `device`, as the database of the instances has it.
    pub async fn holder(&self, leg: Leg, device: DeviceId) -> Result<Option<String>, String> {
        let row = http::get(self.instances(leg)[0].http, &format!("/api/v1/devices/{device}")).await?;
        let held = row["connectionStatus"] == true;
        Ok(row["mpsInstance"].as_str().filter(|_| held).map(str::to_owned))
    }

    /// The instance that HAProxy's map names for `device`, to which it speaks `leg`.
    pub fn mapped(&self, leg: Leg, device: DeviceId) -> Option<String> {
        let number = (0..DEVICES).find(|number| self::device(*number) == device)?;
        Some(self.instances(leg)[number % INSTANCES].name.clone())
    }
}

impl Files {
    /// Certificate and key.
    pub fn identity(&self) -> (&Path, &Path) {
        (&self.certificate, &self.key)
    }

    /// Writes all of them; returns the pin of the leaf.
    fn write(&self) -> Result<String, Box<dyn std::error::Error>> {
        let authority = Authority::new(Keys::Rsa, "compare")?;
        let leaf = authority.issue("localhost", &["127.0.0.1"])?;
        fs::write(&self.certificate, leaf.pem())?;
        fs::write(&self.key, leaf.key_pem().expose())?;
        fs::write(&self.pair, format!("{}{}", leaf.pem(), leaf.key_pem().expose()))?;
        fs::write(&self.root, authority.root_pem())?;
        let (mut guids, mut map) = (String::new(), String::new());
        for number in 0..DEVICES {
            let device = device(number);
            let wire = device.to_wire().map(|byte| format!("{byte:02X}")).concat();
            writeln!(guids, "{device}")?;
            writeln!(map, "{wire} {}", number % INSTANCES)?;
        }
        fs::write(&self.guids, guids)?;
        fs::write(&self.map, map)?;
        Ok(leaf.pins()[0].to_string())
    }
}

impl Instances {
    /// `simulate mps` with `count` instances on ports of the kernel's choice.
    pub async fn start(
        program: &Path,
        name: &str,
        count: usize,
        cpu: usize,
        identity: Option<(&Path, &Path)>,
        folder: &Path,
    ) -> Result<Self, String> {
        let count_text = count.to_string();
        let mut command: Vec<&OsStr> = vec![program.as_os_str()];
        command.extend(["simulate", "mps", "--cira", "127.0.0.1:0", "--http", "127.0.0.1:0"].map(OsStr::new));
        command.extend(["--name", name, "--instances", &count_text].map(OsStr::new));
        if let Some((certificate, key)) = identity {
            command.extend(["--certificate".as_ref(), certificate.as_os_str()]);
            command.extend(["--private-key".as_ref(), key.as_os_str()]);
        }
        let mut program = Program::start(name, cpu, &command, folder, false)?;
        let deadline = Instant::now() + START;
        loop {
            let said = program.said();
            let list: Vec<_> = said.lines().filter_map(instance).collect();
            if list.len() == count {
                return Ok(Self { program, list });
            }
            program.alive()?;
            if Instant::now() > deadline {
                return Err(program.failed("did not say where it listens"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Who takes devices and requests where, by what it says at its start.
fn instance(line: &str) -> Option<Instance> {
    let (name, rest) = line.split_once(" takes devices on ")?;
    let (cira, http) = rest.split_once(" and requests on ")?;
    Some(Instance { name: name.to_owned(), cira: cira.parse().ok()?, http: http.trim().parse().ok()? })
}

/// The device of a number: a GUID whose bytes all vary, so that no table gets off lightly.
pub fn device(number: usize) -> DeviceId {
    let mixed = (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    DeviceId::from_bytes((mixed ^ (mixed >> 61)).to_be_bytes())
}
