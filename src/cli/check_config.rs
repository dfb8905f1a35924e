//! `check-config`: everything short of binding, and the reference.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use super::exit;
use crate::app::{Certificate, Device, Settings};
use crate::config::{self, Given, Loaded, Problems};
use crate::net::identity::Identity;
use crate::net::instance_tls::Verify;

/// What to check.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Print every key with its default, unit, reason and what a reload does to it.
    #[arg(long)]
    reference: bool,
}

/// Checks, and says what a gateway with this configuration would do.
pub fn run(arguments: &Arguments, file: Option<PathBuf>) -> ExitCode {
    if arguments.reference {
        print!("{}", config::reference());
        return exit::OK;
    }
    match load(&Given::of_process(file)) {
        Ok(Loaded { settings, warnings }) => {
            for warning in warnings {
                eprintln!("warning: {warning}");
            }
            print!("{}", summary(&settings));
            exit::OK
        }
        Err(code) => code,
    }
}

/// Reads a configuration, or prints all its problems.
pub fn load(given: &Given) -> Result<Loaded, ExitCode> {
    config::load(given).map_err(|problems| {
        complain(&problems);
        ExitCode::from(exit::CONFIG)
    })
}

fn complain(problems: &Problems) {
    for line in problems.lines() {
        eprintln!("{line}");
    }
    let count = problems.problems.len();
    eprintln!(
        "mps-gateway: {count} {} in the configuration",
        if count == 1 { "problem" } else { "problems" }
    );
}

/// What a gateway with these settings would do, a line each.
fn summary(settings: &Settings) -> String {
    let mut out = "configuration OK\n".to_owned();
    let mut line = |what: &str, text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {what:<11}{text}");
    };
    match &settings.device {
        Some(Device { certificate, settings }) => {
            line("device", format!("{:?}, {}", settings.listen, shown(certificate)));
        }
        None => line("device", "closed: there is no [device]".to_owned()),
    }
    match &settings.admin {
        Some(admin) => line("admin", format!("{:?}", admin.listen)),
        None => line("admin", "closed: there is no [admin]".to_owned()),
    }
    line("directory", settings.directory.url_for_logs());
    let tls = match &settings.instance_tls {
        None => "in clear".to_owned(),
        Some(Verify::None) => "TLS, not verified".to_owned(),
        Some(Verify::Pin(pins)) => format!("TLS, {} pins", pins.len()),
        Some(Verify::Ca(roots)) => format!("TLS, {} roots", roots.len()),
        Some(Verify::Full(roots)) => format!("TLS, {} roots and names", roots.len()),
    };
    line("instances", format!("{} ({tls})", settings.instances.list.len()));
    for instance in &settings.instances.list {
        line("", format!("{} at {}, weight {}", instance.name, instance.cira, instance.weight));
    }
    out
}

fn shown(certificate: &Certificate) -> String {
    let Certificate::Files { certificate, private_key } = certificate else {
        return "a certificate made up at start".to_owned();
    };
    match Identity::load(certificate, private_key) {
        Ok(identity) => {
            let left = identity.not_after.duration_since(SystemTime::now()).unwrap_or_default();
            format!(
                "CN {}, {} {} bits, chain of {}, expires in {} days",
                identity.common_name.as_deref().unwrap_or("(none)"),
                identity.leaf_key.name(),
                identity.key_bits,
                identity.chain.len(),
                left.as_secs() / 86_400
            )
        }
        Err(error) => format!("the certificate changed a moment ago: {error}"),
    }
}
