//! `[directory]`.

use std::path::PathBuf;

use super::check::millis;
use super::read::{Reader, Wrong, text};
use crate::directory::Settings;

/// Reads it.
pub fn read(reader: &mut Reader<'_>) -> Settings {
    let url =
        reader.secret("directory.url").map_or_else(|| "memory:".to_owned(), |url| url.expose().to_owned());
    if let Err(wrong) = scheme(&url) {
        let key =
            if reader.is_written("directory.url-file") { "directory.url-file" } else { "directory.url" };
        reader.complain_of(key, wrong);
    }
    let _later: () = reader.value("directory.legacy-url", |raw| match text(raw)? {
        "" => Ok(()),
        _ => Err(Wrong::new("legacy databases are not in this build yet", "leave it empty")),
    });
    let ca_file = roots(reader);
    let beat = reader.duration("directory.beat", millis(50..=60_000));
    let lease = reader.duration("directory.lease", millis(100..=600_000));
    if lease < beat * 3 {
        let cure = "make it at least three times directory.beat: one lost beat must not end it";
        reader.complain("directory.lease", "too short for its beats", cure);
    }
    Settings {
        url,
        prefix: reader.value("directory.prefix", |raw| prefix(text(raw)?)),
        replica_name: replica_name(reader),
        username: reader.optional("directory.username", |raw| text(raw).map(str::to_owned)),
        password: reader.secret("directory.password"),
        ca_file,
        budget: reader.duration("directory.budget", millis(10..=10_000)),
        connect_timeout: reader.duration("directory.connect-timeout", millis(10..=60_000)),
        beat,
        lease,
        grace: reader.duration("directory.grace", millis(0..=600_000)),
        hold: reader.duration("directory.hold", millis(0..=600_000)),
        resync_limit: reader.duration("directory.resync-limit", millis(0..=3_600_000)),
        cache_ttl: reader.duration("directory.cache-ttl", millis(0..=60_000)),
        cache_negative_ttl: reader.duration("directory.cache-negative-ttl", millis(0..=60_000)),
        cache_stale: reader.duration("directory.cache-stale", millis(0..=86_400_000)),
        cache_entries: reader.count("directory.cache-entries", 1..=100_000_000),
        assert_every: reader.duration("directory.assert-every", millis(1_000..=86_400_000)),
        republish_spread: reader.duration("directory.republish-spread", millis(0..=600_000)),
        republish_rate: reader.count("directory.republish-rate", 1..=10_000_000),
    }
}

/// The file of `directory.ca`, if it can be used: who opens the directory reads it again.
fn roots(reader: &mut Reader<'_>) -> Option<PathBuf> {
    let path = reader.path("directory.ca")?;
    super::check::roots(reader, "directory.ca", &path);
    Some(path)
}

/// A URL is never shown: it may carry a password.
fn scheme(url: &str) -> Result<(), Wrong> {
    let cure = "write memory:, redis://host:6379/0 or rediss://host:6379/0";
    match url.split_once(':') {
        Some(("memory", "")) => Ok(()),
        Some(("redis" | "rediss", rest)) if rest.len() > 2 && rest.starts_with("//") => {
            if cfg!(feature = "redis") {
                Ok(())
            } else {
                Err(Wrong::new("this program was built without Redis", "build it with the feature `redis`"))
            }
        }
        Some((later, _)) if later.starts_with("redis-") => {
            Err(Wrong::new(format!("{later}: is not in this build yet"), cure))
        }
        _ => Err(Wrong::new("this is no directory we know", cure)),
    }
}

fn prefix(text: &str) -> Result<String, Wrong> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if (1..=32).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(Wrong::new(
            format!("{text:?} cannot begin a key"),
            "write 1 to 32 of letters, digits, '.', '_' and '-'",
        ))
    }
}

fn replica_name(reader: &mut Reader<'_>) -> String {
    let written = reader.value("directory.replica-name", |raw| match text(raw)? {
        name if name.len() <= 255 && !name.chars().any(char::is_control) => Ok(name.to_owned()),
        _ => Err(Wrong::new("too long, or not printable", "write at most 255 bytes of text")),
    });
    if written.is_empty() { host_name() } else { written }
}

/// The host's name as the kernel tells it; inside a container that is the container's or pod's.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}
