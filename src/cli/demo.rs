//! `demo`. To be written by branch `sim`.

use std::process::ExitCode;

/// How to show it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Stop one MPS, and exit 0 when all devices are back and found.
    #[arg(long)]
    kill_one: bool,
}

/// Shows it.
pub fn run(_arguments: &Arguments) -> ExitCode {
    let _ = super::runtime;
    todo!()
}
