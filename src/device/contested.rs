//! Contested GUIDs: cloned boards that throw each other out for ever.
//!
//! More than 3 takeovers within a minute, between at least 2 sources, each of a session that was
//! active within that minute: the device that is there stays while it is active, and newcomers are
//! closed after the preamble, for 30 s the first time, twice as long each further time, at most
//! 10 min. What one replica sees is what it acts on. Pure: the clock is an argument.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::DeviceId;

/// Takeovers count for so long; a session heard within so long is active.
pub const WINDOW: Duration = Duration::from_secs(60);

/// More takeovers than this within the window make a conflict.
const TAKEOVERS: usize = 3;

/// How long newcomers are closed the first time, and at most.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(600);

/// A GUID that was at peace for so long begins anew.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// GUIDs remembered. Only who logs in can take over, so this is not for strangers to fill.
const ENTRIES: usize = 10_000;

/// One session gave way to another.
#[derive(Clone, Copy, Debug)]
pub struct Takeover {
    /// Where the displaced session called from.
    pub displaced: IpAddr,
    /// How long ago the displaced session's device was last heard.
    pub silence: Duration,
    /// Where the newer one called from; `None`: at another replica.
    pub by: Option<IpAddr>,
}

/// Which GUIDs are contested.
#[derive(Default)]
pub struct Contested {
    devices: HashMap<DeviceId, Conflict>,
}

struct Conflict {
    /// The latest, at most one more than [`TAKEOVERS`]: when, from whom, by whom.
    takeovers: VecDeque<(Instant, IpAddr, Option<IpAddr>)>,
    /// How often it was contested so far.
    times: u32,
    /// Newcomers are closed until then.
    until: Option<Instant>,
}

impl Conflict {
    fn last(&self) -> Instant {
        let (last, ..) = self.takeovers.back().expect("an entry begins with a takeover");
        self.until.map_or(*last, |until| until.max(*last))
    }

    /// Whether at least two sources take part. Who called at another replica is not known here: it may
    /// be the same device.
    fn between_sources(&self) -> bool {
        let (_, first, _) = self.takeovers[0];
        self.takeovers
            .iter()
            .any(|(_, displaced, by)| *displaced != first || by.is_some_and(|by| by != first))
    }
}

impl Contested {
    /// A session of `device` gave way to another. Answers for how long newcomers will be closed, if
    /// the GUID is contested from now on and was not before.
    pub fn takeover(&mut self, device: DeviceId, takeover: Takeover, now: Instant) -> Option<Duration> {
        if takeover.silence >= WINDOW {
            return None; // a device that reconnects before its old session was noticed to be dead
        }
        if self.devices.len() >= ENTRIES && !self.devices.contains_key(&device) {
            self.make_room(now);
        }
        let conflict = self.devices.entry(device).or_insert_with(|| Conflict {
            takeovers: VecDeque::with_capacity(TAKEOVERS + 1),
            times: 0,
            until: None,
        });
        if conflict.takeovers.len() > TAKEOVERS {
            conflict.takeovers.pop_front();
        }
        conflict.takeovers.push_back((now, takeover.displaced, takeover.by));
        let recent = conflict.takeovers.iter().all(|(at, ..)| now.saturating_duration_since(*at) <= WINDOW);
        let already = conflict.until.is_some_and(|until| until > now);
        if already || !recent || conflict.takeovers.len() <= TAKEOVERS || !conflict.between_sources() {
            return None;
        }
        let closed = FIRST.saturating_mul(1 << conflict.times.min(16)).min(LONGEST);
        conflict.times += 1;
        conflict.until = Some(now + closed);
        Some(closed)
    }

    /// Whether newcomers with this GUID are closed now, as long as the one that is there is active.
    pub fn is_contested(&self, device: DeviceId, now: Instant) -> bool {
        self.devices.get(&device).and_then(|c| c.until).is_some_and(|until| until > now)
    }

    /// Those contested now.
    pub fn list(&self, now: Instant) -> Vec<DeviceId> {
        let contested = self.devices.iter().filter(|(_, c)| c.until.is_some_and(|until| until > now));
        contested.map(|(device, _)| *device).collect()
    }

    /// Forgets those long at peace.
    pub fn forget(&mut self, now: Instant) {
        self.devices.retain(|_, c| now.saturating_duration_since(c.last()) < FORGOTTEN);
    }

    fn make_room(&mut self, now: Instant) {
        self.forget(now);
        if self.devices.len() >= ENTRIES {
            let oldest = self.devices.iter().min_by_key(|(_, c)| c.last()).map(|(device, _)| *device);
            oldest.map(|device| self.devices.remove(&device));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u16) -> DeviceId {
        let [a, b] = number.to_be_bytes();
        DeviceId::from_bytes([a, b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    fn active(displaced: u8, by: u8) -> Takeover {
        Takeover { displaced: ip(displaced), silence: Duration::from_secs(5), by: Some(ip(by)) }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn two_clones_are_told_apart_from_a_device_that_reconnects() {
        let (mut contested, now) = (Contested::default(), Instant::now());
        for i in 0..3 {
            assert_eq!(contested.takeover(device(1), active(1 + i % 2, 2 - i % 2), now), None, "{i}");
        }
        assert!(!contested.is_contested(device(1), now));
        assert_eq!(contested.takeover(device(1), active(2, 1), now), Some(FIRST));
        assert!(contested.is_contested(device(1), now));
        assert_eq!(contested.list(now), [device(1)]);
        assert!(!contested.is_contested(device(1), now + FIRST), "it ends by itself");

        for _ in 0..20 {
            assert_eq!(contested.takeover(device(2), active(1, 1), now), None, "one source: it reconnects");
            let silent = Takeover { silence: WINDOW, ..active(1, 2) };
            assert_eq!(contested.takeover(device(3), silent, now), None, "nobody was there any more");
        }
    }

    #[test]
    fn slow_takeovers_are_no_conflict() {
        let (mut contested, mut now) = (Contested::default(), Instant::now());
        for i in 0..50 {
            assert_eq!(contested.takeover(device(1), active(1 + i % 2, 2 - i % 2), now), None);
            now += SECOND * 21; // three a minute
        }
    }

    #[test]
    fn one_device_that_flaps_between_two_replicas_is_not_contested_and_two_sources_here_are() {
        let (mut contested, now) = (Contested::default(), Instant::now());
        let elsewhere = Takeover { by: None, ..active(1, 1) };
        for _ in 0..20 {
            assert_eq!(contested.takeover(device(1), elsewhere, now), None, "who took over is not known");
        }
        let other = Takeover { by: None, ..active(2, 1) };
        assert_eq!(contested.takeover(device(1), other, now), Some(FIRST));
    }

    #[test]
    fn each_further_conflict_lasts_twice_as_long_up_to_ten_minutes() {
        let (mut contested, mut now, mut lasted) = (Contested::default(), Instant::now(), Vec::new());
        for i in 0..60 {
            if let Some(closed) = contested.takeover(device(1), active(1 + i % 2, 2 - i % 2), now) {
                lasted.push(closed.as_secs());
                now += closed;
            }
            now += SECOND;
        }
        assert_eq!(lasted[..7], [30, 60, 120, 240, 480, 600, 600]);
        now += FORGOTTEN + LONGEST;
        contested.forget(now);
        assert!(contested.devices.is_empty(), "an hour of peace is enough");
    }

    #[test]
    fn its_memory_is_bounded() {
        let (mut contested, now) = (Contested::default(), Instant::now());
        for number in 0..12_000 {
            contested.takeover(device(number), active(1, 2), now + SECOND * number.into() / 100);
        }
        assert_eq!(contested.devices.len(), ENTRIES);
        assert!(contested.devices.contains_key(&device(11_999)), "the oldest made room");
        assert!(!contested.devices.contains_key(&device(0)));
    }
}
