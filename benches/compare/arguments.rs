//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// The gateway beside HAProxy and nginx, under the same load in the same minutes.
///
/// Without options this is the long form, half an hour on a machine that does nothing else. The table
/// comes on standard output, with all readings as JSON beside it in --out.
#[derive(Clone, Debug, Parser)]
#[command(bin_name = "cargo bench --bench compare --")]
pub struct Arguments {
    /// One quick round of every test: shows that all of it works; its figures mean little.
    #[arg(long)]
    pub short: bool,
    /// Which tests.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "connect,idle,bulk,echo")]
    pub tests: Vec<Test>,
    /// Only cases whose name contains this, such as "TLS 1.2" or "16 up".
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
    /// Whom to measure beside the gateway.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "haproxy,nginx,direct")]
    pub peers: Vec<Peer>,
    /// The gateway to measure; without it the one this bench was built with.
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
    /// Another build of the gateway to measure beside it: `before=/tmp/mps-gateway`. Can be repeated.
    #[arg(long, value_name = "NAME=PATH", value_parser = named)]
    pub also: Vec<(String, PathBuf)>,
    /// Rounds [default: 5, short: 1].
    #[arg(long)]
    pub rounds: Option<NonZeroUsize>,
    /// Rounds of the idle test, which takes long and varies little [default: at most 3].
    #[arg(long)]
    pub idle_rounds: Option<NonZeroUsize>,
    /// Seconds of one measurement [default: 4, short: 1].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    pub duration: Option<u64>,
    /// Idle sessions [default: 5000 or what the limit of open files allows, short: 300].
    #[arg(long)]
    pub sessions: Option<usize>,
    /// Folder for the report.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/compare"))]
    pub out: PathBuf,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is tested.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Test {
    /// Connections: CPU of one from TCP to login, and close.
    Connect,
    /// Idle sessions: memory of each.
    Idle,
    /// Payload: CPU of a KiB.
    Bulk,
    /// Echoes: latency, and CPU of a round trip.
    Echo,
}

impl Test {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Idle => "idle",
            Self::Bulk => "bulk",
            Self::Echo => "echo",
        }
    }
}

/// Whom to measure beside the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Peer {
    /// One thread, routes by GUID through a map.
    Haproxy,
    /// One worker, does not route.
    Nginx,
    /// No proxy: the load straight at an instance that has the proxy's CPU.
    Direct,
}

impl Arguments {
    /// How many rounds `test` gets.
    pub fn rounds_of(&self, test: Test) -> usize {
        let rounds = self.rounds.map_or(if self.short { 1 } else { 5 }, NonZeroUsize::get);
        match test {
            Test::Idle => self.idle_rounds.map_or(rounds.min(3), NonZeroUsize::get),
            _ => rounds,
        }
    }

    /// How long one measurement takes.
    pub fn window(&self) -> Duration {
        Duration::from_secs(self.duration.unwrap_or(if self.short { 1 } else { 4 }))
    }

    /// Idle sessions, of which `room` are possible.
    pub fn sessions(&self, room: usize) -> usize {
        self.sessions.unwrap_or(if self.short { 300 } else { 5000 }).min(room)
    }

    /// How long idle sessions are left alone before memory is read: past the 10 s for which jemalloc
    /// keeps what nobody uses.
    pub const fn settle(&self) -> Duration {
        Duration::from_secs(if self.short { 2 } else { 13 })
    }
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.to_owned(), path.into())),
        _ => Err("write NAME=PATH".to_owned()),
    }
}
