//! What is so (the instances' own tables) against what is said (the replicas' look-ups).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use mps_gateway::lifecycle::Drain;
use mps_gateway::model::DeviceId;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::http::Http;

/// Asks instances which devices they hold.
#[derive(Clone)]
pub struct Truth {
    instances: Vec<(String, SocketAddr)>,
}

/// What a replica says of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Said {
    /// This instance has it.
    Owner(String),
    /// It cannot or will not say.
    Nothing(u16),
}

impl Truth {
    /// The truth of these instances: name, and where they answer requests.
    pub fn new(instances: impl Iterator<Item = (String, SocketAddr)>) -> Self {
        Self { instances: instances.collect() }
    }

    /// Which instances hold each device; those that do not answer hold none.
    async fn holders(&self) -> BTreeMap<String, Vec<String>> {
        let mut holders: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, http) in &self.instances {
            let Some((200, Value::Array(rows))) = Http::new(*http).get("/api/v1/devices").await else {
                continue;
            };
            for row in rows.iter().filter(|row| row["connectionStatus"] == true) {
                let guid = row["guid"].as_str().expect("a guid").to_owned();
                holders.entry(guid).or_default().push(name.clone());
            }
        }
        holders
    }

    /// The first device that is not held by exactly one instance, or that a replica of `admins` does
    /// not say is there; `None` if there is none.
    pub async fn disagreement(
        &self,
        admins: &[SocketAddr],
        devices: impl Iterator<Item = DeviceId> + Clone,
    ) -> Option<String> {
        let before = self.holders().await;
        let said = join_all(admins.iter().map(|admin| ask(*admin, devices.clone()))).await;
        for device in devices {
            let guid = device.to_string();
            let held = before.get(&guid).map(Vec::as_slice).unwrap_or_default();
            let [holder] = held else { return Some(format!("{guid} is held by {held:?}")) };
            for (admin, said) in admins.iter().zip(&said) {
                let said = &said[&guid];
                if *said != Said::Owner(holder.clone()) {
                    return Some(format!("{guid} is held by {holder}, {admin} says {said:?}"));
                }
            }
        }
        None
    }
}

async fn ask(admin: SocketAddr, devices: impl Iterator<Item = DeviceId>) -> BTreeMap<String, Said> {
    let mut http = Http::new(admin);
    let mut said = BTreeMap::new();
    for device in devices {
        let guid = device.to_string();
        let answer = match http.get(&format!("/admin/v1/devices/{guid}")).await {
            Some((200, body)) => Said::Owner(body["owner"].as_str().expect("an owner").to_owned()),
            Some((status, _)) => Said::Nothing(status),
            None => Said::Nothing(0),
        };
        said.insert(guid, answer);
    }
    said
}

/// Looks all the time, and notes how long one replica names a wrong instance for one device.
pub struct Watcher {
    task: JoinHandle<(Duration, u64)>,
    stop: CancellationToken,
}

impl Watcher {
    /// Starts to look.
    pub fn start(truth: Truth, admins: Vec<SocketAddr>, devices: Vec<DeviceId>) -> Self {
        let stop = CancellationToken::new();
        let task = Drain::new(Duration::ZERO).spawn(watch(truth, admins, devices, stop.clone()));
        Self { task, stop }
    }

    /// The longest that one replica named a wrong instance for one device, and how many looks there were.
    pub async fn finish(self) -> (Duration, u64) {
        self.stop.cancel();
        self.task.await.expect("the watcher does not panic")
    }
}

async fn watch(
    truth: Truth,
    admins: Vec<SocketAddr>,
    devices: Vec<DeviceId>,
    stop: CancellationToken,
) -> (Duration, u64) {
    let mut wrong_since: BTreeMap<(SocketAddr, String), Instant> = BTreeMap::new();
    let (mut longest, mut looks) = (Duration::ZERO, 0);
    while !stop.is_cancelled() {
        let holders = truth.holders().await;
        for admin in &admins {
            for (guid, said) in ask(*admin, devices.iter().copied()).await {
                let held = holders.get(&guid).map(Vec::as_slice).unwrap_or_default();
                let Said::Owner(owner) = said else {
                    wrong_since.remove(&(*admin, guid));
                    continue;
                };
                looks += 1;
                if held.is_empty() || held.contains(&owner) {
                    wrong_since.remove(&(*admin, guid)); // held by nobody: on its way back
                } else {
                    let since = *wrong_since.entry((*admin, guid)).or_insert_with(Instant::now);
                    longest = longest.max(since.elapsed());
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(Duration::from_millis(500)) => {}
        }
    }
    (longest, looks)
}
