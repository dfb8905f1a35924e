//! Cargo's build script: which commit this is. Never fails: a tarball without git is `unknown`.

use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "a build script is told by its environment")]
fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn main() {
    println!("cargo::rerun-if-env-changed=MPS_GATEWAY_COMMIT");
    println!("cargo::rerun-if-changed=src/telemetry/build_script.rs");
    let commit = if let Some(told) = var("MPS_GATEWAY_COMMIT") {
        told // an image is built without the repository beside it
    } else if var("PROFILE").as_deref() == Some("debug") {
        "debug".to_owned() // not worth building again after each commit
    } else {
        // The log of HEAD grows with each commit and checkout, whatever branch that is.
        if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
            println!("cargo::rerun-if-changed={log}");
        }
        git(&["rev-parse", "--short=10", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
    };
    println!("cargo::rustc-env=MPS_GATEWAY_BUILD_COMMIT={commit}");
}
