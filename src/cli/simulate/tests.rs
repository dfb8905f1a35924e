//! What is written on the command line, and what is shown.

use std::time::Duration;

use super::screen::table;
use super::units::{Bulk, bytes, count, duration, interval, rate, window};
use crate::sim::load::{Latencies, Percentiles, Summary, Work};

#[test]
fn bytes_have_units_of_1024() {
    for (text, expected) in [
        ("1", 1),
        ("4096", 4096),
        ("64KiB", 65_536),
        ("64k", 65_536),
        ("10M", 10 << 20),
        ("1GiB", 1 << 30),
        ("2TB", 2 << 40),
    ] {
        assert_eq!(bytes(text), Ok(expected), "{text}");
    }
    for text in ["", "0", "0GiB", "-1", "1.5M", "M", "1X", "1 M", "20000000TiB"] {
        assert!(bytes(text).is_err(), "{text}");
    }
    assert_eq!(window("1MiB"), Ok(1 << 20));
    assert!(window("511").is_err() && window("4GiB").is_err());
}

#[test]
fn rates_and_times_are_of_this_world() {
    assert_eq!((rate("0.5"), rate("2000")), (Ok(0.5), Ok(2000.0)));
    for text in ["0", "-1", "inf", "NaN", "1e9", "fast"] {
        assert!(rate(text).is_err(), "{text}");
    }
    assert_eq!((duration("0s"), duration("2m")), (Ok(Duration::ZERO), Ok(Duration::from_secs(120))));
    assert!(duration("30").is_err_and(|said| said.contains("30s")));
    assert!(duration("366days").is_ok() && duration("367days").is_err(), "no clock is asked for more");
    assert_eq!(interval("1ms"), Ok(Duration::from_millis(1)));
    assert!(interval("0s").is_err() && interval("999us").is_err(), "nothing else would be done");
    assert_eq!((count("1"), count("10000000")), (Ok(1), Ok(10_000_000)));
    for text in ["0", "-1", "10000001", "18446744073709551615", "many"] {
        assert!(count(text).is_err(), "{text}");
    }
}

#[test]
fn bulk_is_a_way_and_perhaps_a_size() {
    let work = |text: &str| text.parse::<Bulk>().map(|Bulk(work)| work);
    assert_eq!(work("up"), Ok(Work::Bulk { up: true, down: false, size: None }));
    assert_eq!(work("both:64KiB"), Ok(Work::Bulk { up: true, down: true, size: Some(65_536) }));
    assert_eq!(work("down:7"), Ok(Work::Bulk { up: false, down: true, size: Some(7) }));
    for text in ["", "sideways", "up:", "up:0", ":5", "up:5:5"] {
        assert!(work(text).is_err(), "{text}");
    }
}

#[test]
fn the_table_says_what_failed_and_how_long_things_took() {
    let took = Percentiles { count: 7, p50: 1.25, p90: 2.0, p99: 3.0, p999: 4.0, max: 5.5 };
    let summary = Summary {
        devices: 10,
        devices_proven: 7,
        connects: 7,
        held: 6,
        failed: [("login refused", 3)].into(),
        per_second: 3.5,
        latency_ms: Latencies { tcp: Some(took), tls: None, login: None, connect: None, echo: None },
        echoes: 0,
        ended: [("server: closed", 1)].into(),
        bulk_up: None,
        bulk_down: None,
        corrupt_blocks: 2,
        elapsed_s: 2.0,
        interrupted: false,
        all_well: false,
    };
    let text = table(&summary);
    for expected in [
        "7 of 10 devices logged in; 7 connects in 2.0 s, 3.5/s until the last of them; 6 held at the end",
        "tcp connect                7      1.25      2.00      3.00      4.00      5.50",
        "         3  login refused",
        "         1  server: closed",
        "2 blocks arrived CORRUPT",
        "NOT all went as asked",
    ] {
        assert!(text.contains(expected), "{expected}\nin\n{text}");
    }
    assert!(!text.contains("handshake"), "what was not measured is not shown");
}
