//! Asks the gateway who owns each device, and compares with who really has it.

use std::collections::BTreeMap;

use hyper::StatusCode;
use tokio::time::Instant;

use super::ask::get;
use super::house::House;
use crate::model::DeviceId;

/// What the gateway said of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
    /// Nobody has it.
    Nobody,
    /// It gave no answer, or one without an owner.
    Nothing,
    /// This instance has it.
    Owner(String),
}

/// One device in one round.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    pub device: DeviceId,
    pub said: Said,
    /// Who has it, as the instances see it.
    pub really: Option<String>,
    /// The gateway named an instance that had the device neither before nor after it was asked.
    pub wrong: bool,
}

/// All devices in one round.
#[derive(Clone, Debug)]
pub struct Round {
    pub rows: Vec<Row>,
    /// Seconds since the demo began.
    pub at: f64,
    /// Answers asked for so far.
    pub asked: u64,
    /// Wrong ones among them.
    pub wrong: u64,
}

impl Round {
    /// Whether every device is where the gateway says, and nowhere at `gone`.
    pub fn all_found_but_at(&self, gone: Option<&str>) -> bool {
        self.rows.iter().all(|row| match (&row.said, &row.really) {
            (Said::Owner(said), Some(really)) => said == really && gone != Some(said.as_str()),
            _ => false,
        })
    }

    /// How many devices are at which instance, as the gateway says.
    pub fn owners(&self) -> BTreeMap<&str, usize> {
        let mut owners = BTreeMap::new();
        for row in &self.rows {
            if let Said::Owner(owner) = &row.said {
                *owners.entry(owner.as_str()).or_default() += 1;
            }
        }
        owners
    }
}

/// Counts over all rounds.
pub struct Watch {
    began: Instant,
    devices: Vec<DeviceId>,
    asked: u64,
    wrong: u64,
}

impl Watch {
    /// Nothing has been asked.
    pub fn new(house: &House) -> Self {
        let devices = house.devices.iter().map(|device| device.id()).collect();
        Self { began: Instant::now(), devices, asked: 0, wrong: 0 }
    }

    /// Wrong answers so far.
    pub const fn wrong(&self) -> u64 {
        self.wrong
    }

    /// Asks for every device once.
    pub async fn round(&mut self, house: &House) -> Round {
        let mut rows = Vec::with_capacity(self.devices.len());
        for &device in &self.devices {
            // Devices move while we ask: what was true at either end of the question is right.
            let holder = || house.holder(device).map(|mps| mps.name().to_owned());
            let before = holder();
            let said = owner(house, device).await;
            let really = holder();
            let wrong = matches!(&said, Said::Owner(owner)
                if before.as_ref() != Some(owner) && really.as_ref() != Some(owner));
            self.asked += u64::from(said != Said::Nothing);
            self.wrong += u64::from(wrong);
            rows.push(Row { device, said, really, wrong });
        }
        let at = self.began.elapsed().as_secs_f64();
        Round { rows, at, asked: self.asked, wrong: self.wrong }
    }

    /// Asks every device for its power state, at the instance that the gateway names: how many answer.
    pub async fn ask_devices(&self, house: &House) -> usize {
        let mut answered = 0;
        for &device in &self.devices {
            let Said::Owner(name) = owner(house, device).await else { continue };
            let Some(mps) = house.instances.iter().find(|mps| mps.name() == name) else { continue };
            let asked = get(mps.http(), vec![format!("/api/v1/amt/power/state/{device}")]).await;
            let on = |(status, body): &(StatusCode, serde_json::Value)| {
                *status == StatusCode::OK && body["powerstate"] == 2
            };
            answered += usize::from(asked.is_ok_and(|answers| answers.iter().all(on)));
        }
        answered
    }
}

async fn owner(house: &House, device: DeviceId) -> Said {
    let asked = get(house.admin, vec![format!("/admin/v1/devices/{device}")]).await;
    let Some((status, body)) = asked.ok().and_then(|mut answers| answers.pop()) else { return Said::Nothing };
    match (status, body["owner"].as_str()) {
        (StatusCode::OK, Some(owner)) => Said::Owner(owner.to_owned()),
        (StatusCode::NOT_FOUND, _) => Said::Nobody,
        _ => Said::Nothing,
    }
}
