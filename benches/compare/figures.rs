//! What the rounds came to: medians, extremes, and ratios within a round.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything read of one target in one trial of one round.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Reading {
    /// From 1.
    pub round: usize,
    /// `connect`, `idle`, `bulk` or `echo`.
    pub test: String,
    /// What of it: `TLS 1.2, X25519`.
    pub case: String,
    /// Who was measured.
    pub target: String,
    /// Figures by name; the unit is in the name.
    pub values: BTreeMap<String, f64>,
}

/// A figure over all rounds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many.
    pub rounds: usize,
}

impl Summary {
    /// `None`: of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        Some(Self { median, min, max, rounds: sorted.len() })
    }
}

/// All readings of a run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Readings(pub Vec<Reading>);

impl Readings {
    /// One figure of one target: a value for each round that has it.
    pub fn values(&self, test: &str, case: &str, target: &str, figure: &str) -> BTreeMap<usize, f64> {
        let meant =
            |reading: &&Reading| reading.test == test && reading.case == case && reading.target == target;
        let of = |reading: &Reading| Some((reading.round, *reading.values.get(figure)?));
        self.0.iter().filter(meant).filter_map(of).collect()
    }

    /// That figure over all rounds.
    pub fn summary(&self, test: &str, case: &str, target: &str, figure: &str) -> Option<Summary> {
        let values = self.values(test, case, target, figure);
        Summary::of(&values.into_values().collect::<Vec<_>>())
    }

    /// How many times the figure of `to` that of `target` is: the median of the ratios of each round,
    /// since what else the machine did then, it did to both.
    pub fn ratio(&self, test: &str, case: &str, pair: [&str; 2], figure: &str) -> Option<f64> {
        let ratio = |(value, base): (f64, f64)| (base > 0.0).then(|| value / base);
        let ratios: Vec<_> = self.pairs(test, case, pair, figure).into_iter().filter_map(ratio).collect();
        Summary::of(&ratios).map(|ratios| ratios.median)
    }

    /// By how much the figure of `target` is above that of `from`, within each round.
    pub fn added(&self, test: &str, case: &str, pair: [&str; 2], figure: &str) -> Option<Summary> {
        let added = |(value, base): (f64, f64)| value - base;
        Summary::of(&self.pairs(test, case, pair, figure).into_iter().map(added).collect::<Vec<_>>())
    }

    fn pairs(&self, test: &str, case: &str, [target, to]: [&str; 2], figure: &str) -> Vec<(f64, f64)> {
        let base = self.values(test, case, to, figure);
        let pair = |(round, value): (usize, f64)| Some((value, *base.get(&round)?));
        self.values(test, case, target, figure).into_iter().filter_map(pair).collect()
    }
}

/// Who is measured in which order in `round` (from 1): each round another one begins.
pub fn rotated<T: Clone>(all: &[T], round: usize) -> Vec<T> {
    let mut order = all.to_vec();
    if !order.is_empty() {
        order.rotate_left((round - 1) % all.len());
    }
    order
}
