//! The tests: what load, what is read before and after, and which figures follow from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::arguments::{Arguments, Test};
use crate::house::{House, Leg, device};
use crate::load::Load;
use crate::peers::{Running, Target};
use crate::procfs::{Cpu, Memory};
use crate::said::Progress;

/// Connects under way at once.
const IN_FLIGHT: usize = 64;
/// Devices that take turns in the connect test: nobody is back before its last session is forgotten.
const TURNS: usize = 512;
/// Sessions that are open before memory is read the first time: what is made once is not charged to each.
const WARM_UP: usize = 8;
/// Bytes of an echo.
const ECHO: usize = 64;
/// How long sessions may take to open.
const OPEN: Duration = Duration::from_secs(120);

/// What devices do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    Connect { version: &'static str, group: &'static str },
    Idle,
    Bulk { connections: usize, up: bool },
    Echo { connections: usize },
}

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What test it belongs to.
    pub test: Test,
    /// What of it.
    pub case: String,
    leg: Leg,
    work: Work,
    /// Whether the short form has it.
    short: bool,
}

impl Trial {
    fn new(test: Test, case: String, leg: Leg, work: Work, short: bool) -> Self {
        Self { test, case, leg, work, short }
    }

    /// Every trial there is, in the order of the report.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (group, group_name) in [("x25519", "X25519"), ("p256", "P-256")] {
            for version in ["1.2", "1.3"] {
                let case = format!("TLS {version}, {group_name}");
                let short = (version == "1.2") == (group == "x25519");
                all.push(Self::new(Test::Connect, case, Leg::Plain, Work::Connect { version, group }, short));
            }
        }
        for (leg, leg_name) in [(Leg::Plain, "to plain"), (Leg::Tls, "to TLS")] {
            all.push(Self::new(Test::Idle, leg_name.to_owned(), leg, Work::Idle, true));
        }
        for (leg, leg_name) in [(Leg::Plain, "to plain"), (Leg::Tls, "to TLS")] {
            for connections in [1, 16] {
                for up in [true, false] {
                    let case = format!("{connections} {}, {leg_name}", if up { "up" } else { "down" });
                    let short = (connections == 16) == up && up == (leg == Leg::Plain);
                    all.push(Self::new(Test::Bulk, case, leg, Work::Bulk { connections, up }, short));
                }
            }
        }
        for connections in [1, 64] {
            let work = Work::Echo { connections };
            all.push(Self::new(Test::Echo, format!("{connections} at once"), Leg::Plain, work, true));
        }
        all
    }

    /// Those that `arguments` ask for.
    pub fn asked(arguments: &Arguments) -> Vec<Self> {
        let wanted = |trial: &Self| {
            arguments.tests.contains(&trial.test)
                && trial.case.contains(&arguments.only)
                && (trial.short || !arguments.short)
        };
        Self::all().into_iter().filter(wanted).collect()
    }

    /// Whether it says anything about `target`: an instance is no proxy, and has no leg behind it.
    pub fn suits(&self, target: &Target) -> bool {
        match target {
            Target::Direct { .. } => self.leg == Leg::Plain && self.work != Work::Idle,
            Target::Gateway { .. } | Target::Haproxy | Target::Nginx => true,
        }
    }

    /// The figures of this trial that every target it suits must have.
    pub const fn figures(&self) -> &'static [&'static str] {
        match self.work {
            Work::Connect { .. } => &["cpu_us", "per_s", "p50_ms", "p99_ms"],
            Work::Idle => &["rss_kib", "pss_kib", "base_mib"],
            Work::Bulk { .. } => &["cpu_ns_per_kib", "mib_per_s"],
            Work::Echo { connections: 1 } => &["p50_us", "p99_us"],
            Work::Echo { .. } => &["cpu_us", "per_s"],
        }
    }

    /// Starts `target` and runs it once.
    pub async fn run(&self, target: &Target, bench: &Bench<'_>) -> Result<BTreeMap<String, f64>, String> {
        let mut running = target.start(bench.house, self.leg).await?;
        let values = match self.work {
            Work::Idle => self.idle(target, &running, bench).await,
            Work::Connect { .. } | Work::Bulk { .. } | Work::Echo { .. } => self.rate(&running, bench).await,
        };
        // A target that died explains itself better than what happened to the load.
        running.program.alive()?;
        values
    }

    fn options(&self) -> Vec<String> {
        let (version, group, rest) = match self.work {
            Work::Connect { version, group } => {
                let closed_loop = format!("--count {TURNS} --hold 0s --reconnect 0s");
                (version, group, closed_loop)
            }
            Work::Idle => ("1.3", "x25519", String::new()),
            Work::Bulk { connections, up } => {
                let way = if up { "up" } else { "down" };
                ("1.2", "x25519", format!("--count {connections} --bulk {way}"))
            }
            Work::Echo { connections } => ("1.2", "x25519", format!("--count {connections} --echo {ECHO}")),
        };
        let all = format!(
            "--tls-version {version} --group {group} --cipher aes256 --in-flight {IN_FLIGHT} --for 10m {rest}"
        );
        all.split_whitespace().map(str::to_owned).collect()
    }

    /// A load without end, of which the seconds between two of its lines are taken.
    async fn rate(&self, running: &Running, bench: &Bench<'_>) -> Result<BTreeMap<String, f64>, String> {
        let mut load = Load::start(bench.program, bench.house, running.address, &self.options())?;
        let mut first: Option<Mark> = None;
        let (first, last) = loop {
            let progress = load.progress().await?;
            let mark = Mark::here(progress, running, &load, bench.house.process(self.leg))?;
            match &first {
                None if self.begun(&progress) => first = Some(mark),
                None if progress.elapsed_s > OPEN.as_secs_f64() => break (mark.clone(), mark),
                None => {}
                Some(begin) => {
                    let elapsed = progress.elapsed_s - begin.progress.elapsed_s;
                    if elapsed + 0.1 >= bench.window.as_secs_f64() {
                        break (begin.clone(), mark);
                    }
                }
            }
        };
        let summary = load.stop().await?;
        self.figures_between(&first, &last, &summary)
    }

    /// Whether the load is at full strength.
    const fn begun(&self, progress: &Progress) -> bool {
        match self.work {
            Work::Connect { .. } | Work::Idle => progress.connects > 0,
            Work::Bulk { connections, .. } => {
                progress.connected >= connections as u64 && progress.bytes_up + progress.bytes_down > 0
            }
            Work::Echo { connections } => progress.connected >= connections as u64 && progress.echoes > 0,
        }
    }

    fn figures_between(
        &self,
        first: &Mark,
        last: &Mark,
        summary: &Value,
    ) -> Result<BTreeMap<String, f64>, String> {
        let seconds = last.progress.elapsed_s - first.progress.elapsed_s;
        let (begin, end) = (&first.progress, &last.progress);
        let cpu = last.target.since(&first.target)?;
        let load = last.load.since(&first.load)?;
        let done = match self.work {
            Work::Connect { .. } | Work::Idle => end.connects - begin.connects,
            Work::Bulk { .. } => (end.bytes_up + end.bytes_down) - (begin.bytes_up + begin.bytes_down),
            Work::Echo { .. } => end.echoes - begin.echoes,
        };
        if done == 0 || seconds <= 0.0 {
            return Err(format!("nothing was done in {seconds:.1} s: {summary}"));
        }
        let done = done as f64;
        let mut values = BTreeMap::new();
        values.insert("proxy_busy", cpu.as_secs_f64() / seconds);
        values.insert("proxy_waited", last.target.waited_since(&first.target).as_secs_f64() / seconds);
        values.insert("load_busy", load.as_secs_f64() / seconds);
        match self.work {
            Work::Bulk { .. } => {
                values.insert("cpu_ns_per_kib", cpu.as_secs_f64() * 1e9 * 1024.0 / done);
                values.insert("mib_per_s", done / seconds / f64::from(1 << 20));
            }
            Work::Echo { connections: 1 } => {} // latency is all there is to it
            Work::Connect { .. } | Work::Idle | Work::Echo { .. } => {
                values.insert("cpu_us", cpu.as_secs_f64() * 1e6 / done);
                values.insert("per_s", done / seconds);
            }
        }
        let latency = match self.work {
            Work::Connect { .. } => Some(("connect", 1.0, ["p50_ms", "p99_ms"])),
            Work::Echo { connections: 1 } => Some(("echo", 1000.0, ["p50_us", "p99_us"])),
            Work::Bulk { .. } | Work::Echo { .. } | Work::Idle => None,
        };
        if let Some((of, of_a_ms, names)) = latency {
            for (name, percentile) in names.into_iter().zip(["p50", "p99"]) {
                let ms = summary["latency_ms"][of][percentile].as_f64();
                let ms = ms.ok_or_else(|| format!("no latency_ms.{of}.{percentile} in {summary}"))?;
                values.insert(name, ms * of_a_ms);
            }
        }
        Ok(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Memory with many sessions, less what it was with few, for each of those that came in between.
    async fn idle(
        &self,
        target: &Target,
        running: &Running,
        bench: &Bench<'_>,
    ) -> Result<BTreeMap<String, f64>, String> {
        if bench.sessions <= WARM_UP {
            return Err(format!("{} sessions are too few, {WARM_UP} are there before", bench.sessions));
        }
        let memory = || Memory::of(running.program.pid()).map_err(|error| error.to_string());
        let warm_up = self.open(running, bench, WARM_UP).await?;
        let devices: Vec<_> = (0..WARM_UP).map(device).collect();
        target.check_routes(running, bench.house, self.leg, &devices).await?;
        sleep(bench.settle).await;
        let before = memory()?;
        warm_up.stop().await?;
        let many = self.open(running, bench, bench.sessions).await?;
        sleep(bench.settle).await;
        let after = memory()?;
        many.stop().await?;
        let each =
            |after: u64, before: u64| (after as f64 - before as f64) / (bench.sessions - WARM_UP) as f64;
        Ok(BTreeMap::from([
            ("rss_kib".to_owned(), each(after.rss, before.rss)),
            ("pss_kib".to_owned(), each(after.pss, before.pss)),
            ("base_mib".to_owned(), before.rss as f64 / 1024.0),
        ]))
    }

    /// Devices that stay, and say nothing once they are logged in.
    async fn open(&self, running: &Running, bench: &Bench<'_>, count: usize) -> Result<Load, String> {
        let mut options = self.options();
        options.extend(["--count".to_owned(), count.to_string()]);
        let mut load = Load::start(bench.program, bench.house, running.address, &options)?;
        loop {
            let progress = load.progress().await?;
            if progress.connected >= count as u64 {
                return Ok(load);
            }
            if progress.failed > 0 || progress.elapsed_s > OPEN.as_secs_f64() {
                let summary = load.stop().await?;
                return Err(format!("{} of {count} sessions are open: {summary}", progress.connected));
            }
        }
    }
}

/// What all trials of a run share.
pub struct Bench<'a> {
    /// The load: this build's own.
    pub program: &'a Path,
    /// Certificate, devices, instances.
    pub house: &'a House,
    /// How long is measured.
    pub window: Duration,
    /// Idle sessions.
    pub sessions: usize,
    /// How long they are left alone.
    pub settle: Duration,
}

/// Everything that is read at one moment.
#[derive(Clone)]
struct Mark {
    progress: Progress,
    target: Cpu,
    load: Cpu,
}

impl Mark {
    fn here(progress: Progress, running: &Running, load: &Load, instances: u32) -> Result<Self, String> {
        let target =
            Cpu::of([running.program.pid()]).map_err(|error| running.program.failed(&error.to_string()))?;
        let load = Cpu::of([instances, load.pid()]).map_err(|error| format!("the load: {error}"))?;
        Ok(Self { progress, target, load })
    }
}
