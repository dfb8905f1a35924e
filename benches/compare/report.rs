//! The report: JSON with every reading, and Markdown with what they come to.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::figures::{Readings, Summary};
use super::machine::Machine;

/// What the gateway that the others are compared with is called.
pub const GATEWAY: &str = "mps-gateway";
/// The peer that routes as the gateway does: what ratios are taken to.
pub const HAPROXY: &str = "HAProxy";
/// A peer that does not route.
pub const NGINX: &str = "nginx";
/// No proxy.
pub const DIRECT: &str = "direct";

/// Everything about a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// When it began, RFC 3339.
    pub date: String,
    /// How it was asked for.
    pub command: String,
    /// Whether it was the long form of an optimised build, so that its figures mean something.
    pub meaningful: bool,
    /// Where it ran.
    pub machine: Machine,
    /// Idle sessions of the idle test.
    pub sessions: usize,
    /// Who was measured, in the order of the columns.
    pub targets: Vec<String>,
    /// Every figure over all rounds.
    pub summary: Vec<Line>,
    /// Every reading.
    pub readings: Readings,
}

/// One figure of one target over all rounds.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Line {
    /// Of which test.
    pub test: String,
    /// What of it.
    pub case: String,
    /// Whose.
    pub target: String,
    /// Its name; the unit is in it.
    pub figure: String,
    /// What it came to.
    #[serde(flatten)]
    pub summary: Summary,
    /// How many times HAProxy's: the median of the ratios within the rounds.
    pub times_haproxy: Option<f64>,
}

/// A kind of row: test, figure, what it is called, digits after the point.
type Row = (&'static str, &'static str, &'static str, usize);

/// What a proxy costs: moves little with what else the machine does.
const COSTS: &[Row] = &[
    ("connect", "cpu_us", "CPU µs of a connection", 0),
    ("idle", "rss_kib", "KiB of an idle session", 1),
    ("bulk", "cpu_ns_per_kib", "CPU ns of a KiB", 0),
    ("echo", "cpu_us", "CPU µs of an echo", 1),
];

/// What a machine gives: moves with its other work.
const RATES: &[Row] = &[
    ("connect", "per_s", "connections/s", 0),
    ("bulk", "mib_per_s", "MiB/s", 0),
    ("echo", "per_s", "echoes/s", 0),
    ("echo", "p50_us", "µs of an echo, p50", 0),
    ("echo", "p99_us", "µs of an echo, p99", 0),
];

impl Report {
    /// Fills in the summary of `readings`.
    pub fn summarise(&mut self) {
        let mut lines: Vec<Line> = Vec::new();
        for reading in &self.readings.0 {
            for figure in reading.values.keys() {
                let (test, case, target) = (&reading.test, &reading.case, &reading.target);
                let known = |line: &Line| {
                    (&line.test, &line.case, &line.target, &line.figure) == (test, case, target, figure)
                };
                if lines.iter().any(known) {
                    continue;
                }
                let Some(summary) = self.readings.summary(test, case, target, figure) else { continue };
                let times_haproxy = self.readings.ratio(test, case, [target, HAPROXY], figure);
                let (test, case, target) = (test.clone(), case.clone(), target.clone());
                lines.push(Line { test, case, target, figure: figure.clone(), summary, times_haproxy });
            }
        }
        self.summary = lines;
    }

    /// Two tables, ready for a README.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let versions: Vec<_> = self.machine.versions.values().map(String::as_str).collect();
        let Machine { cpu, cpus, kernel, load_before, .. } = &self.machine;
        let _ = writeln!(
            text,
            "{} on {cpus} CPUs ({cpu}), Linux {kernel}, load {load_before} before it began: `{}`  \n{}.",
            self.date,
            self.command,
            versions.join("; ")
        );
        if !self.meaningful {
            text.push_str("\n**A short run or a build without optimisation: these figures mean nothing.**\n");
        }
        let _ = writeln!(
            text,
            "\nMedian (smallest-largest) of {} interleaved rounds; x: the gateway's share of HAProxy's, median within rounds. \
             RSA-2048, full handshakes, AES-256-GCM, no logs. {HAPROXY}: one thread, routes by GUID; {NGINX}: one worker, \
             does not route. {DIRECT}: no proxy, the CPU is that of an end.\n",
            self.rounds()
        );
        text.push_str(&self.table("What it costs", COSTS));
        text.push('\n');
        text.push_str(&self.table("What this machine gave", RATES));
        text.push_str(&self.hop());
        let _ = write!(text, "\n{}", self.busy());
        text
    }

    fn rounds(&self) -> String {
        let rounds = |test: &str| {
            let of = self.readings.0.iter().filter(|reading| reading.test == test);
            of.map(|reading| reading.round).max()
        };
        let all: Vec<_> = ["connect", "idle", "bulk", "echo"].into_iter().filter_map(rounds).collect();
        match (all.iter().min(), all.iter().max()) {
            (Some(least), Some(most)) if least != most => format!("{least}-{most}"),
            (Some(rounds), _) => rounds.to_string(),
            _ => "no".to_owned(),
        }
    }

    /// The builds of the gateway that are compared with HAProxy; none if it was not measured.
    fn ours(&self) -> Vec<&str> {
        let compared = self.targets.iter().any(|target| target == HAPROXY);
        let ours = self.targets.iter().map(String::as_str).filter(|target| !is_peer(target));
        ours.filter(|_| compared).collect()
    }

    fn columns(&self) -> usize {
        1 + self.targets.len() + self.ours().len()
    }

    fn table(&self, name: &str, rows: &[Row]) -> String {
        let ours = self.ours();
        let mut head = vec![name.to_owned()];
        head.extend(self.targets.iter().cloned());
        let ratio = |target: &&str| if *target == GATEWAY { "x".to_owned() } else { format!("x {target}") };
        head.extend(ours.iter().map(ratio));
        let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
        for (test, figure, label, digits) in rows {
            for case in self.cases(test, figure) {
                let mut cells = vec![format!("{label}: {case}")];
                for target in &self.targets {
                    let summary = self.readings.summary(test, case, target, figure);
                    cells.push(summary.map_or_else(String::new, |summary| cell(&summary, *digits)));
                }
                cells.extend(ours.iter().map(|target| {
                    let ratio = self.readings.ratio(test, case, [target, HAPROXY], figure);
                    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
                }));
                let _ = writeln!(text, "| {} |", cells.join(" | "));
            }
        }
        text
    }

    /// The last row: what a proxy adds to the latency of an echo.
    fn hop(&self) -> String {
        let mut text = String::new();
        for case in self.cases("echo", "p50_us") {
            let added = |target: &String| {
                let added = self.readings.added("echo", case, [target, DIRECT], "p50_us");
                added.filter(|_| target != DIRECT).map_or_else(String::new, |added| cell(&added, 0))
            };
            let mut cells: Vec<_> = self.targets.iter().map(added).collect();
            if cells.iter().all(String::is_empty) {
                continue; // without `direct` there is nothing to add to
            }
            cells.resize(self.columns() - 1, String::new());
            let _ = writeln!(text, "| µs added to an echo, p50: {case} | {} |", cells.join(" | "));
        }
        text
    }

    fn cases(&self, test: &str, figure: &str) -> Vec<&str> {
        let mut cases: Vec<&str> = Vec::new();
        for reading in &self.readings.0 {
            let wanted = reading.test == test && reading.values.contains_key(figure);
            if wanted && !cases.contains(&reading.case.as_str()) {
                cases.push(&reading.case);
            }
        }
        cases
    }

    /// Who was the bottleneck, and how quiet the machine: rates say nothing of a proxy that waits for its
    /// load, and little of one that waits for its CPU.
    fn busy(&self) -> String {
        let mut text = String::new();
        for test in ["connect", "bulk", "echo"] {
            let range = |figure: &str| {
                let of =
                    self.readings.0.iter().filter(|reading| reading.test == test && reading.target != DIRECT);
                let values: Vec<_> = of.filter_map(|reading| reading.values.get(figure).copied()).collect();
                Summary::of(&values).map(|all| format!("{:.0}-{:.0} %", all.min * 100.0, all.max * 100.0))
            };
            let ranges = ["proxy_busy", "proxy_waited", "load_busy"].map(range);
            if let [Some(busy), Some(waited), Some(load)] = ranges {
                let _ = writeln!(
                    text,
                    "- {test}: proxies ran {busy} of the time and waited for their CPU {waited}; devices and \
                     instances ran {load}."
                );
            }
        }
        text
    }

    /// Writes `compare.json` and `compare.md` into `folder`.
    pub fn write(&self, folder: &Path) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(failed)?;
        let json = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        fs::write(folder.join("compare.json"), json).map_err(failed)?;
        fs::write(folder.join("compare.md"), self.markdown()).map_err(failed)
    }

    /// Reads it back, as written.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.join("compare.json");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Whether `expected` figures (test, case, target, figure, rounds) are all there, each a number
    /// above zero; else what is not.
    pub fn check<'a>(
        &self,
        expected: impl IntoIterator<Item = (&'a str, &'a str, &'a str, &'a str, usize)>,
    ) -> Result<(), String> {
        for (test, case, target, figure, rounds) in expected {
            let values = self.readings.values(test, case, target, figure);
            let name = format!("{figure} of {target} in {test}, {case}");
            if values.len() != rounds {
                return Err(format!("{name}: {} readings in {rounds} rounds", values.len()));
            }
            if let Some(bad) = values.values().find(|value| !value.is_finite() || **value <= 0.0) {
                return Err(format!("{name} is {bad}"));
            }
        }
        Ok(())
    }
}

fn is_peer(target: &str) -> bool {
    [HAPROXY, NGINX, DIRECT].contains(&target)
}

fn cell(summary: &Summary, digits: usize) -> String {
    let Summary { median, min, max, rounds } = *summary;
    if rounds == 1 {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
}
