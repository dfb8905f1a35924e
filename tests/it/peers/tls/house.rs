//! A gateway as a process, an MPS behind it, and what the gateway counts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mps_gateway::model::DeviceId;
use mps_gateway::sim::device::RawDevice;
use mps_gateway::sim::mps::{Account, Database, Mps, MpsSettings};
use mps_gateway::sim::pki::{Authority, Keys};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::gateway::{Gateway, within};

/// Version, key exchange and outcome: the labels of `hellos_total`.
pub type Hello = [&'static str; 3];

/// How long the gateway waits for a hello, and for a handshake, in these tests.
pub const PATIENCE: Duration = Duration::from_millis(700);

/// One gateway process before one MPS in this process.
pub struct House {
    folder: TempDir,
    gateway: Gateway,
    /// Where devices call.
    pub device: SocketAddr,
    admin: SocketAddr,
    /// Whom the gateway relays to.
    pub mps: Mps,
}

impl House {
    /// A gateway whose leaf has such a key: RSA as MPS makes it, or ECDSA on P-256.
    pub async fn showing(keys: Keys) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new(keys, "Root of the test").expect("a root");
        let leaf = authority.issue("gateway.test", &["gateway.test"]).expect("a leaf");
        let inside = Authority::new(Keys::P256, "MPSRoot").expect("a root");
        let shown = inside.issue("mps", &["mps"]).expect("a leaf");
        let database = Arc::new(Database::of_everyone(Account::default()));
        let mps = MpsSettings::new("mps-0", Some(shown.identity()), database);
        let mps = Mps::start(mps).await.expect("an MPS on ports of the kernel's choice");

        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect(name);
        write("root.crt", &authority.root_pem());
        write("cira.crt", leaf.pem());
        write("cira.key", leaf.key_pem().expose());
        let toml = format!(
            "[device]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"cira.crt\"\nprivate-key = \"cira.key\"\n\
             max-connections = 200\nmax-preauth = 100\nhello-timeout = \"{patience}ms\"\nhandshake-timeout = \"{patience}ms\"\n\
             [admin]\nlisten = [\"127.0.0.1:0\"]\n[directory]\nurl = \"memory:\"\n\
             [drain]\nnotice = \"0s\"\nwindow = \"1s\"\n\
             [instances.cira-tls]\nverify = \"pin\"\npins = [\"{pin}\"]\n\
             [[instances.static]]\nname = \"mps-0\"\ncira = \"{cira}\"\nhttp = \"{http}\"\n",
            patience = PATIENCE.as_millis(),
            pin = shown.pins()[0],
            cira = mps.cira(),
            http = mps.http(),
        );
        let mut gateway = Gateway::serve(folder.path(), &toml).await;
        let (device, admin) = (gateway.address("device").await, gateway.address("admin").await);
        Self { folder, gateway, device, admin, mps }
    }

    /// A file in this house's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The root that signed the gateway's leaf, PEM.
    pub fn root(&self) -> PathBuf {
        self.file("root.crt")
    }

    /// Every series of the gateway that is not 0, without the `mps_gateway_` in front.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let text = within("the metrics", page(self.admin, "/metrics")).await;
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.strip_prefix("mps_gateway_")?.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        series.filter(|(_, value)| *value != 0.0).collect()
    }

    /// What the gateway counted of hellos, by their labels as rendered.
    pub async fn hellos(&self) -> BTreeMap<String, f64> {
        self.metrics().await.into_iter().filter(|(series, _)| series.starts_with("hellos_total{")).collect()
    }

    /// Waits until no connection, place or file is held any more; `files` are open then.
    pub async fn is_empty(&self, files: usize) {
        let emptied = async {
            loop {
                let now = self.metrics().await;
                let gauges = ["device_connections", "devices_held", "sessions"];
                let held: Vec<_> = gauges.iter().filter(|gauge| now.contains_key(**gauge)).collect();
                let open = self.open_files();
                if held.is_empty() && open <= files {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within("everything is given back", emptied).await;
    }

    /// Lines that libraries logged where a session's one line says all there is.
    pub fn noise(&self) -> Vec<String> {
        let said = self.gateway.said();
        said.lines().filter(|line| line.contains("\"target\":\"rustls")).map(str::to_owned).collect()
    }

    /// Files, sockets included, that the gateway has open.
    pub fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.gateway.id());
        std::fs::read_dir(&folder).expect("the gateway runs").count()
    }

    /// A device logs in and leaves again.
    pub async fn serves(&self, number: u8) {
        let mut raw = within("the handshake", RawDevice::connect(self.device)).await.expect("it is served");
        let password = Account::default().password;
        within("the login", raw.log_in(device(number), "admin", &password)).await.expect("it is proven");
    }
}

/// A device of its own for each number.
pub fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([0x4c, 0x4c, 0x45, 0x44, 0, 0x4d, 0x4d, 0x10, 0x80, 0x50, 0, 0, 0, 0, 2, number])
}

/// A hello's series as the gateway renders it.
pub fn series([version, key_exchange, outcome]: Hello) -> String {
    format!("hellos_total{{version=\"{version}\",key_exchange=\"{key_exchange}\",outcome=\"{outcome}\"}}")
}

/// What was counted between two readings.
pub fn counted(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let new = |(series, value): (&String, &f64)| {
        let more = value - before.get(series).unwrap_or(&0.0);
        (more != 0.0).then(|| (series.clone(), more))
    };
    after.iter().filter_map(new).collect()
}

/// A file of `tests/peers/tls`.
pub fn ours(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/tls").join(name)
}

async fn page(address: SocketAddr, path: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.expect("the admin plane listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.expect("said");
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.expect("text");
    answer
}
