use std::collections::BTreeMap;

use crate::compare::figures::*;

fn reading(round: usize, target: &str, value: f64) -> Reading {
    let values = BTreeMap::from([("cpu_us".to_owned(), value)]);
    let (test, case, target) = ("connect".to_owned(), "a".to_owned(), target.to_owned());
    Reading { round, test, case, target, values }
}

#[test]
fn the_median_is_the_middle_or_the_mean_of_both_in_the_middle() {
    let three = Summary { median: 2.0, min: 1.0, max: 9.0, rounds: 3 };
    assert_eq!(Summary::of(&[9.0, 1.0, 2.0]), Some(three));
    assert_eq!(Summary::of(&[4.0, 1.0, 2.0, 10.0]).map(|four| four.median), Some(3.0));
    assert_eq!(Summary::of(&[]), None);
}

#[test]
fn a_ratio_is_taken_within_each_round() {
    // The machine was twice as slow in the second round: the ratio of medians would say 0.75.
    let readings = Readings(vec![
        reading(1, "ours", 50.0),
        reading(1, "theirs", 100.0),
        reading(2, "ours", 100.0),
        reading(2, "theirs", 200.0),
        reading(3, "ours", 500.0), // without its partner
    ]);
    assert_eq!(readings.ratio("connect", "a", ["ours", "theirs"], "cpu_us"), Some(0.5));
    assert_eq!(readings.ratio("connect", "a", ["ours", "nobody"], "cpu_us"), None);
    assert_eq!(readings.ratio("connect", "b", ["ours", "theirs"], "cpu_us"), None);
    let summary = readings.summary("connect", "a", "theirs", "cpu_us").expect("two rounds");
    assert_eq!((summary.median, summary.rounds), (150.0, 2));
}

#[test]
fn what_is_added_is_told_within_each_round_too() {
    let readings = Readings(vec![
        reading(1, "hop", 180.0),
        reading(1, "direct", 100.0),
        reading(2, "hop", 300.0),
        reading(2, "direct", 240.0),
        reading(3, "direct", 9.0),
    ]);
    let added = readings.added("connect", "a", ["hop", "direct"], "cpu_us");
    assert_eq!(added, Some(Summary { median: 70.0, min: 60.0, max: 80.0, rounds: 2 }));
    assert_eq!(readings.added("connect", "a", ["hop", "nobody"], "cpu_us"), None);
}

#[test]
fn everybody_is_first_in_turn() {
    assert_eq!(rotated(&["a", "b", "c"], 1), ["a", "b", "c"]);
    assert_eq!(rotated(&["a", "b", "c"], 2), ["b", "c", "a"]);
    assert_eq!(rotated(&["a", "b", "c"], 4), ["a", "b", "c"]);
    assert!(rotated::<u8>(&[], 3).is_empty());
}
