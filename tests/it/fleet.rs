//! The promise, end to end: three gateways, one Redis, three MPS, 300 devices; one of each is killed in
//! turn; every device comes back, every surviving replica finds it, and nobody is misled for long.

mod truth;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mps_gateway::model::DeviceId;
use mps_gateway::sim::device::{Device, DeviceSettings, DeviceTls, Reconnect, TlsSettings, Trust};
use mps_gateway::sim::pki::{Authority, Keys};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use self::truth::{Truth, Watcher};
use crate::process::Process;
use crate::redis_server::{RedisServer, free_port};

const DEVICES: u64 = 300;
/// From a kill to all devices back and found by every survivor: lease and grace, and some for 2 cores.
const BACK: Duration = Duration::from_secs(60);
/// No look-up names a wrong instance for longer: lease (10 s) and grace (30 s).
const MISLED: Duration = Duration::from_secs(40);
/// How often a device tries.
const RECONNECT: Reconnect = Reconnect { after: Duration::from_secs(2), jitter: 0.5, give_up: None };

/// One MPS process, with the addresses it keeps when it is started again.
struct Instance {
    name: String,
    cira: SocketAddr,
    http: SocketAddr,
    process: Process,
}

impl Instance {
    async fn start(name: &str, pki: &Path) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (process, cira, http) = Self::process(name, any, any, pki).await;
        Self { name: name.to_owned(), cira, http, process }
    }

    async fn restart(&mut self, pki: &Path) {
        (self.process, _, _) = Self::process(&self.name, self.cira, self.http, pki).await;
    }

    async fn process(
        name: &str,
        cira: SocketAddr,
        http: SocketAddr,
        pki: &Path,
    ) -> (Process, SocketAddr, SocketAddr) {
        let (leaf, key) = (pki.join("leaf.crt"), pki.join("leaf.key"));
        let (cira, http) = (cira.to_string(), http.to_string());
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let (leaf, key) = (text(&leaf), text(&key));
        let mut process = Process::start(
            &[
                "simulate",
                "mps",
                "--name",
                name,
                "--cira",
                &cira,
                "--http",
                &http,
                "--certificate",
                &leaf,
                "--private-key",
                &key,
            ],
            &[],
        );
        let (cira, http) = process
            .until(|line| {
                let line = line.strip_prefix(&format!("{name} takes devices on "))?;
                let (cira, http) = line.split_once(" and requests on ")?;
                Some((cira.parse().expect("an address"), http.parse().expect("an address")))
            })
            .await;
        (process, cira, http)
    }
}

/// One gateway process.
struct Replica {
    config: String,
    admin: SocketAddr,
    process: Process,
}

impl Replica {
    async fn start(
        number: usize,
        folder: &Path,
        redis: &str,
        instances: &[Instance],
        pin: &str,
    ) -> (Self, SocketAddr) {
        let (device, admin) = (free_port(), free_port());
        let mut toml = format!(
            r#"
            [device]
            listen = ["127.0.0.1:{device}"]
            certificate = "leaf.crt"
            private-key = "leaf.key"
            [admin]
            listen = ["127.0.0.1:{admin}"]
            [directory]
            url = "{redis}"
            [instances.cira-tls]
            verify = "pin"
            pins = ["{pin}"]
            "#
        );
        for Instance { name, cira, http, .. } in instances {
            toml.push_str(&format!(
                "\n[[instances.static]]\nname = \"{name}\"\ncira = \"{cira}\"\nhttp = \"{http}\"\n"
            ));
        }
        let path = folder.join(format!("gateway-{number}.toml"));
        std::fs::write(&path, toml).expect("a writable folder");
        let config = path.to_str().expect("UTF-8").to_owned();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let process = Self::process(&config).await;
        (Self { config, admin: address(admin), process }, address(device))
    }

    async fn process(config: &str) -> Process {
        let mut process = Process::start(&["--config", config], &[]);
        process.until(|line| line.contains("\"serving\"").then_some(())).await;
        process
    }

    async fn restart(&mut self) {
        self.process = Self::process(&self.config).await;
    }
}

fn device(number: u64) -> DeviceId {
    let mut bytes = [0x40; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

/// Root and leaf that instances and gateways all show; the leaf's pin, and what devices trust.
fn pki(folder: &Path) -> (String, Trust) {
    let authority = Authority::new(Keys::P256, "root of the test").expect("a root");
    let leaf = authority.issue("mps.test", &[]).expect("a leaf");
    std::fs::write(folder.join("leaf.crt"), leaf.pem()).expect("a writable folder");
    std::fs::write(folder.join("leaf.key"), leaf.key_pem().expose()).expect("a writable folder");
    let trust = Trust::Root { root: authority.root(), common_name: Some("mps.test".into()) };
    (leaf.pins()[0].to_string(), trust)
}

fn switch_on(targets: Vec<SocketAddr>, trust: Trust) -> Vec<Device> {
    let tls = DeviceTls::new(&TlsSettings::trusting(trust)).expect("a TLS client");
    let settings = Arc::new(DeviceSettings { reconnect: RECONNECT, ..DeviceSettings::new(targets, tls) });
    (0..DEVICES).map(|number| Device::start(device(number), settings.clone())).collect()
}

/// Waits until every device is held by one instance and every replica of `admins` says which.
async fn all_found(what: &str, instances: &[&Instance], admins: &[SocketAddr]) {
    let begun = Instant::now();
    let truth = Truth::new(instances.iter().map(|instance| (instance.name.clone(), instance.http)));
    let mut last = String::new();
    let found = timeout(BACK, async {
        loop {
            match truth.disagreement(admins, (0..DEVICES).map(device)).await {
                None => return,
                Some(disagreement) => last = disagreement,
            }
            tokio::time::sleep(Duration::from_millis(200)).await; // between two looks; bounded by BACK
        }
    });
    assert!(found.await.is_ok(), "{what}: not all back and found within {BACK:?}: {last}");
    println!("{what}: all {DEVICES} back and found by every replica after {:.1?}", begun.elapsed());
}

/// Waits until Redis has a record of every device again: caches alone would answer for a while, too.
async fn written_again(redis: &RedisServer) {
    let begun = Instant::now();
    let written = timeout(BACK, async {
        loop {
            let records: Vec<String> = redis.command(&["KEYS", "mpsgw:d:*"]).await;
            if records.len() as u64 == DEVICES {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await; // between two looks; bounded by BACK
        }
    });
    assert!(written.await.is_ok(), "not every claim was written again within {BACK:?}");
    println!("every claim written again {:.1?} after Redis was back", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_every_device_is_back_and_found_by_every_survivor() {
    let Some(mut redis) = RedisServer::start().await else { return };
    let folder = TempDir::new().expect("a temporary folder");
    let (pin, trust) = pki(folder.path());
    let names = ["mps-1", "mps-2", "mps-3"];
    let mut instances = join_all(names.map(|name| Instance::start(name, folder.path()))).await;
    let url = redis.url();
    let started = join_all((0..3).map(|n| Replica::start(n, folder.path(), &url, &instances, &pin))).await;
    let (mut replicas, targets): (Vec<_>, Vec<_>) = started.into_iter().unzip();
    let admins: Vec<_> = replicas.iter().map(|replica| replica.admin).collect();

    let devices = switch_on(targets, trust);
    let everyone = instances.iter().map(|instance| (instance.name.clone(), instance.http));
    let watcher = Watcher::start(Truth::new(everyone), admins.clone(), (0..DEVICES).map(device).collect());
    all_found("start", &instances.iter().collect::<Vec<_>>(), &admins).await;

    replicas[0].process.kill().await;
    all_found("a gateway killed", &instances.iter().collect::<Vec<_>>(), &admins[1..]).await;
    replicas[0].restart().await;
    all_found("the gateway started again", &instances.iter().collect::<Vec<_>>(), &admins).await;

    instances[1].process.kill().await;
    all_found("an MPS killed", &[&instances[0], &instances[2]], &admins).await;
    instances[1].restart(folder.path()).await;
    all_found("the MPS started again", &instances.iter().collect::<Vec<_>>(), &admins).await;

    let proofs = |devices: &[Device]| devices.iter().map(|device| device.status().proofs).sum::<u64>();
    let before = proofs(&devices);
    redis.kill();
    redis.restart().await;
    written_again(&redis).await;
    all_found("Redis killed and started empty", &instances.iter().collect::<Vec<_>>(), &admins).await;
    assert_eq!(proofs(&devices), before, "Redis cost no device its session");

    let (misled, looks) = watcher.finish().await;
    assert!(looks > 10 * DEVICES, "only {looks} look-ups were watched");
    println!("{looks} look-ups watched; the longest that one device was named wrongly: {misled:.1?}");
    assert!(misled <= MISLED, "a look-up named a wrong instance for {misled:?}");
    join_all(devices.into_iter().map(Device::stop)).await;
}
