//! What scanners find at the device plane, line by line against what they found when we looked.
//!
//! The findings are files under `tests/peers/tls`. A change fails with the lines that came and went:
//! if it is meant, the new findings are where the failure says.

use std::path::PathBuf;
use std::time::Duration;

use mps_gateway::sim::pki::Keys;
use tokio::process::Command;
use tokio::time::timeout;

use super::house::{House, ours};
use crate::required::required;

/// The longest a scan may take.
const SCAN: Duration = Duration::from_secs(120);

/// How long a device stays away that comes back during a scan.
const PACE: Duration = Duration::from_millis(20);

/// A scanner, and what of its words is no finding.
struct Scanner {
    program: &'static str,
    /// Debian's name of it.
    package: &'static str,
    arguments: &'static [&'static str],
    /// Lines that begin so are about the scanner, the address or the clock.
    chatter: &'static [&'static str],
}

const SSLSCAN: Scanner = Scanner {
    program: "sslscan",
    package: "sslscan",
    arguments: &["--no-colour", "--show-sigs", "--ocsp", "--show-client-cas"],
    chatter: &[
        "Version:",
        "OpenSSL ",
        "Connected to",
        "Testing SSL server",
        "Not valid",
        "TLS Compression",
        "Rebuild",
    ],
};

/// Only what sslscan does not look for; all of it takes minutes.
const TESTSSL: Scanner = Scanner {
    program: "testssl",
    package: "testssl.sh",
    arguments: &[
        "--warnings=off",
        "--quiet",
        "--color=0",
        "--nodns=none",
        "--ccs-injection",
        "--ticketbleed",
        "--renegotiation",
        "--compression",
    ],
    chatter: &["No engine", "Start ", "Done ", "rDNS"],
};

#[tokio::test]
async fn sslscan_finds_what_it_found_of_an_rsa_leaf() {
    scan(&SSLSCAN, Keys::Rsa, "sslscan-rsa.txt").await;
}

#[tokio::test]
async fn sslscan_finds_what_it_found_of_an_ecdsa_leaf() {
    scan(&SSLSCAN, Keys::P256, "sslscan-ecdsa.txt").await;
}

#[tokio::test]
async fn testssl_finds_no_known_weakness() {
    scan(&TESTSSL, Keys::Rsa, "testssl.txt").await;
}

/// Scans, while devices log in and leave; then they still do and nothing is left behind.
async fn scan(scanner: &Scanner, keys: Keys, findings: &str) {
    let version = std::process::Command::new(scanner.program).arg("--version").output().ok();
    let cure = format!("apt-get install {}", scanner.package);
    let Some(_) = required(scanner.program, &cure, version) else { return };
    let house = House::showing(keys).await;
    let files = house.open_files();
    let mut scanning = std::pin::pin!(timeout(SCAN, said(scanner, &house)));
    let mut served = 0;
    let text = loop {
        tokio::select! {
            text = &mut scanning => break text.expect("the scan ends"),
            () = house.serves(2) => {
                served += 1;
                tokio::time::sleep(PACE).await;
            }
        }
    };
    assert!(served > 0, "nobody was served during the scan");
    house.serves(3).await;
    house.is_empty(files).await;
    compare(findings, &found(&text, scanner.chatter));
}

async fn said(scanner: &Scanner, house: &House) -> String {
    let mut command = Command::new(scanner.program);
    command.args(scanner.arguments).arg(house.device.to_string()).stdin(std::process::Stdio::null());
    let ended = command.kill_on_drop(true).output().await.expect("the scanner starts");
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{text}\n{}", String::from_utf8_lossy(&ended.stderr));
    text
}

/// The lines that say what was found; runs of blanks are one.
fn found(text: &str, chatter: &[&str]) -> Vec<String> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty() && !chatter.iter().any(|word| line.starts_with(word))).collect()
}

fn compare(name: &str, found: &[String]) {
    let file = ours(name);
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let expected: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    if expected == found {
        return;
    }
    let gone = expected.iter().filter(|line| !found.iter().any(|f| f == *line));
    let came = found.iter().filter(|line| !expected.contains(&line.as_str()));
    let changes: String = gone.map(|l| format!("- {l}\n")).chain(came.map(|l| format!("+ {l}\n"))).collect();
    let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&kept, found.join("\n") + "\n").expect("written");
    let changes = if changes.is_empty() { "the order of lines" } else { changes.as_str() };
    panic!("{} no longer holds; found now: {}\n{changes}", file.display(), kept.display());
}
