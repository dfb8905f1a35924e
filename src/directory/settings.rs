//! Settings of the directory and of a replica's part in it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::model::Secret;

/// Settings of the directory, checked by `config`. Only `url`, `replica_name` and credentials have
/// no default worth having; the times fit together (`lease` = 5 beats) and are seldom changed.
#[derive(Clone)]
pub struct Settings {
    /// `memory:`, `redis://[user:password@]host[:port][/db]` or `rediss://..` (TLS).
    pub url: String,
    /// First part of every key and channel: several fleets can share one Redis.
    pub prefix: String,
    /// What this replica is called in `s:info` (host name), for people.
    pub replica_name: String,
    /// ACL user; in place of the URL's.
    pub username: Option<String>,
    /// Password; in place of the URL's.
    pub password: Option<Secret>,
    /// PEM roots to trust for `rediss:`, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Look-ups and claims wait at most so long.
    pub budget: Duration,
    /// A connect to the store, TLS and greeting included.
    pub connect_timeout: Duration,
    /// How often a replica renews its lease, +-10 %.
    pub beat: Duration,
    /// How long a lease runs without being renewed; then its replica is suspect.
    pub lease: Duration,
    /// How long a replica is suspect before its sessions are judged gone.
    pub grace: Duration,
    /// For so long after the store returns no session is judged gone.
    pub hold: Duration,
    /// A resync ends after so long, whoever has not stated to be in sync.
    pub resync_limit: Duration,
    /// How long a look-up's answer is kept.
    pub cache_ttl: Duration,
    /// How long "nobody" is kept.
    pub cache_negative_ttl: Duration,
    /// How old an answer may be while the store is unreachable.
    pub cache_stale: Duration,
    /// Devices in the look-up cache.
    pub cache_entries: usize,
    /// Every record is asserted again once in this time, evenly spread.
    pub assert_every: Duration,
    /// A re-publish begins after a random part of this, so that replicas do not start together.
    pub republish_spread: Duration,
    /// Records a second of a re-publish.
    pub republish_rate: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "memory:".to_owned(),
            prefix: "mpsgw".to_owned(),
            replica_name: String::new(),
            username: None,
            password: None,
            ca_file: None,
            budget: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(1),
            beat: Duration::from_secs(2),
            lease: Duration::from_secs(10),
            grace: Duration::from_secs(30),
            hold: Duration::from_secs(5),
            resync_limit: Duration::from_secs(60),
            cache_ttl: Duration::from_secs(3),
            cache_negative_ttl: Duration::from_millis(500),
            cache_stale: Duration::from_secs(600),
            cache_entries: 65_536,
            assert_every: Duration::from_secs(600),
            republish_spread: Duration::from_secs(3),
            republish_rate: 20_000,
        }
    }
}

impl Settings {
    /// The URL without user and password, fit for logs.
    pub fn url_for_logs(&self) -> String {
        match self.url.split_once("://") {
            Some((scheme, rest)) => {
                let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let host = rest[..authority].rfind('@').map_or(0, |at| at + 1);
                format!("{scheme}://{}", &rest[host..authority])
            }
            None => self.url.clone(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.url_for_logs())
            .field("prefix", &self.prefix)
            .field("replica_name", &self.replica_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_ever_printed() {
        for url in
            ["redis://user:hunter2@redis:6379/1", "rediss://:hunter2@redis", "redis://hunter2@h?x=hunter2"]
        {
            let settings = Settings {
                url: url.to_owned(),
                password: Some(Secret::new("hunter2")),
                ..Settings::default()
            };
            let printed = format!("{settings:?} {:?} {}", settings.password, settings.url_for_logs());
            assert!(!printed.contains("hunter2"), "{printed}");
            assert!(settings.url_for_logs().contains("://"), "{printed}");
        }
    }
}
