//! Login back-off: who failed to log in too often waits, and nobody else.
//!
//! Failures count per source and per (network of the source, GUID), never per GUID alone: whoever
//! knows a device's GUID could otherwise lock it out. Nor does a source's failing keep away a GUID that
//! has not failed from there: a whole fleet may have one address. A network that proved a GUID within a
//! day may try that GUID whatever others there did. Pure: the clock is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use quick_cache::unsync::Cache;
use tokio::time::Instant;

use crate::model::DeviceId;

/// After a source failed so often at once, its GUIDs that failed of late wait: a whole site behind one
/// address may have a wrong password.
const SOURCE: Allowance = Allowance { failures: 60, forgives: Duration::from_secs(1) };

/// One GUID from one network may fail so often at once: two sessions full of wrong passwords.
const DEVICE: Allowance = Allowance { failures: 6, forgives: Duration::from_secs(30) };

/// Logins of one GUID from one network that instances judge at once. More could all be admitted before
/// the first of them has failed.
const UNDER_WAY: u8 = 2;

/// For so long a proof exempts its network.
const EXEMPT: Duration = Duration::from_secs(24 * 3600);

/// Entries of each kind; those longest out of use go first.
const ENTRIES: usize = 100_000;

/// A leaking bucket of failures.
struct Allowance {
    failures: u32,
    /// One failure is forgotten after so long.
    forgives: Duration,
}

impl Allowance {
    /// `paid`: until when failures are remembered, each for [`Allowance::forgives`].
    fn spent(&self, paid: Instant, now: Instant) -> bool {
        paid.saturating_duration_since(now) > self.forgives * (self.failures - 1)
    }

    fn fail(&self, paid: Option<Instant>, now: Instant) -> Instant {
        let most = now + self.forgives * self.failures;
        (paid.map_or(now, |paid| paid.max(now)) + self.forgives).min(most)
    }
}

/// The network a source belongs to: its /24, or /64.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) & !0xff).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

/// Who failed and who proved, of late.
pub struct Backoff {
    sources: Cache<IpAddr, Instant>,
    devices: Cache<(IpAddr, DeviceId), Instant>,
    proven: Cache<(IpAddr, DeviceId), Instant>,
    /// At most as many as there are connections.
    under_way: HashMap<(IpAddr, DeviceId), u8>,
}

impl Default for Backoff {
    fn default() -> Self {
        let (sources, devices, proven) = (Cache::new(ENTRIES), Cache::new(ENTRIES), Cache::new(ENTRIES));
        Self { sources, devices, proven, under_way: HashMap::new() }
    }
}

impl Backoff {
    /// Whether `source` may try to log `device` in now.
    pub fn admits(&self, source: IpAddr, device: DeviceId, now: Instant) -> bool {
        let key = (network(source), device);
        if self.exempt(&key, now) {
            return true;
        }
        let Some(failed) = self.devices.get(&key).copied().filter(|paid| *paid > now) else { return true };
        let source = self.sources.get(&source.to_canonical());
        !source.is_some_and(|paid| SOURCE.spent(*paid, now)) && !DEVICE.spent(failed, now)
    }

    fn exempt(&self, key: &(IpAddr, DeviceId), now: Instant) -> bool {
        self.proven.get(key).is_some_and(|proven| now.saturating_duration_since(*proven) < EXEMPT)
    }

    /// Whether an instance may judge a login of `device` from `source` now. If so, [`Backoff::end`]
    /// must follow.
    pub fn begin(&mut self, source: IpAddr, device: DeviceId, now: Instant) -> bool {
        if !self.admits(source, device, now) {
            return false;
        }
        let key = (network(source), device);
        let exempt = self.exempt(&key, now);
        let under_way = self.under_way.entry(key).or_default();
        if *under_way >= UNDER_WAY && !exempt {
            return false;
        }
        *under_way = under_way.saturating_add(1);
        true
    }

    /// A login that was begun has been judged, and told of, or its session is over.
    pub fn end(&mut self, source: IpAddr, device: DeviceId) {
        let key = (network(source), device);
        let Some(under_way) = self.under_way.get_mut(&key) else { return };
        *under_way = under_way.saturating_sub(1);
        if *under_way == 0 {
            self.under_way.remove(&key);
        }
    }

    /// An instance refused so many logins of `device` from `source`.
    pub fn failed(&mut self, source: IpAddr, device: DeviceId, logins: u32, now: Instant) {
        let (address, key) = (source.to_canonical(), (network(source), device));
        for _ in 0..logins {
            let paid = SOURCE.fail(self.sources.get(&address).copied(), now);
            self.sources.insert(address, paid);
            let paid = DEVICE.fail(self.devices.get(&key).copied(), now);
            self.devices.insert(key, paid);
        }
    }

    /// `device` proved itself from `source`.
    pub fn proved(&mut self, source: IpAddr, device: DeviceId, now: Instant) {
        let key = (network(source), device);
        self.proven.insert(key, now);
        self.devices.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    fn device(number: u8) -> DeviceId {
        DeviceId::from_bytes([number; 16])
    }

    #[test]
    fn a_guid_from_one_network_waits_after_six_failures_and_is_forgiven_one_by_one() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for _ in 0..6 {
            assert!(backoff.admits(ip("203.0.113.1"), device(1), now));
            backoff.failed(ip("203.0.113.1"), device(1), 1, now);
        }
        assert!(!backoff.admits(ip("203.0.113.1"), device(1), now));
        assert!(!backoff.admits(ip("203.0.113.77"), device(1), now), "its whole /24");
        assert!(backoff.admits(ip("203.0.113.1"), device(2), now), "another device from there may try");
        assert!(backoff.admits(ip("203.0.114.1"), device(1), now), "the device may try from elsewhere");
        let later = now + Duration::from_secs(31);
        assert!(backoff.admits(ip("203.0.113.1"), device(1), later));
        backoff.failed(ip("203.0.113.1"), device(1), 1, later);
        assert!(!backoff.admits(ip("203.0.113.1"), device(1), later), "only one was forgiven");
        assert!(backoff.admits(ip("203.0.113.1"), device(1), later + Duration::from_secs(200)));
    }

    #[test]
    fn nobody_locks_out_a_device_from_where_it_proved_itself() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let (home, next_door) = (ip("2001:db8::1"), ip("2001:db8::bad"));
        backoff.proved(home, device(1), now);
        for guid in 0..100 {
            backoff.failed(next_door, device(guid), 3, now);
            backoff.failed(home, device(guid), 3, now);
        }
        assert!(backoff.admits(home, device(1), now));
        assert!(!backoff.admits(home, device(2), now), "a device not proven there waits");
        let tomorrow = now + EXEMPT;
        backoff.failed(home, device(1), 60, tomorrow);
        assert!(!backoff.admits(home, device(1), tomorrow), "proof is forgotten after a day");
    }

    #[test]
    fn a_source_that_tries_many_guids_waits_and_its_neighbours_do_not() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for guid in 0..60 {
            backoff.failed(ip("198.51.100.7"), device(guid), 1, now);
        }
        assert!(!backoff.admits(ip("198.51.100.7"), device(20), now), "with a GUID that failed");
        assert!(!backoff.admits(ip("::ffff:198.51.100.7"), device(20), now), "however it is written");
        assert!(backoff.admits(ip("198.51.100.8"), device(20), now));
        assert!(backoff.admits(ip("198.51.100.7"), device(20), now + Duration::from_secs(2)));
    }

    #[test]
    fn a_device_that_never_failed_is_admitted_whatever_others_behind_its_address_do() {
        let (mut backoff, mut now) = (Backoff::default(), Instant::now());
        let balancer = ip("10.0.0.1");
        for second in 0..600u32 {
            for guid in 0..5 {
                backoff.failed(balancer, device((second % 50 * 5 + guid) as u8), 1, now);
            }
            assert!(backoff.admits(balancer, device(255), now), "second {second}");
            now += Duration::from_secs(1);
        }
    }

    #[test]
    fn two_logins_of_a_guid_from_one_network_are_judged_at_once_and_no_more() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let (here, next_door, elsewhere) = (ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.1.1"));
        assert!(backoff.begin(here, device(1), now) && backoff.begin(next_door, device(1), now));
        assert!(!backoff.begin(here, device(1), now));
        assert!(backoff.begin(here, device(2), now) && backoff.begin(elsewhere, device(1), now));
        backoff.end(next_door, device(1));
        assert!(backoff.begin(here, device(1), now));
        backoff.proved(here, device(1), now);
        assert!(backoff.begin(here, device(1), now), "a network that proved it is exempt");
        for _ in 0..3 {
            backoff.end(here, device(1));
        }
        backoff.end(here, device(2));
        backoff.end(elsewhere, device(1));
        assert!(backoff.under_way.is_empty());
    }

    #[test]
    fn its_memory_is_bounded_whoever_asks() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for source in 0..300_000u32 {
            backoff.failed(IpAddr::V4(source.into()), device(1), 1, now);
            backoff.proved(IpAddr::V4(source.into()), device(2), now);
        }
        for entries in [backoff.sources.len(), backoff.devices.len(), backoff.proven.len()] {
            assert!(entries <= ENTRIES, "{entries}");
        }
        assert!(backoff.sources.len() > ENTRIES / 2, "and it does remember");
    }

    #[test]
    fn a_thousand_failures_at_once_weigh_no_more_than_the_allowance() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        backoff.failed(ip("203.0.113.1"), device(1), 1_000, now);
        assert!(!backoff.admits(ip("203.0.113.1"), device(1), now));
        assert!(backoff.admits(ip("203.0.113.1"), device(1), now + DEVICE.forgives * 2));
    }
}
