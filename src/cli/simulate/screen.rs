//! How a load run is shown: a bar on a terminal, lines elsewhere, JSON for programs.

use std::fmt::Write as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::say;
use crate::sim::load::{Bulk, LoadSettings, Percentiles, Progress, Summary, Work};

/// An event of `--json`: the value's fields beside its name.
#[derive(Serialize)]
struct Event<'a, T> {
    event: &'static str,
    #[serde(flatten)]
    value: &'a T,
}

/// Where a run is shown.
pub(super) struct Screen {
    form: Form,
    work: Work,
    last: Option<Progress>,
}

enum Form {
    Bar(ProgressBar),
    Json,
    Lines,
}

impl Screen {
    /// Standard output; the bar is drawn on standard error.
    pub fn of_stdout(json: bool, terminal: bool, settings: &LoadSettings) -> Self {
        let form = match (json, terminal) {
            (true, _) => Form::Json,
            (false, true) => Form::Bar(bar(settings)),
            (false, false) => Form::Lines,
        };
        Self { form, work: settings.work, last: None }
    }

    /// Shows how it is getting on.
    pub fn tell(&mut self, progress: &Progress) {
        match &self.form {
            Form::Json => say(&json("progress", progress)),
            Form::Lines => say(&self.line(progress)),
            Form::Bar(bar) => {
                bar.set_position(progress.connected);
                bar.set_message(self.line(progress));
            }
        }
        self.last = Some(progress.clone());
    }

    /// Shows what it came to.
    pub fn sum_up(self, summary: &Summary) {
        match self.form {
            Form::Json => say(&json("summary", summary)),
            Form::Lines => say(&table(summary)),
            Form::Bar(bar) => {
                bar.finish_and_clear();
                say(&table(summary));
            }
        }
    }

    fn line(&self, now: &Progress) -> String {
        let (seconds, before) = match &self.last {
            Some(last) => (now.elapsed_s - last.elapsed_s, Some(last)),
            None => (now.elapsed_s, None),
        };
        let rate = |of: fn(&Progress) -> u64| {
            let more = of(now) - before.map_or(0, of);
            if seconds > 0.0 { more as f64 / seconds } else { 0.0 }
        };
        let mut line = format!(
            "{:6.1} s  {} connected, {} connects ({:.0}/s), {} failed",
            now.elapsed_s,
            now.connected,
            now.connects,
            rate(|progress| progress.connects),
            now.failed
        );
        let mib = f64::from(1 << 20);
        // A string takes everything.
        let _ = match self.work {
            Work::Nothing => Ok(()),
            Work::Bulk { .. } => write!(
                line,
                ", {:.0} MiB/s up, {:.0} MiB/s down",
                rate(|progress| progress.bytes_up) / mib,
                rate(|progress| progress.bytes_down) / mib
            ),
            Work::Echo(_) => write!(line, ", {:.0} echoes/s", rate(|progress| progress.echoes)),
        };
        line
    }
}

fn bar(settings: &LoadSettings) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}");
    let bar = ProgressBar::with_draw_target(Some(settings.count as u64), ProgressDrawTarget::stderr());
    bar.set_style(style.expect("the template is a constant"));
    bar
}

fn json<T: Serialize>(event: &'static str, value: &T) -> String {
    serde_json::to_string(&Event { event, value }).expect("numbers and texts only")
}

/// The summary for people.
pub(super) fn table(summary: &Summary) -> String {
    let mut text = format!(
        "\n{} of {} devices logged in; {} connects in {:.1} s, {:.1}/s until the last of them; {} held at the end\n",
        summary.devices_proven,
        summary.devices,
        summary.connects,
        summary.elapsed_s,
        summary.per_second,
        summary.held
    );
    let latencies = &summary.latency_ms;
    let rows = [
        ("tcp connect", &latencies.tcp),
        ("tls handshake", &latencies.tls),
        ("login", &latencies.login),
        ("due to logged in", &latencies.connect),
        ("echo", &latencies.echo),
    ];
    if rows.iter().any(|(_, found)| found.is_some()) {
        text += &format!(
            "\n{:<18}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
            "ms", "count", "p50", "p90", "p99", "p99.9", "max"
        );
    }
    for (name, found) in rows {
        if let Some(Percentiles { count, p50, p90, p99, p999, max }) = found {
            text +=
                &format!("{name:<18}{count:>10}{p50:>10.2}{p90:>10.2}{p99:>10.2}{p999:>10.2}{max:>10.2}\n");
        }
    }
    for (way, found) in [("up", &summary.bulk_up), ("down", &summary.bulk_down)] {
        if let Some(Bulk { bytes, seconds, mib_per_s }) = found {
            text += &format!("\n{way}: {bytes} bytes in {seconds:.2} s, {mib_per_s:.1} MiB/s");
        }
    }
    if summary.corrupt_blocks > 0 {
        text += &format!("\n{} blocks arrived CORRUPT", summary.corrupt_blocks);
    }
    for (title, counted) in [("failed", &summary.failed), ("ended", &summary.ended)] {
        if !counted.is_empty() {
            text += &format!("\n{title}\n");
        }
        for (reason, count) in counted {
            text += &format!("{count:>10}  {reason}\n");
        }
    }
    text + if summary.all_well { "\nOK" } else { "\nNOT all went as asked" }
}
