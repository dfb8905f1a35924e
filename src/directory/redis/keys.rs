//! Names of keys and channels. A public contract: other programs may read them.

use crate::model::{DeviceId, ReplicaId};

/// Names under one prefix. All but records share the hash tag `{reg}`: one slot in a cluster.
pub(super) struct Keys {
    pub schema: String,
    /// Leases of replicas: sorted set, replica -> end in ms.
    pub leases: String,
    /// What replicas say of themselves: hash, replica -> JSON.
    pub infos: String,
    /// Version of the two above, and the channel that carries it.
    pub version: String,
    /// What the data is called: a random name, another one after every loss of all data.
    pub data: String,
    /// What the channel of a replica begins with.
    pub channels: String,
    /// What the key of a record begins with.
    records: String,
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        let registry = |name: &str| format!("{prefix}:{{reg}}:{name}");
        Self {
            schema: registry("schema"),
            leases: registry("s:hb"),
            infos: registry("s:info"),
            version: registry("s:ver"),
            data: registry("data"),
            channels: format!("{prefix}:sup:"),
            records: format!("{prefix}:d:"),
        }
    }

    /// The key of a device's record.
    pub fn record(&self, device: DeviceId) -> String {
        format!("{}{device}", self.records)
    }

    /// The device whose record has this key. One spelling only.
    pub fn device(&self, key: &str) -> Option<DeviceId> {
        let text = key.strip_prefix(&self.records)?;
        let device: DeviceId = text.parse().ok()?;
        (!text.bytes().any(|b| b.is_ascii_uppercase())).then_some(device)
    }

    /// The channel on which a replica hears which of its sessions were displaced.
    pub fn channel(&self, replica: ReplicaId) -> String {
        format!("{}{replica}", self.channels)
    }

    /// The replica whose channel this is.
    pub fn listener(&self, channel: &str) -> Option<ReplicaId> {
        channel.strip_prefix(&self.channels)?.parse().ok()
    }

    /// A pattern that every record's key matches (and perhaps others do), whatever is in the prefix.
    pub fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.records.len() + 1);
        for c in self.records.chars() {
            if "*?[]\\^-".contains(c) {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('*');
        pattern
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_as_its_device() {
        let device = DeviceId::from_bytes([0xab; 16]);
        for prefix in ["mpsgw", "a:b", "*"] {
            let keys = Keys::new(prefix);
            assert_eq!(keys.record(device), format!("{prefix}:d:abababab-abab-abab-abab-abababababab"));
            assert_eq!(keys.device(&keys.record(device)), Some(device));
            assert_eq!(keys.device("d:abababab-abab-abab-abab-abababababab"), None);
            assert_eq!(keys.device(&keys.record(device).to_uppercase()), None);
            let replica = ReplicaId::new(7);
            assert_eq!(keys.listener(&keys.channel(replica)), Some(replica));
            assert_eq!(keys.listener("other:sup:aaaaaaaa"), None);
        }
        assert_eq!(Keys::new("a*").pattern(), "a\\*:d:*");
    }
}
