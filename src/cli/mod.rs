//! The command line: one binary, many roles. Each subcommand is a file here.
//!
//! Exit codes: 0 done; 1 the answer is "no", or a second signal cut a drain short; 64 the command line
//! cannot be understood; 69 an address is taken; 71 the system refused; 76 the directory speaks a
//! version we do not know; 78 the configuration has problems.

mod certs;
mod check_config;
mod demo;
mod exit;
mod health;
mod pin;
mod run;
mod simulate;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry::build;

/// TLS gateway between Intel AMT devices and many MPS instances.
#[derive(Debug, Parser)]
#[command(name = "mps-gateway", version = version(), max_term_width = 110)]
struct Cli {
    /// The configuration file; without it MPS_GATEWAY_CONFIG, else none.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same as `health`, as mps-router has it; also -health.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    health: Option<bool>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Certificates: import those of MPS, or generate some.
    #[command(subcommand)]
    Certs(certs::Command),
    /// Check a configuration: every problem at once, exit 78.
    CheckConfig(check_config::Arguments),
    /// Two simulated MPS, ten simulated devices and a gateway between them, on loopback.
    Demo(demo::Arguments),
    /// Print the pins of the certificate that an instance shows.
    Pin(pin::Arguments),
    /// Ask the running gateway whether it is ready: exit 0 when it is, 1 otherwise.
    Health,
    /// Run the gateway (the default).
    Run,
    /// Simulate what stands beside a gateway, to try one without it.
    #[command(subcommand)]
    Simulate(simulate::Command),
}

fn version() -> &'static str {
    // clap wants a `&'static str`; once per process.
    Box::leak(build::describe().into_boxed_str())
}

/// The words of the command line. Go's `-health`, by which images of mps-router are probed, has one hyphen.
fn words() -> impl Iterator<Item = OsString> {
    std::env::args_os().map(|word| match word.to_str() {
        Some(flag) if flag == "-health" || flag.starts_with("-health=") => format!("-{flag}").into(),
        _ => word,
    })
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(words()) {
        Ok(cli) => cli,
        Err(told) => {
            let failed = told.use_stderr(); // else it is --help or --version
            // Nothing is left to do when even this cannot be printed.
            let _ = told.print();
            return if failed { ExitCode::from(exit::USAGE) } else { exit::OK };
        }
    };
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("mps-gateway: another TLS provider is installed already");
        return ExitCode::from(exit::SYSTEM);
    }
    if cli.health == Some(true) {
        return health::run(cli.config);
    }
    match cli.command {
        Some(Command::Certs(command)) => certs::run(command),
        Some(Command::CheckConfig(arguments)) => check_config::run(&arguments, cli.config),
        Some(Command::Demo(arguments)) => demo::run(&arguments),
        Some(Command::Pin(arguments)) => pin::run(&arguments),
        Some(Command::Health) => health::run(cli.config),
        Some(Command::Run) | None => run::run(cli.config),
        Some(Command::Simulate(command)) => simulate::run(command),
    }
}

/// The runtime of a subcommand that talks to the network for a while.
fn runtime() -> Result<tokio::runtime::Runtime, ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        eprintln!("mps-gateway: cannot start: {error}");
        ExitCode::from(exit::SYSTEM)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_says_which_commit() {
        assert!(version().starts_with(build::VERSION));
        assert!(version().contains(build::COMMIT));
    }
}
