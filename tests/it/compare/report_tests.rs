use std::collections::BTreeMap;

use tempfile::TempDir;

use crate::compare::figures::*;
use crate::compare::machine::Machine;
use crate::compare::report::*;

fn reading(round: usize, test: &str, target: &str, figure: &str, value: f64) -> Reading {
    Reading {
        round,
        test: test.to_owned(),
        case: "one".to_owned(),
        target: target.to_owned(),
        values: BTreeMap::from([
            (figure.to_owned(), value),
            ("proxy_busy".to_owned(), 0.5),
            ("proxy_waited".to_owned(), 0.01),
            ("load_busy".to_owned(), 1.0),
        ]),
    }
}

fn report() -> Report {
    let mut report = Report {
        date: "2026-11-20T12:00:00Z".to_owned(),
        command: "cargo bench --bench compare".to_owned(),
        meaningful: true,
        machine: Machine { cpu: "a CPU".to_owned(), cpus: 2, ..Machine::default() },
        sessions: 300,
        targets: [GATEWAY, HAPROXY].map(str::to_owned).to_vec(),
        summary: vec![],
        readings: Readings(vec![
            reading(1, "connect", GATEWAY, "cpu_us", 500.0),
            reading(1, "connect", HAPROXY, "cpu_us", 1000.0),
            reading(2, "connect", GATEWAY, "cpu_us", 600.0),
            reading(2, "connect", HAPROXY, "cpu_us", 800.0),
            reading(1, "idle", GATEWAY, "rss_kib", 7.04),
        ]),
    };
    report.summarise();
    report
}

#[test]
fn every_row_has_a_cell_for_each_column_and_the_ratio_is_ours_to_haproxys() {
    let text = report().markdown();
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| ")).collect();
    assert!(rows.iter().all(|row| row.matches('|').count() == 5), "{text}");
    assert!(rows.contains(&"| What it costs | mps-gateway | HAProxy | x |"), "{text}");
    let costs = "| CPU µs of a connection: one | 550 (500-600) | 900 (800-1000) | 0.62 |";
    assert!(rows.contains(&costs), "{text}");
    assert!(rows.contains(&"| KiB of an idle session: one | 7.0 |  |  |"), "{text}");
    assert!(
        text.contains("- connect: proxies ran 50-50 % of the time and waited for their CPU 1-1 %"),
        "{text}"
    );
    assert!(!text.contains("mean nothing"), "{text}");
}

#[test]
fn the_hop_is_what_is_above_direct_and_has_a_cell_for_each_column() {
    let mut report = report();
    report.targets.push(DIRECT.to_owned());
    assert!(!report.markdown().contains("added"), "nothing was measured");
    for (target, value) in [(GATEWAY, 170.0), (HAPROXY, 180.0), (DIRECT, 80.0)] {
        report.readings.0.push(reading(1, "echo", target, "p50_us", value));
    }
    let text = report.markdown();
    assert!(text.contains("| µs added to an echo, p50: one | 90 | 100 |  |  |"), "{text}");
    assert!(text.contains("| µs of an echo, p50: one | 170 | 180 | 80 | 0.94 |"), "{text}");
}

#[test]
fn a_run_that_means_nothing_says_so() {
    let report = Report { meaningful: false, ..report() };
    assert!(report.markdown().contains("these figures mean nothing"));
}

#[test]
fn what_is_written_is_read_back_the_same() {
    let folder = TempDir::new().expect("a temporary folder");
    let written = report();
    written.write(&folder.path().join("new")).expect("written");
    assert_eq!(Report::read(&folder.path().join("new")), Ok(written));
    assert!(Report::read(folder.path()).is_err());
}

#[test]
fn a_missing_or_empty_figure_is_found() {
    let mut report = report();
    let ours = ("connect", "one", GATEWAY, "cpu_us", 2);
    assert_eq!(report.check([ours]), Ok(()));
    assert!(report.check([("connect", "one", GATEWAY, "cpu_us", 3)]).is_err(), "a round is missing");
    assert!(report.check([("connect", "one", GATEWAY, "per_s", 2)]).is_err(), "a figure is missing");
    for bad in [0.0, -1.0, f64::NAN] {
        report.readings.0[0].values.insert("cpu_us".to_owned(), bad);
        assert!(report.check([ours]).is_err(), "{bad}");
    }
}

#[test]
fn the_summary_has_a_line_for_each_figure_with_its_ratio() {
    let report = report();
    let find = |target: &str, figure: &str| {
        report
            .summary
            .iter()
            .find(|line| line.target == target && line.figure == figure && line.test == "connect")
    };
    let ours = find(GATEWAY, "cpu_us").expect("a line");
    assert_eq!(ours.summary.median, 550.0);
    assert_eq!(ours.times_haproxy, Some(0.625));
    assert_eq!(find(HAPROXY, "cpu_us").and_then(|line| line.times_haproxy), Some(1.0));
    assert_eq!(report.summary.len(), 3 * 4);
}
