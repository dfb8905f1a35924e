//! Everything the demo runs, and how it says goodbye.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::control;
use crate::app::{App, Outside};
use crate::cli::certs::files::{Files, NewFile};
use crate::config;
use crate::lifecycle::{Drain, Wish};
use crate::model::DeviceId;
use crate::net::instance_tls::Pin;
use crate::sim::device::{Device, DeviceSettings, DeviceTls, Reconnect, TlsSettings, Trust};
use crate::sim::mps::{Account, Database, Mps, MpsSettings};
use crate::sim::pki::{Authority, Keys, Leaf};

const DEVICES: u8 = 10;

/// What devices call the server: the common name of its certificate.
const NAME: &str = "mps.demo";

/// Devices come back after 2 to 4 s; real ones take 25 s and more.
const RECONNECT: Reconnect = Reconnect { after: Duration::from_secs(3), jitter: 0.3, give_up: None };

/// By then they are back, with time for the handshakes.
const BACK_SECONDS: u64 = 5;

/// The demo's inhabitants.
pub struct House {
    pub instances: Vec<Arc<Mps>>,
    pub devices: Vec<Device>,
    pub admin: SocketAddr,
    pub toml: String,
    control: SocketAddr,
    /// Tasks of gateway and control.
    drain: Drain,
    wishes: mpsc::Sender<Wish>,
    _folder: Folder,
}

impl House {
    /// Starts all of it: instances first, then the gateway, then the devices.
    pub async fn build() -> Result<Self, String> {
        let authority = Authority::new(Keys::P256, "root of the demo").map_err(|error| error.to_string())?;
        let leaf = authority.issue(NAME, &[]).map_err(|error| error.to_string())?;
        let database = Arc::new(Database::of_everyone(Account::default()));
        let mut instances = Vec::new();
        for name in ["mps-1", "mps-2"] {
            // As with MPS, all instances show the leaf that devices know; so does the gateway.
            let settings = MpsSettings::new(name, Some(leaf.identity()), Arc::clone(&database));
            instances.push(Arc::new(Mps::start(settings).await.map_err(|error| error.to_string())?));
        }
        let folder = Folder::new(&leaf)?;
        let write = |device, admin| toml(&folder, &leaf.pins()[0], &instances, device, admin);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let loaded =
            config::from_text(&write(any, any), &folder.0).map_err(|problems| problems.lines().join("\n"))?;
        let app = App::bind(loaded.settings, Outside::default()).await.map_err(|error| error.to_string())?;
        let addresses = app.addresses().clone();
        let (Some(&device), Some(&admin)) = (addresses.device.first(), addresses.admin.first()) else {
            return Err("the gateway listens nowhere".to_owned());
        };
        let toml = write(device, admin);
        let drain = Drain::new(Duration::from_secs(5));
        let control = control::serve(instances.clone(), BACK_SECONDS, &drain)
            .map_err(|error| format!("cannot listen: {error}"))?;
        let (wishes, wished) = mpsc::channel(1);
        drain.spawn(app.run(wished));
        let devices = devices(device, &authority)?;
        Ok(Self { instances, devices, admin, toml, control, drain, wishes, _folder: folder })
    }

    /// What runs, why it matters, how it is configured, and what to try.
    pub fn introduction(&self) -> String {
        let Self { admin, control, toml, .. } = self;
        let indent = |line: &str| if line.is_empty() { String::new() } else { format!("    {line}") };
        let toml = toml.lines().map(indent).collect::<Vec<_>>().join("\n");
        let device = self.devices[0].id();
        format!(
            "One gateway runs between two simulated MPS and ten simulated AMT devices, all in this process and \
             over real TLS on loopback.\n\
             It knows at every moment which MPS has which device: requests reach the one MPS that can serve them, \
             and when an MPS dies its devices come back on another and are found there.\n\n\
             It was started with this configuration:\n\n{toml}\n\n\
             Try, in another terminal:\n\n\
             \x20   # who owns a device, and why\n\
             \x20   curl -s http://{admin}/admin/v1/devices/{device}\n\
             \x20   curl -s http://{admin}/admin/v1/devices/{device}/explain\n\
             \x20   # stop one MPS, and watch its devices come back on the other within {BACK_SECONDS} s\n\
             \x20   curl -s -X POST http://{control}/stop/mps-1\n\
             \x20   # start it again\n\
             \x20   curl -s -X POST http://{control}/start/mps-1\n\
             \x20   # all that is counted\n\
             \x20   curl -s http://{admin}/metrics\n\n\
             Ctrl-C ends it.\n"
        )
    }

    /// The instance that has most devices, and how many.
    pub fn busiest(&self) -> (&Mps, usize) {
        let busiest = self.instances.iter().max_by_key(|mps| mps.connected().len());
        let busiest = busiest.expect("there are two instances");
        (busiest, busiest.connected().len())
    }

    /// The instance that really has a device.
    pub fn holder(&self, device: DeviceId) -> Option<&Mps> {
        self.instances.iter().map(Arc::as_ref).find(|mps| mps.holds(device))
    }

    /// Everybody leaves: devices, gateway, instances. The folder goes, too.
    pub async fn leave(self) {
        join_all(self.devices.into_iter().map(Device::stop)).await;
        // It may be gone already: then nobody is left to be told.
        let _ = self.wishes.send(Wish::Stop).await;
        // Whoever outlives this is cut with the runtime.
        let _ = self.drain.finish().await;
        join_all(self.instances.iter().map(|mps| mps.leave())).await;
    }
}

fn devices(gateway: SocketAddr, authority: &Authority) -> Result<Vec<Device>, String> {
    let trust = Trust::Root { root: authority.root(), common_name: Some(NAME.to_owned()) };
    let tls = DeviceTls::new(&TlsSettings::trusting(trust)).map_err(|error| error.to_string())?;
    let settings =
        Arc::new(DeviceSettings { reconnect: RECONNECT, ..DeviceSettings::new(vec![gateway], tls) });
    Ok((1..=DEVICES).map(|number| Device::start(guid(number), Arc::clone(&settings))).collect())
}

/// As Dell's are: "DELL" is in it, seen on the wire.
fn guid(number: u8) -> DeviceId {
    let mut bytes = *b"LLED\x00\x44\x45\x10\x80\x50\xb2\xc0\x4f\x32\x51\x00";
    bytes[15] = number;
    DeviceId::from_bytes(bytes)
}

fn toml(folder: &Folder, pin: &Pin, instances: &[Arc<Mps>], device: SocketAddr, admin: SocketAddr) -> String {
    let folder = folder.0.display();
    let mut toml = format!(
        "[device]\nlisten = [\"{device}\"]\ncertificate = \"{folder}/cira.crt\"\n\
         private-key = \"{folder}/cira.key\"\n\n\
         [admin]\nlisten = [\"{admin}\"]\n\n\
         [directory]\nurl = \"memory:\"\n\n\
         [drain]\nnotice = \"0s\"\nwindow = \"1s\"\n\n\
         [instances.cira-tls]\nverify = \"pin\"\npins = [\"{pin}\"]\n"
    );
    for mps in instances {
        let (name, cira, http) = (mps.name(), mps.cira(), mps.http());
        toml += &format!(
            "\n[[instances.static]]\nname = \"{name}\"\npool = \"mps\"\ncira = \"{cira}\"\nhttp = \"{http}\"\n"
        );
    }
    toml
}

/// A folder for certificate and key, gone with the demo.
struct Folder(PathBuf);

impl Folder {
    fn new(leaf: &Leaf) -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("mps-gateway-demo-{:08x}", rand::random::<u32>()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        let folder = Self(path);
        let files = Files::in_folder(&folder.0, false);
        files.write(&NewFile::public("cira.crt", leaf.pem()))?;
        files.write(&NewFile::secret("cira.key", leaf.key_pem()))?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is a key that nobody trusts any more.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
