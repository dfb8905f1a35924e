//! The gateway beside HAProxy and nginx, on one machine in the same minutes.
//!
//! `cargo bench --bench compare` is the long form, half an hour; `-- --short` shows that all of it works;
//! `-- --help` has the rest. `benches/compare/install` installs the peers (Debian, Ubuntu).
//!
//! What is compared first is CPU time of the proxy for each operation, out of `/proc`: it moves far less
//! than rates do when the machine has other work. The proxy has a CPU of its own; devices (`simulate
//! devices`) and instances (`simulate mps`) share another. Every measurement starts its target anew, in
//! an empty folder; targets alternate within a round, and each round another one begins. CPU and rates are
//! taken between two lines of the load, at full strength, connects and shutdown left out; latencies are
//! those of the whole load. Anything that failed, a wrong byte or (looked for in the idle test) a device
//! at the wrong instance ends the run with an error.

mod arguments;
mod figures;
mod house;
mod http;
mod load;
mod machine;
mod peers;
mod ports;
mod procfs;
mod program;
mod report;
mod said;
mod trials;

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use arguments::Arguments;
use figures::{Reading, Readings, rotated};
use house::{DEVICES, House};
use machine::{Cpus, Machine};
use peers::Target;
use report::Report;
use trials::{Bench, Trial};

/// This build's own program: the load, the instances and, unless told otherwise, the gateway.
const OWN: &str = env!("CARGO_BIN_EXE_mps-gateway");

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread: it starts all programs, which the kernel ends when the thread that started them ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            tokio::select! {
                done = compare(&arguments) => done,
                why = interrupted() => Err(why),
            }
        })
    });
    match done {
        Ok(markdown) => {
            println!("{markdown}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("compare: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Ends by a signal. What runs then is dropped, and so ended.
async fn interrupted() -> String {
    let listen =
        || Ok::<_, std::io::Error>((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?));
    let Ok((mut interrupt, mut terminate)) = listen() else { return "cannot listen to signals".to_owned() };
    tokio::select! {
        _ = interrupt.recv() => "interrupted".to_owned(),
        _ = terminate.recv() => "told to end".to_owned(),
    }
}

async fn compare(arguments: &Arguments) -> Result<String, String> {
    let own = Path::new(OWN);
    let trials = Trial::asked(arguments);
    if trials.is_empty() {
        return Err("nothing was asked for: --only fits no case".to_owned());
    }
    let targets = Target::all(arguments, own);
    let machine = Machine::look(Target::versions(&targets)?)?;
    let cpus = Cpus::claim()?;
    let room = machine::sessions(DEVICES);
    let house = House::build(own, cpus, room).await?;
    let bench = Bench {
        program: own,
        house: &house,
        window: arguments.window(),
        sessions: arguments.sessions(room),
        settle: arguments.settle(),
    };
    let mut report = Report {
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        command: command(),
        meaningful: !arguments.short && !cfg!(debug_assertions),
        machine,
        sessions: bench.sessions,
        targets: targets.iter().map(|target| target.name().to_owned()).collect(),
        summary: vec![],
        readings: Readings::default(),
    };
    let measured = measure(arguments, &trials, &targets, &bench, &mut report.readings).await;
    // What was measured before something went wrong is kept all the same.
    report.summarise();
    report.write(&arguments.out)?;
    measured?;
    check(arguments, &trials, &targets, &report)?;
    eprintln!("compare: the report is in {}", arguments.out.display());
    Ok(report.markdown())
}

async fn measure(
    arguments: &Arguments,
    trials: &[Trial],
    targets: &[Target],
    bench: &Bench<'_>,
    readings: &mut Readings,
) -> Result<(), String> {
    let rounds = trials.iter().map(|trial| arguments.rounds_of(trial.test)).max().unwrap_or(0);
    for round in 1..=rounds {
        for trial in trials.iter().filter(|trial| round <= arguments.rounds_of(trial.test)) {
            for target in rotated(targets, round).iter().filter(|target| trial.suits(target)) {
                let name = format!("{}, {}, {}", trial.test.name(), trial.case, target.name());
                let values =
                    trial.run(target, bench).await.map_err(|problem| format!("{name}: {problem}"))?;
                let shown: Vec<_> = values.iter().map(|(name, value)| format!("{name} {value:.1}")).collect();
                eprintln!("round {round}/{rounds}: {name}: {}", shown.join(", "));
                let (test, case) = (trial.test.name().to_owned(), trial.case.clone());
                readings.0.push(Reading { round, test, case, target: target.name().to_owned(), values });
            }
        }
    }
    Ok(())
}

/// Whether the report, read back, has every figure that was asked for.
fn check(arguments: &Arguments, trials: &[Trial], targets: &[Target], report: &Report) -> Result<(), String> {
    let read = Report::read(&arguments.out)?;
    let mut expected = Vec::new();
    for trial in trials {
        for target in targets.iter().filter(|target| trial.suits(target)) {
            let rounds = arguments.rounds_of(trial.test);
            let figures = trial.figures().iter();
            expected.extend(
                figures
                    .map(|figure| (trial.test.name(), trial.case.as_str(), target.name(), *figure, rounds)),
            );
        }
    }
    read.check(expected)?;
    let (written, kept) = (read.readings.0.len(), report.readings.0.len());
    if written != kept {
        return Err(format!("{kept} readings were made, {written} are in the report"));
    }
    Ok(())
}

/// How this run was asked for.
fn command() -> String {
    let words: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let dashes = if words.is_empty() { "" } else { " -- " };
    format!("cargo bench --bench compare{dashes}{}", words.join(" "))
}
