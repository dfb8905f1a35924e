//! `certs import` and `certs generate`. To be written by branch `sim`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

/// What to do about certificates.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a root and a device certificate.
    Generate,
    /// Split MPS's `MPSCerts` secret into leaf, key, root and pin.
    Import {
        /// The secret, as JSON.
        file: PathBuf,
    },
}

/// Does it.
pub fn run(_command: Command) -> ExitCode {
    todo!()
}
