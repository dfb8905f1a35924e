//! Everything a gateway is told before it starts, and again at each reload.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::net::instance_tls::Verify;
use crate::telemetry::Format;
use crate::{admin, api, device, directory, instances};

/// Settings of a whole gateway. A plane is open when its settings are there.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Probes, metrics, admin API.
    pub admin: Option<admin::Settings>,
    /// The api plane.
    pub api: Option<api::Settings>,
    /// The CIRA plane.
    pub device: Option<Device>,
    /// Who owns which device.
    pub directory: directory::Settings,
    /// How the gateway leaves.
    pub drain: DrainSettings,
    /// How certificates of instances are verified; `None`: sessions go to them in clear.
    pub instance_tls: Option<Verify>,
    /// Who is behind us.
    pub instances: instances::Settings,
    /// What is logged.
    pub log: Log,
    /// Keys that only a restart changes.
    pub restart: RestartKeys,
}

/// The device plane and what it shows.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its certificate.
    pub certificate: Certificate,
    /// Its bounds.
    pub settings: device::Settings,
}

/// Where a plane's certificate comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Certificate {
    /// PEM files, read again when their content changes.
    Files {
        /// Leaf, then chain.
        certificate: PathBuf,
        /// The leaf's key.
        private_key: PathBuf,
    },
    /// One made up at start: only where no other replica must show the same.
    Generated,
}

/// How the gateway leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DrainSettings {
    /// Not ready, still accepting: time for the balancer to notice.
    pub notice: Duration,
    /// Sessions leave by turns over this time.
    pub window: Duration,
}

/// What is logged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// In `tracing`'s EnvFilter syntax.
    pub filter: String,
    /// `None`: text on a terminal, JSON otherwise.
    pub format: Option<Format>,
}

/// Keys that only a restart changes, each with a fingerprint of its value (never the value: some are
/// secrets). Comparing two of these names what a reload could not do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RestartKeys(pub BTreeMap<&'static str, u64>);

impl RestartKeys {
    /// The keys whose value in `newer` is another.
    pub fn changed(&self, newer: &Self) -> Vec<&'static str> {
        let keys = self.0.keys().chain(newer.0.keys().filter(|key| !self.0.contains_key(*key)));
        keys.filter(|key| self.0.get(*key) != newer.0.get(*key)).copied().collect()
    }
}

/// Reads the settings again for a reload; on failure every problem, a line each.
pub type Source = Arc<dyn Fn() -> Result<Settings, Vec<String>> + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_named() {
        let keys = |pairs: &[(&'static str, u64)]| RestartKeys(pairs.iter().copied().collect());
        let older = keys(&[("admin.listen", 1), ("directory.url", 2), ("drain.window", 3)]);
        let newer = keys(&[("device.listen", 9), ("directory.url", 5), ("drain.window", 3)]);
        assert_eq!(older.changed(&newer), ["admin.listen", "directory.url", "device.listen"]);
        assert_eq!(older.changed(&older), [""; 0]);
    }
}
