//! The README is the front door: what it shows must work as shown.

use std::fs;
use std::process::{Command, Output};

use mps_gateway::sim::pki::{Authority, Keys};
use tempfile::TempDir;

fn readme() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("a README")
}

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mps-gateway")).args(arguments).env_clear().output().expect("it runs")
}

#[test]
fn every_configuration_in_the_readme_is_accepted() {
    let folder = TempDir::new().expect("a temporary folder");
    let leaf = Authority::new(Keys::P256, "root").and_then(|root| root.issue("mps", &[])).expect("a leaf");
    fs::write(folder.path().join("cira.crt"), leaf.pem()).expect("written");
    fs::write(folder.path().join("cira.key"), leaf.key_pem().expose()).expect("written");
    let file = folder.path().join("gateway.toml");
    let mut filled_in = 0;
    for block in toml_blocks(&readme()) {
        let text =
            block.replace("/etc/mps-gateway/", "").replace("spki-sha256:..", &leaf.pins()[0].to_string());
        filled_in += usize::from(text != block);
        fs::write(&file, &text).expect("written");
        let output = program(&["check-config", "--config", file.to_str().expect("UTF-8")]);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(filled_in > 0, "the places to fill in are still called so");
}

/// What stands between fences of TOML, indented or not.
fn toml_blocks(text: &str) -> Vec<String> {
    let fenced = text.split("```toml\n").skip(1);
    fenced.map(|rest| rest.split("```").next().expect("its end").to_owned()).collect()
}

#[test]
fn every_command_in_the_readme_is_one() {
    let readme = readme();
    let mut seen = 0;
    for (at, _) in readme.match_indices("`mps-gateway ") {
        let line = &readme[at + 1..];
        let line = &line[..line.find('`').expect("its end")];
        let words: Vec<_> = line.split_whitespace().skip(1).collect();
        let command: Vec<_> = words.iter().copied().take_while(|word| is_command(word)).collect();
        let help = program(&[command.as_slice(), &["--help"]].concat());
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.contains("Usage: "), "{line}: {help}");
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            seen += 1;
            assert!(help.contains(flag), "{line}: {flag} is unknown:\n{help}");
        }
        seen += command.len();
    }
    assert!(seen > 6, "only {seen} words seen: the search is broken");
}

/// Subcommands are lower case; files, addresses and flags are not.
fn is_command(word: &str) -> bool {
    !word.starts_with('-') && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}
