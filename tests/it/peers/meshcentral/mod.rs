//! MeshCentral behind the gateway, over TLS and with `mpsTlsOffload`; simulated devices and its own APF
//! client in front. What MeshCentral says of a device is asked from MeshCentral.

mod client;
mod ends;
mod logins;
mod server;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mps_gateway::model::DeviceId;
use mps_gateway::sim::device::{Device, DeviceSettings, DeviceTls, Status, TlsSettings, Trust};
use mps_gateway::sim::mps::Account;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::TempDir;

use self::client::{Amt, Client};
use self::server::{Group, Leg, MeshCentral};
use super::installed;
use crate::gateway::{Gateway, output, within};
use crate::http::Http;

/// What MeshCentral is called in the gateway's configuration.
const NAME: &str = "mesh-a";

/// A gateway before a MeshCentral.
struct House {
    peer: PathBuf,
    mesh: MeshCentral,
    gateway: Gateway,
    cira: SocketAddr,
    admin: Http,
    account: Account,
    tls: DeviceTls,
    _folder: TempDir,
}

impl House {
    /// `None`: MeshCentral is not installed, and whoever runs the tests was told.
    async fn start(leg: Leg) -> Option<Self> {
        Self::of(leg, Group::Agents).await
    }

    /// The same, for devices of this group.
    async fn of(leg: Leg, group: Group) -> Option<Self> {
        let peer = installed("meshcentral")?;
        let mesh = MeshCentral::start(&peer, leg).await;
        let folder = tempfile::tempdir().expect("a folder");
        let mut gateway = Gateway::serve(folder.path(), &config(&mesh, leg).await).await;
        let (cira, admin) = (gateway.address("device").await, Http::new(gateway.address("admin").await));
        let account = mesh.account(group).await;
        // As a device that MeshCentral programmed: its root, its name.
        let root = CertificateDer::from_pem_file(mesh.root()).expect("a certificate");
        let trust = Trust::Root { root, common_name: Some("mps.example.com".into()) };
        let tls = DeviceTls::new(&TlsSettings::trusting(trust)).expect("a root");
        Some(Self { peer, mesh, gateway, cira, admin, account, tls, _folder: folder })
    }

    /// A simulated device with a keep-alive every 100 ms, and no second try.
    fn device(&self, id: DeviceId) -> Device {
        let mut settings = DeviceSettings::new(vec![self.cira], self.tls.clone());
        settings.account = Arc::new(self.account.clone());
        settings.keepalive = Duration::from_millis(100);
        settings.obey_options = false; // MeshCentral asks for 30 s
        settings.reconnect.after = Duration::from_secs(3600);
        Device::start(id, Arc::new(settings))
    }

    /// MeshCentral's own client.
    fn client(&self, id: DeviceId, amt: &Amt) -> Client {
        Client::start(&self.peer, self.cira, id, &self.account, amt.addr)
    }

    /// The owner of a device, as the gateway says.
    async fn owner(&mut self, id: DeviceId) -> Option<String> {
        let (status, body) =
            self.admin.get(&format!("/admin/v1/devices/{id}")).await.expect("the admin API answers");
        assert!(status == 200 || status == 404, "{status}: {body}");
        Some(body["owner"].as_str()?.to_owned())
    }

    /// Nobody owns a device, and MeshCentral does not have it.
    async fn gone(&mut self, id: DeviceId) {
        self.mesh.has(id, false).await;
        assert_eq!(self.owner(id).await, None);
    }

    /// The value of a metric, by its name and labels without the `mps_gateway_` in front.
    async fn metric(&mut self, series: &str) -> f64 {
        let text = self.admin.text("/metrics").await.expect("metrics");
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("mps_gateway_")?.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
    }
}

/// The gateway shows MeshCentral's own certificate, so that no device is provisioned anew.
async fn config(mesh: &MeshCentral, leg: Leg) -> String {
    let (certificate, key) = mesh.certificate();
    let trust = match leg {
        Leg::Plain => "enabled = false".to_owned(),
        Leg::Tls => format!("verify = \"pin\"\npins = [{:?}]", pin(mesh.cira).await),
    };
    format!(
        "[device]\nlisten = [\"127.0.0.1:0\"]\ncertificate = {certificate:?}\nprivate-key = {key:?}\n\
         [admin]\nlisten = [\"127.0.0.1:0\"]\n[drain]\nnotice = \"0s\"\nwindow = \"2s\"\n\
         [instances.cira-tls]\n{trust}\n[[instances.static]]\nname = \"{NAME}\"\ncira = \"{}\"\n",
        mesh.cira
    )
}

/// The pin that `mps-gateway pin` prints for MeshCentral's port.
async fn pin(cira: SocketAddr) -> String {
    let (code, out, error) = output(&["pin", &cira.to_string()]).await;
    assert_eq!(code, Some(0), "{error}");
    let pin = out.split_whitespace().find(|word| word.starts_with("spki-sha256:"));
    pin.unwrap_or_else(|| panic!("no pin in {out}")).to_owned()
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([0x4c, 0x4c, 0x45, 0x44, 0, 0x4d, 0x4d, 0x10, 0x80, 0x50, 0, 0, 0, 2, 0, number])
}

/// Waits for a simulated device, within the limit.
async fn until(device: &Device, what: &str, condition: impl FnMut(&Status) -> bool) -> Status {
    let waiting = tokio::time::timeout(crate::gateway::LIMIT, device.until(condition)).await;
    waiting.unwrap_or_else(|_| panic!("{what}: {:?}", device.status()))
}

async fn a_device_is_there_and_asked(leg: Leg, group: Group) {
    let Some(mut house) = House::of(leg, group).await else { return };
    let id = device(1);
    let device = house.device(id);
    within("it is proven", device.proven()).await;
    house.mesh.has(id, true).await;
    assert_eq!(house.owner(id).await.as_deref(), Some(NAME));
    // WSMAN on 16992, as MeshCentral does with whoever comes: a challenge, its answer, and AMT's word.
    house.mesh.logged("Initial Contact Response 200").await;
    assert!(device.status().channels >= 2, "{:?}", device.status());
    house.mesh.logged("--> KEEPALIVE_OPTIONS_REPLY").await;
    until(&device, "keep-alives are answered", |status| status.keepalives >= 10).await;
    assert_eq!(device.status().proofs, 1, "on one connection");
    within("it stops", device.stop()).await;
    house.gone(id).await;
}

#[tokio::test]
async fn a_device_is_there_and_asked_over_tls() {
    a_device_is_there_and_asked(Leg::Tls, Group::Agents).await;
}

#[tokio::test]
async fn a_device_is_there_and_asked_over_plain_tcp() {
    a_device_is_there_and_asked(Leg::Plain, Group::Agentless).await;
}

async fn its_own_client_is_there_and_asked(leg: Leg) {
    let Some(mut house) = House::start(leg).await else { return };
    let (id, mut amt) = (device(2), Amt::start().await);
    let mut client = house.client(id, &amt);
    client.said("device: connected TLSv1.3 mps.example.com").await;
    client.said("APF: User Authentication successful").await;
    house.mesh.has(id, true).await;
    assert_eq!(house.owner(id).await.as_deref(), Some(NAME));
    client.said("device: channel to port 16992").await;
    assert!(!amt.request().await.contains("Authorization:"));
    let second = amt.request().await;
    assert!(second.starts_with("POST /wsman HTTP/1.1"), "{second}");
    assert!(second.contains("Authorization: Digest username=\"admin\""), "{second}");
    // Only who consumed more than half of the window grants more.
    house.mesh.logged("<-- CHANNEL_WINDOW_ADJUST").await;
    client.keeps_alive(10).await;
    client.tell("leave").await;
    client.closed().await;
    house.gone(id).await;
}

#[tokio::test]
async fn its_own_client_is_there_and_asked_over_tls() {
    its_own_client_is_there_and_asked(Leg::Tls).await;
}

#[tokio::test]
async fn its_own_client_is_there_and_asked_over_plain_tcp() {
    its_own_client_is_there_and_asked(Leg::Plain).await;
}
