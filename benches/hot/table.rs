//! Runs what is measured under criterion, then beside its floors in turns, and prints the ratios.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use tokio::time::Instant;

/// Does its work so many times and says how long that took.
pub type Run<'a> = &'a mut dyn FnMut(u64) -> Duration;

/// Turns that each takes for the table.
const TURNS: usize = 101;
/// About how long a turn takes: less than what the kernel gives to anybody at once, so that most turns
/// pass undisturbed on a busy machine too.
const TURN: Duration = Duration::from_millis(1);

/// What is measured, and what came of it.
pub struct Table {
    criterion: Criterion,
    rows: Vec<Row>,
}

struct Row {
    part: String,
    floor: &'static str,
    /// Nanoseconds, of ours and of the floor.
    times: [f64; 2],
}

impl Table {
    /// As the arguments of this program say: criterion's own.
    pub fn from_args() -> Self {
        let criterion = Criterion::default()
            .sample_size(20)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(500))
            .configure_from_args();
        Self { criterion, rows: Vec::new() }
    }

    /// Measures `ours` and each of the `floors`, which work on the same input.
    pub fn part(
        &mut self,
        part: &str,
        throughput: Throughput,
        ours: Run<'_>,
        floors: &mut [(&'static str, Run<'_>)],
    ) {
        let mut group = self.criterion.benchmark_group(part);
        group.throughput(throughput);
        let mut each = |name: &str, run: Run<'_>| {
            let mut last = None;
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|times| {
                    let took = run(times);
                    last = (times > 1).then_some(took.as_secs_f64() / times as f64);
                    took
                });
            });
            last.map(|last| (TURN.as_secs_f64() / last.max(1e-10)).ceil() as u64)
        };
        let times = each("ours", ours);
        for (floor, run) in floors {
            // Both, unless a filter leaves one out or all run but once.
            if let (Some(ours_times), Some(times)) = (times, each(floor, *run)) {
                self.rows.push(in_turns(part, floor, (ours, ours_times), (*run, times)));
            }
        }
        group.finish();
    }

    /// Prints the table, if anything was measured.
    pub fn print(&mut self) {
        self.criterion.final_summary();
        if self.rows.is_empty() {
            return;
        }
        println!("| part | ours | floor | | ratio |\n| --- | ---: | --- | ---: | ---: |");
        for Row { part, floor, times: [ours, least] } in &self.rows {
            println!("| {part} | {} | {floor} | {} | {:.2} |", time(*ours), time(*least), ours / least);
        }
    }
}

/// Many short turns, of each the time that a quarter of the turns stayed below: whoever disturbs a turn
/// makes it slower, never faster, and the very fastest is luck.
fn in_turns(part: &str, floor: &'static str, ours: (Run<'_>, u64), least: (Run<'_>, u64)) -> Row {
    let sample = |(run, times): (Run<'_>, u64)| run(times).as_nanos() as f64 / times as f64;
    let turns = (0..TURNS).map(|_| (sample((&mut *ours.0, ours.1)), sample((&mut *least.0, least.1))));
    let (ours, least): (Vec<_>, Vec<_>) = turns.unzip();
    let times = [ours, least].map(|mut samples| {
        samples.sort_by(f64::total_cmp);
        samples[TURNS / 4]
    });
    Row { part: part.to_owned(), floor, times }
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ..1_000.0 => format!("{nanoseconds:.1} ns"),
        _ => format!("{:.2} µs", nanoseconds / 1_000.0),
    }
}

/// Does `work` so many times; what it returns counts as used.
pub fn timed<T>(times: u64, mut work: impl FnMut() -> T) -> Duration {
    let began = Instant::now();
    for _ in 0..times {
        std::hint::black_box(work());
    }
    began.elapsed()
}
