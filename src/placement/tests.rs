use proptest::prelude::*;

use super::*;

fn candidate(name: &str, weight: f64, sessions: usize) -> Candidate {
    Candidate { name: name.parse().expect(name), weight, sessions, max_sessions: None }
}

fn even(count: usize) -> Vec<Candidate> {
    (0..count).map(|i| candidate(&format!("10.0.0.{i}"), 1.0, 0)).collect()
}

/// Candidates with weight by preference, best first (indices into `candidates`).
fn rank(device: DeviceId, candidates: &[Candidate]) -> Vec<usize> {
    let scored = candidates.iter().map(|c| (score(device, &c.name, c.weight), &c.name)).enumerate();
    let mut scored: Vec<_> = scored.filter(|(_, (score, _))| score.is_finite()).collect();
    scored.sort_unstable_by(|(_, a), (_, b)| preference(*a, *b));
    scored.into_iter().map(|(i, _)| i).collect()
}

/// A device of its own for each number.
fn device(number: u64) -> DeviceId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    DeviceId::from_bytes(bytes)
}

/// Scores computed by another implementation of XXH3 (Python's `xxhash` 4.1) and another logarithm:
/// a change of any of these moves every fleet.
#[test]
fn scores_are_pinned() {
    for (guid, name, weight, expected) in [
        ("4c4c4544-004d-4d10-8050-b2c04f325133", "10.0.0.11", 1.0, 0.34160187817285004),
        ("4c4c4544-004d-4d10-8050-b2c04f325133", "10.0.0.12", 2.0, 2.0147277850536027),
        ("4c4c4544-004d-4d10-8050-b2c04f325133", "fd00::1", 1.0, 0.7546320525628067),
        ("4c4c4544-004d-4d10-8050-b2c04f325133", "stack_mps.1.abc", 0.5, 27.416415152413148),
        ("d162b380-c330-11e3-82a5-40a8f0a2a536", "10.0.0.11", 1.0, 1.066152812659981),
        ("d162b380-c330-11e3-82a5-40a8f0a2a536", "10.0.0.12", 2.0, 0.5795329358885847),
        ("d162b380-c330-11e3-82a5-40a8f0a2a536", "fd00::1", 1.0, 0.5992173533685569),
        ("d162b380-c330-11e3-82a5-40a8f0a2a536", "stack_mps.1.abc", 0.5, 0.28588839806644867),
        ("00000000-0000-0000-0000-000000000000", "10.0.0.11", 1.0, 1.4933119471830567),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", "10.0.0.11", 1.0, 29.83664670860811),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", "fd00::1", 1.0, 52.54473069975683),
    ] {
        let scored = score(guid.parse().expect(guid), &name.parse().expect(name), weight);
        assert_eq!(scored, expected, "{guid} at {name}");
    }
}

#[test]
fn a_hundred_thousand_devices_spread_by_weight_within_two_percent() {
    const DEVICES: u64 = 100_000;
    let weights = [1.0, 1.0, 2.0, 4.0, 1.0, 1.0];
    let candidates: Vec<_> =
        weights.iter().enumerate().map(|(i, w)| candidate(&format!("mps-{i}"), *w, 0)).collect();
    let mut placed = [0usize; 6];
    for number in 0..DEVICES {
        placed[rank(device(number), &candidates)[0]] += 1;
    }
    for (weight, placed) in weights.iter().zip(placed) {
        let share = DEVICES as f64 * weight / weights.iter().sum::<f64>();
        assert!((placed as f64 / share - 1.0).abs() < 0.02, "{placed} of a share of {share}");
    }
}

#[test]
fn without_an_instance_only_its_own_devices_move() {
    let all = even(10);
    for gone in 0..all.len() {
        let mut left = all.clone();
        let removed = left.remove(gone);
        for number in 0..2_000 {
            let before = &all[rank(device(number), &all)[0]].name;
            let after = &left[rank(device(number), &left)[0]].name;
            assert!(before == after || *before == removed.name, "{before} -> {after}");
        }
    }
}

#[test]
fn below_the_cap_a_fleet_keeps_its_balance_whatever_order_it_comes_in() {
    let mut candidates = even(5);
    for number in (0..20_000).rev() {
        let caps = caps(&candidates);
        let order = rank(device(number), &candidates);
        let chosen = order.into_iter().find(|i| candidates[*i].sessions < caps[*i]);
        candidates[chosen.expect("the caps leave room for one more")].sessions += 1;
    }
    for candidate in &candidates {
        assert!((3_800..4_200).contains(&candidate.sessions), "{candidate:?}");
    }
}

#[test]
fn a_cap_is_a_quarter_above_the_fair_share_and_eight_but_a_hard_limit_is_hard() {
    let mut candidates = even(2);
    assert_eq!(caps(&candidates), [9, 9], "0.625 rounded up, and 8");
    candidates[0].sessions = 199;
    assert_eq!(caps(&candidates), [133, 133]);
    candidates[1].max_sessions = Some(50);
    assert_eq!(caps(&candidates), [133, 50]);
    candidates[1].weight = 3.0;
    candidates[1].max_sessions = None;
    assert_eq!(caps(&candidates), [71, 196]);
    candidates[1].weight = 0.0;
    assert_eq!(caps(&candidates), [258, 0], "without weight: no room, and no part in the shares");
}

#[test]
fn who_has_no_weight_gets_nothing() {
    let mut candidates = even(4);
    for (candidate, weight) in candidates.iter_mut().zip([0.0, -1.0, f64::NAN, f64::INFINITY]) {
        candidate.weight = weight;
    }
    assert_eq!(rank(device(1), &candidates), [0usize; 0]);
    candidates.push(candidate("10.0.0.9", 0.001, 0));
    assert_eq!(rank(device(1), &candidates), [4]);
}

fn fleets() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::btree_map("[a-z0-9.:]{1,40}", (0.01f64..100.0, 0usize..100_000), 1..30).prop_map(
        |fleet| {
            fleet.into_iter().map(|(name, (weight, sessions))| candidate(&name, weight, sessions)).collect()
        },
    )
}

proptest! {
    #[test]
    fn everyone_with_weight_is_ranked_once_by_falling_score(fleet in fleets(), guid: [u8; 16]) {
        let device = DeviceId::from_bytes(guid);
        let order = rank(device, &fleet);
        let scores: Vec<_> = order.iter().map(|i| score(device, &fleet[*i].name, fleet[*i].weight)).collect();
        prop_assert!(scores.iter().all(|s| s.is_finite() && *s > 0.0), "{scores:?}");
        prop_assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        let mut everyone = order;
        everyone.sort_unstable();
        prop_assert!(everyone.into_iter().eq(0..fleet.len()));
    }

    #[test]
    fn the_order_of_input_is_irrelevant(fleet in fleets(), guid: [u8; 16], by in 0usize..30) {
        let names = |fleet: &[Candidate]| -> Vec<_> {
            rank(DeviceId::from_bytes(guid), fleet).iter().map(|i| fleet[*i].name.clone()).collect()
        };
        let mut turned = fleet.clone();
        turned.rotate_left(by % fleet.len());
        prop_assert_eq!(names(&fleet), names(&turned));
        turned.reverse();
        prop_assert_eq!(names(&fleet), names(&turned));
    }

    #[test]
    fn the_caps_always_leave_room_for_one_more(fleet in fleets()) {
        let caps = caps(&fleet);
        prop_assert!(fleet.iter().zip(&caps).any(|(c, cap)| c.sessions < *cap), "{caps:?}");
    }
}
