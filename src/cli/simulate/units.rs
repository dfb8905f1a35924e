//! Values as people write them.

use std::str::FromStr;
use std::time::Duration;

use crate::sim::load::Work;

/// Longest time that anybody means: clocks do not reach for ever.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Shortest interval or patience: with none at all a device would do nothing else.
const SHORTEST: Duration = Duration::from_millis(1);

/// A time with its unit: `30s`, `2m`, `250ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time <= LONGEST => Ok(time),
        Ok(_) => Err("expected at most 366days".to_owned()),
        Err(error) => Err(format!("{error} (write 30s, 2m, 250ms)")),
    }
}

/// A time that is more than none.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < SHORTEST { Err("expected at least 1ms".to_owned()) } else { Ok(time) }
}

/// A number of devices or of connects: no more than one process can have.
pub(super) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=10_000_000) => Ok(count),
        _ => Err("expected a number from 1 to 10000000".to_owned()),
    }
}

/// A number of connects a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0.001 to 1000000".to_owned()),
    }
}

/// A number of bytes: `4096`, `64KiB`, `10M`, `1GiB`. Units are powers of 1024, with or without `iB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let expected = || "expected a number of bytes, at least 1: 4096, 64KiB, 10M, 1GiB".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).ok_or_else(expected)
}

/// Receive windows, in bytes.
pub(super) fn window(text: &str) -> Result<u32, String> {
    match bytes(text).map(u32::try_from) {
        Ok(Ok(window)) if window >= 512 => Ok(window),
        _ => Err("expected 512 bytes to 4 GiB".to_owned()),
    }
}

/// `up`, `down` or `both`, and perhaps `:SIZE`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bulk(pub Work);

impl FromStr for Bulk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ways, size) = match text.split_once(':') {
            Some((ways, size)) => (ways, Some(bytes(size)?)),
            None => (text, None),
        };
        let (up, down) = match ways {
            "up" => (true, false),
            "down" => (false, true),
            "both" => (true, true),
            _ => return Err("expected up, down or both, and perhaps :SIZE".to_owned()),
        };
        Ok(Self(Work::Bulk { up, down, size }))
    }
}
