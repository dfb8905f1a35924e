//! Whether the system lets us do what the settings promise.

use tracing::warn;

/// Files we need beside connections: listeners, Redis, admin connections, the runtime.
const OTHERS: u64 = 512;

/// Warns when the limit of open files is too small for `connections` of two files each.
pub fn check(connections: usize) {
    let needed = 2 * connections as u64 + OTHERS;
    let Some(limit) = open_files() else { return }; // no /proc: nothing to say
    if limit < needed {
        let serves = limit.saturating_sub(OTHERS) / 2;
        warn!(limit, needed, serves, "device.max-connections is more than the limit of open files allows");
    }
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
        check(usize::MAX / 4); // only warns
    }
}
