//! What this replica owes the directory: claims not granted, releases not carried out, and what it
//! changed lately, in case a failover forgets it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::{DeviceId, SessionId, SessionKey};

/// Releases that wait at most; the oldest goes first. A release lost costs one "not connected".
const RELEASES: usize = 65_536;
/// When a release is repeated: by then a connection on which its claim may have waited has answered
/// or is given up.
const AGAIN: Duration = Duration::from_secs(10);
/// Changes remembered at most.
const CHANGES: usize = 131_072;
/// How long a change may be forgotten by a failover.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A change of the directory that was carried out.
#[derive(Clone, Copy)]
enum Change {
    Claimed(DeviceId),
    Released(DeviceId, SessionKey),
}

#[derive(Default)]
struct Debts {
    /// At most one for each session of ours.
    claims: HashMap<DeviceId, SessionId>,
    releases: VecDeque<(DeviceId, SessionKey)>,
    /// Releases to be repeated, and when.
    again: VecDeque<(Instant, DeviceId, SessionKey)>,
    changes: VecDeque<(Instant, Change)>,
}

/// The debts of one replica.
#[derive(Default)]
pub(super) struct Owed(Mutex<Debts>);

impl Owed {
    /// The session's claim is not granted.
    pub fn claim(&self, device: DeviceId, session: SessionId) {
        let mut debts = self.0.lock();
        let owed = debts.claims.entry(device).or_insert(session);
        *owed = (*owed).max(session); // never an older session's in place of a newer one's
    }

    /// Whether the session's claim is not granted.
    pub fn owes(&self, device: DeviceId, session: SessionId) -> bool {
        self.0.lock().claims.get(&device) == Some(&session)
    }

    /// The session's claim is settled, or the session is over. Answers whether it was owed.
    pub fn settled(&self, device: DeviceId, session: SessionId) -> bool {
        let mut debts = self.0.lock();
        let owed = debts.claims.get(&device) == Some(&session);
        if owed {
            debts.claims.remove(&device);
        }
        owed
    }

    /// Up to `most` of the claims owed.
    pub fn claims(&self, most: usize) -> Vec<(DeviceId, SessionId)> {
        self.0.lock().claims.iter().take(most).map(|(device, session)| (*device, *session)).collect()
    }

    /// How many claims are owed.
    pub fn pending(&self) -> usize {
        self.0.lock().claims.len()
    }

    /// The claim is to be released.
    pub fn release(&self, device: DeviceId, key: SessionKey) {
        let mut debts = self.0.lock();
        if debts.releases.len() == RELEASES {
            debts.releases.pop_front();
        }
        debts.releases.push_back((device, key));
    }

    /// The claim is to be released once more, later: it may be carried out after its first release.
    pub fn release_again(&self, device: DeviceId, key: SessionKey) {
        let mut debts = self.0.lock();
        if debts.again.len() == RELEASES {
            debts.again.pop_front();
        }
        debts.again.push_back((Instant::now() + AGAIN, device, key));
    }

    /// The oldest releases owed, up to `most`: they stay owed until [`Owed::released`].
    pub fn releases(&self, most: usize) -> Vec<(DeviceId, SessionKey)> {
        let mut debts = self.0.lock();
        while debts.again.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
            let due = debts.again.pop_front().map(|(_, device, key)| (device, key));
            debts.releases.extend(due);
        }
        debts.releases.iter().take(most).copied().collect()
    }

    /// These releases were carried out.
    pub fn released(&self, done: &[(DeviceId, SessionKey)]) {
        let now = Instant::now();
        let mut debts = self.0.lock();
        for release in done {
            if debts.releases.front() == Some(release) {
                debts.releases.pop_front();
            }
            debts.remember(now, Change::Released(release.0, release.1));
        }
    }

    /// The claim was granted.
    pub fn granted(&self, device: DeviceId) {
        self.0.lock().remember(Instant::now(), Change::Claimed(device));
    }

    /// Owes again every release of the last minute, and names the devices claimed in it.
    pub fn replay(&self) -> Vec<DeviceId> {
        let mut debts = self.0.lock();
        debts.forget(Instant::now());
        let changes = std::mem::take(&mut debts.changes);
        let mut claimed = Vec::new();
        for (_, change) in changes {
            match change {
                Change::Claimed(device) => claimed.push(device),
                Change::Released(device, key) => debts.releases.push_back((device, key)),
            }
        }
        let over = debts.releases.len().saturating_sub(RELEASES);
        debts.releases.drain(..over);
        claimed
    }
}

impl Debts {
    fn remember(&mut self, now: Instant, change: Change) {
        self.forget(now);
        if self.changes.len() == CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back((now, change));
    }

    fn forget(&mut self, now: Instant) {
        while self.changes.front().is_some_and(|(at, _)| now.duration_since(*at) > REMEMBERED) {
            self.changes.pop_front();
        }
    }
}
