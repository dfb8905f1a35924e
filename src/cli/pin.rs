//! `pin HOST:PORT`. To be written by branch `sim`.

use std::process::ExitCode;

use crate::model::Endpoint;

/// Whose pins.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where the instance listens for devices, `host:port`.
    instance: Endpoint,
}

/// Prints them.
pub fn run(_arguments: &Arguments) -> ExitCode {
    todo!()
}
