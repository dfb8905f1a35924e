//! What all MPS instances share: the accounts of devices, and a row for each that says who has it.
//!
//! Written as MPS writes it: a device that leaves clears its row, whoever has the device by now.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use crate::model::{DeviceId, Secret};

/// What a device must say to an MPS, and an MPS to the device's AMT.
#[derive(Clone, Debug)]
pub struct Account {
    /// User name of the CIRA login.
    pub user: String,
    /// Password of the CIRA login.
    pub password: Secret,
    /// User name of AMT's web services.
    pub amt_user: String,
    /// Password of AMT's web services.
    pub amt_password: Secret,
}

impl Default for Account {
    /// The account that simulated devices have unless told otherwise.
    fn default() -> Self {
        Self {
            user: "admin".into(),
            password: Secret::new("Passw0rd!"),
            amt_user: "admin".into(),
            amt_password: Secret::new("P@ssw0rd"),
        }
    }
}

/// The row of a device.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Row {
    /// Column `connectionstatus`.
    pub connected: bool,
    /// Column `mpsinstance`.
    pub instance: Option<String>,
}

/// Accounts and rows.
#[derive(Debug, Default)]
pub struct Database {
    everyone: Option<Account>,
    tables: RwLock<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    accounts: BTreeMap<DeviceId, Account>,
    rows: BTreeMap<DeviceId, Row>,
}

impl Database {
    /// Knows no device.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Knows every device there could be, each with `account`.
    pub fn of_everyone(account: Account) -> Self {
        Self { everyone: Some(account), ..Self::default() }
    }

    /// Adds a device, or changes its account.
    pub fn add(&self, device: DeviceId, account: Account) {
        let mut tables = self.tables.write();
        tables.accounts.insert(device, account);
        tables.rows.entry(device).or_default();
    }

    /// The account of a device; `None`: it is not known here.
    pub fn account(&self, device: DeviceId) -> Option<Account> {
        self.tables.read().accounts.get(&device).or(self.everyone.as_ref()).cloned()
    }

    /// The row of a device.
    pub fn row(&self, device: DeviceId) -> Option<Row> {
        self.tables.read().rows.get(&device).cloned()
    }

    /// All rows.
    pub fn rows(&self) -> Vec<(DeviceId, Row)> {
        self.tables.read().rows.iter().map(|(device, row)| (*device, row.clone())).collect()
    }

    pub(super) fn connected(&self, device: DeviceId, instance: &str) {
        let row = Row { connected: true, instance: Some(instance.to_owned()) };
        self.tables.write().rows.insert(device, row);
    }

    /// No look at who has the device now: MPS takes none either.
    pub(super) fn disconnected(&self, device: DeviceId) {
        self.tables.write().rows.insert(device, Row::default());
    }
}
