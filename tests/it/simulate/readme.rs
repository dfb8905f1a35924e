//! The README says how to try a gateway without an MPS: so it is tried.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::event;
use crate::gateway::output;
use crate::process::Process;

/// The commands of the README, with its addresses replaced by free ones.
#[tokio::test]
async fn what_the_readme_says_to_try_works() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let readme = readme.expect("a README");
    let (_, section) = readme.split_once("### Without an MPS").expect("the section");
    let block = |of: &str| {
        let (_, rest) = section.split_once(&format!("```{of}\n")).expect("a block");
        rest.split_once("```").expect("its end").0.to_owned()
    };
    let folder = TempDir::new().expect("a folder");
    let (cira, http, gateway) = (free(2), free(2), free(1));
    let here = |text: &str| {
        let folder = folder.path().display();
        text.replace("try/", &format!("{folder}/"))
            .replace("--into try", &format!("--into {folder}"))
            .replace(":4441", &format!(":{cira}"))
            .replace(":4442", &format!(":{}", cira + 1))
            .replace(":3001", &format!(":{http}"))
            .replace(":3002", &format!(":{}", http + 1))
            .replace(":4433", &format!(":{gateway}"))
    };
    std::fs::write(folder.path().join("gateway.toml"), here(&block("toml"))).expect("written");
    let commands = here(&block("sh"));
    let words = |line: &str| -> Vec<String> {
        let line = line.split('#').next().unwrap_or_default().trim().trim_end_matches('&');
        line.split_whitespace().skip(1).map(str::to_owned).collect()
    };
    let mut lines = commands.lines().map(words);
    let mut next = || lines.next().expect("four commands");
    let (generate, mps, serve, load) = (next(), next(), next(), next());
    let start = |words: &[String]| Process::start(&words.iter().map(String::as_str).collect::<Vec<_>>(), &[]);

    let (code, _, error) = output(&generate.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(code, Some(0), "{error}");
    let mut mps = start(&mps);
    mps.until(|line| line.contains("mps-2 takes devices").then_some(())).await;
    let mut gateway = start(&serve);
    gateway.until(|line| line.contains("serving").then_some(())).await;
    let mut load = load.clone();
    load.extend(["--json", "--for", "4s"].map(str::to_owned));
    let (_, out, error) = output(&load.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let summary = event(&out, "summary");
    assert_eq!(summary["failed"], json!({}), "{summary} {error}");
    assert!(summary["connects"].as_u64() > Some(50), "{summary} {error}");
}

/// The first of so many free ports in a row.
fn free(many: u16) -> u16 {
    let bind = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port));
    loop {
        let first = bind(0).expect("a port");
        let port = first.local_addr().expect("bound").port();
        if (1..many).all(|i| port.checked_add(i).is_some_and(|port| bind(port).is_ok())) {
            return port;
        }
    }
}
