//! The decision itself: pure arithmetic over what was known at one moment.

use std::sync::Arc;

use super::Why;
use crate::instances::{Instance, State};
use crate::model::InstanceName;
use crate::placement::{self, Candidate};

/// What the directory said about a device's owner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Ownership {
    /// Nothing: it is away, or being filled again after a loss of data.
    Away,
    /// The device has no unreleased session.
    Nobody,
    /// The device's unreleased session ends there.
    Owner(InstanceName),
    /// Nothing, since no device is known: only where it calls from.
    Unasked,
}

/// One instance as it stands now.
pub(super) struct Known {
    pub instance: Arc<Instance>,
    /// Over all replicas.
    pub sessions: usize,
    /// A connect to it failed a moment ago.
    pub avoided: bool,
}

/// One instance, weighed for one device.
pub(super) struct Weighed {
    pub instance: Arc<Instance>,
    pub score: f64,
    pub sessions: usize,
    pub cap: usize,
    /// Why a device may go there, or why not.
    pub verdict: Result<Why, &'static str>,
}

/// Weighs everyone known for whom `key` tells apart: a device, or a source. First those that it may go
/// to, best first, then the others; both by falling score, but for the owner.
pub(super) fn weigh(key: &[u8; 16], owner: &Ownership, known: Vec<Known>) -> Vec<Weighed> {
    let candidates: Vec<_> = known.iter().map(candidate).collect();
    let caps = placement::caps(&candidates);
    let mut weighed: Vec<_> = known
        .into_iter()
        .zip(caps)
        .map(|(known, cap)| Weighed {
            score: placement::score_of(key, &known.instance.name, known.instance.weight),
            sessions: known.sessions,
            cap,
            verdict: verdict(&known, cap, owner),
            instance: known.instance,
        })
        .collect();
    weighed.sort_by(|a, b| {
        let order = |w: &Weighed| w.verdict.map_or(u8::MAX, order);
        order(a)
            .cmp(&order(b))
            .then_with(|| placement::preference((a.score, &a.instance.name), (b.score, &b.instance.name)))
    });
    weighed
}

/// Those that get no new devices have no part in the others' fair share either. (Who is avoided for a
/// moment has: its devices will be back.)
fn candidate(known: &Known) -> Candidate {
    let Instance { name, weight, max_sessions, state, .. } = &*known.instance;
    let weight = if *state == State::Up { *weight } else { 0.0 };
    Candidate { name: name.clone(), weight, sessions: known.sessions, max_sessions: *max_sessions }
}

fn verdict(known: &Known, cap: usize, owner: &Ownership) -> Result<Why, &'static str> {
    let Instance { name, weight, max_sessions, state, .. } = &*known.instance;
    match state {
        State::Down => return Err("down"),
        State::Draining => return Err("draining"),
        State::Up if known.avoided => return Err("avoided"),
        State::Up => {}
    }
    match owner {
        // Counts are as old as the directory's last word: every replica must compute the same.
        Ownership::Away if *weight > 0.0 => Ok(Why::DirectoryAway),
        Ownership::Away => Err("no-weight"),
        _ if max_sessions.is_some_and(|hard| known.sessions >= hard) => Err("full"),
        // An owner without weight gets no new devices, so its cap is 0.
        Ownership::Owner(owner) if owner == name && known.sessions < cap => Ok(Why::Owner),
        // Caps move with every session, and whoever has no name has nothing else to come back by.
        Ownership::Unasked if *weight > 0.0 => Ok(Why::Source),
        _ if weight.is_nan() || *weight <= 0.0 => Err("no-weight"),
        _ if known.sessions < cap => Ok(Why::Placed),
        _ => Ok(Why::OverCap),
    }
}

/// The order in which the kinds of candidates are tried.
const fn order(why: Why) -> u8 {
    match why {
        Why::Owner => 0,
        Why::DirectoryAway | Why::Placed | Why::Source => 1,
        Why::OverCap => 2,
    }
}
