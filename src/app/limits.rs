//! Whether the system lets us do what the settings promise.

use tracing::warn;

/// Files we need beside connections: listeners, Redis, admin connections, the runtime.
const OTHERS: u64 = 512;

/// How many of `connections`, which `key` asks for, of two files each, the limit of open files allows.
/// Warns if not all: with more, connects to instances would fail for want of a file, and every one of
/// them look broken.
pub fn allowed(key: &str, connections: usize) -> usize {
    let Some(limit) = open_files() else { return connections }; // no /proc: nothing to say
    let allowed = within(connections, limit);
    if allowed < connections {
        warn!(limit, connections, allowed, key, "the limit of open files allows less than the key asks for");
    }
    allowed
}

fn within(connections: usize, limit: u64) -> usize {
    let files = limit.saturating_sub(OTHERS) / 2;
    connections.min(usize::try_from(files).unwrap_or(usize::MAX)).max(1)
}

fn open_files() -> Option<u64> {
    soft_limit(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_first_number() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             95855                95855                processes \n\
                    Max open files            1024                 20000                files     \n";
        assert_eq!(soft_limit(text), Some(1024));
        assert_eq!(soft_limit("Max open files   unlimited   unlimited   files"), Some(u64::MAX));
        assert_eq!(soft_limit(""), None);
    }

    #[test]
    fn no_more_connections_than_there_are_files_for() {
        assert_eq!(within(100_000, 1024), 256);
        assert_eq!(within(100, 1024), 100);
        assert_eq!(within(100_000, u64::MAX), 100_000);
        assert_eq!(within(100_000, 10), 1, "it may still try");
        assert!(
            allowed("device.max-connections", usize::MAX) < usize::MAX / 2
                || open_files().is_none_or(|limit| limit == u64::MAX)
        );
    }
}
