//! MeshCentral, started from what `tests/peers/meshcentral/install` prepared; read by its log and asked
//! by its own command line, `meshctrl`.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mps_gateway::model::{DeviceId, Secret};
use mps_gateway::sim::mps::Account;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::gateway::within;
use crate::process::Process;

/// The password of every device, `mpsPass`: eight characters or more, as new firmware wants it.
const PASSWORD: &str = "MeshP@ss1";
/// The bit of `conn` that says that a device is there by CIRA.
const CIRA: u64 = 2;
/// Ports are somebody else's by the time they are asked for, now and then.
const TRIES: u32 = 3;

/// How MeshCentral takes CIRA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Leg {
    /// As it comes: TLS with a certificate of its own.
    Tls,
    /// `mpsTlsOffload`: plain TCP.
    Plain,
}

/// The device groups that were prepared.
#[derive(Clone, Copy, Debug)]
pub enum Group {
    /// Of machines with its agent: MeshCentral looks a device up by its GUID.
    Agents,
    /// Of AMT alone: the GUID is the device's name.
    Agentless,
}

/// A running MeshCentral that stays on this machine.
pub struct MeshCentral {
    process: Process,
    peer: PathBuf,
    folder: TempDir,
    /// Where it takes devices.
    pub cira: SocketAddr,
    web: SocketAddr,
}

impl MeshCentral {
    /// Starts one of what is installed in `peer`.
    pub async fn start(peer: &Path, leg: Leg) -> Self {
        for _ in 0..TRIES {
            let folder = tempfile::tempdir().expect("a temporary folder");
            for entry in peer.join("prepared").read_dir().expect("prepared").flatten() {
                if entry.path().is_file() {
                    std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
                }
            }
            let (cira, web) = free_addresses();
            let config = config(cira.port(), web.port(), leg).to_string();
            std::fs::write(folder.path().join("config.json"), config).expect("written");
            let mut process = Process::run(command(peer, folder.path()));
            let up = process.until(|line| {
                let taken = line.contains("is not available");
                (taken || line.contains("HTTPS server running on")).then_some(!taken)
            });
            if up.await {
                return Self { process, peer: peer.to_owned(), folder, cira, web };
            }
        }
        panic!("MeshCentral finds no free ports");
    }

    /// What its devices trust, with the key: what a gateway in front of it has to show.
    pub fn certificate(&self) -> (PathBuf, PathBuf) {
        let path = |name| self.folder.path().join(name);
        (path("mpsserver-cert-public.crt"), path("mpsserver-cert-private.key"))
    }

    /// The root that it installs in devices.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root-cert-public.crt")
    }

    /// What a device of this group says, and what it is to MeshCentral.
    pub async fn account(&self, group: Group) -> Account {
        let name = match group {
            Group::Agents => "agents",
            Group::Agentless => "agentless",
        };
        let groups = self.ask(&["listdevicegroups"]).await;
        let all = groups.as_array().expect("a list of groups");
        let found = all.iter().find(|group| group["name"] == name).expect("it was prepared");
        let id =
            found["_id"].as_str().expect("a text").strip_prefix("mesh//").expect("as MeshCentral has it");
        // As MeshCentral programs AMT, which takes neither.
        let user = id[..16].replace(['@', '$'], "X");
        Account { user, password: Secret::new(PASSWORD), ..Account::default() }
    }

    /// Waits until it says that a device is connected by CIRA, or is not, as asked for.
    pub async fn has(&self, device: DeviceId, connected: bool) {
        let looking = async {
            loop {
                let devices = self.ask(&["listdevices"]).await;
                let row = devices.as_array().into_iter().flatten().find(|row| row["_id"] == node(device));
                let is = row.is_some_and(|row| row["conn"].as_u64().is_some_and(|conn| conn & CIRA != 0));
                if is == connected {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await; // each question is a program started
            }
        };
        within(&format!("MeshCentral says connected = {connected} of {device}"), looking).await;
    }

    /// Removes a device, which closes its connection.
    pub async fn remove(&self, device: DeviceId) {
        self.control(&["removedevice", "--id", &node(device)]).await;
    }

    /// Waits until it logs something that contains `text`, unless it did.
    pub async fn logged(&mut self, text: &str) {
        if !self.process.said().contains(text) {
            self.process.until(|line| line.contains(text).then_some(())).await;
        }
    }

    /// What it logged.
    pub fn log(&self) -> String {
        self.process.said()
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// What `meshctrl` answers, as JSON.
    async fn ask(&self, arguments: &[&str]) -> Value {
        let answer = self.control(&[arguments, &["--json"]].concat()).await;
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("meshctrl {arguments:?}: {answer}"))
    }

    async fn control(&self, arguments: &[&str]) -> String {
        let mut command = node_with(&self.peer.join("node_modules/meshcentral/meshctrl.js"));
        command.args(arguments).args(["--loginuser", "admin", "--loginpass", "Passw0rd!"]);
        command.args(["--url", &format!("wss://{}", self.web)]).kill_on_drop(true);
        let ended = within("meshctrl ends", command.output()).await.expect("it starts");
        String::from_utf8(ended.stdout).expect("text")
    }
}

/// Two addresses that nobody listens on now: MeshCentral takes port 0 for "none".
fn free_addresses() -> (SocketAddr, SocketAddr) {
    let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (one, other) = (listen(), listen());
    (one.local_addr().expect("bound"), other.local_addr().expect("bound"))
}

/// MeshCentral's name for a device: its GUID three times.
fn node(device: DeviceId) -> String {
    let id = BASE64.encode(device.as_bytes().repeat(3)).replace('+', "@").replace('/', "$");
    format!("node//{id}")
}

/// Nothing of ours in its environment.
pub fn node_with(script: &Path) -> Command {
    let mut command = Command::new("node");
    command.arg(script).env_clear();
    #[expect(clippy::disallowed_methods, reason = "where node is")]
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// A file of `tests/peers/meshcentral`.
pub fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/meshcentral").join(name)
}

fn command(peer: &Path, folder: &Path) -> Command {
    let mut command = node_with(&PathBuf::from("--require"));
    command.arg(ours("offline.js")).arg(peer.join("node_modules/meshcentral/meshcentral.js"));
    // In this process, not in a child that outlives it; and without npm, should a module be missing.
    command.args(["--launch", "1", "--npmpath", "false", "--debug", "mps,mpscmd,amt"]);
    command.arg("--datapath").arg(folder).arg("--filespath").arg(folder.join("files")).env("HOME", folder);
    command
}

fn config(cira: u16, web: u16, leg: Leg) -> Value {
    let amt = Account::default();
    json!({
        "settings": {
            "cert": "mps.example.com", "WANonly": true, "port": web, "portBind": "127.0.0.1", "redirPort": 0,
            "mpsPort": cira, "mpsPortBind": "127.0.0.1", "mpsPass": PASSWORD, "mpsTlsOffload": leg == Leg::Plain,
            "exactPorts": true, "selfUpdate": false, "autoBackup": false, "agentTimeStampServer": false,
        },
        // So that it has a reason to talk to each device's AMT.
        "domains": { "": { "amtManager": {
            "adminAccounts": [{ "user": amt.amt_user, "pass": amt.amt_password.expose() }],
        } } },
    })
}
