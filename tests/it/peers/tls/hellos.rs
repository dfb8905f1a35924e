//! Hellos that no library would say, by tlslite-ng: the tables are with the scripts, under
//! `tests/peers/tls`. Whatever is said, the gateway lives on and keeps nothing of it.

use std::process::Stdio;
use std::time::Duration;

use mps_gateway::sim::pki::Keys;
use tokio::process::Command;
use tokio::time::timeout;

use super::house::{House, PATIENCE, ours};
use crate::peers::installed;

/// The longest a script may take.
const SCRIPT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn whatever_is_wrong_with_a_hello_becomes_what_the_table_says() {
    let Some(house) = after("corpus.py", &[&patience()]).await else { return };
    let counted = house.metrics().await;
    for outcome in ["format", "group", "served", "signature", "suite", "version"] {
        let of_it = format!("outcome=\"{outcome}\"}}");
        let seen =
            counted.keys().any(|series| series.starts_with("hellos_total{") && series.ends_with(&of_it));
        assert!(seen, "no hello was counted as {outcome}: {counted:?}");
    }
    for reason in ["closed", "garbage", "handshake", "legacy-hello", "slow"] {
        let series = format!("session_ends_total{{reason=\"{reason}\",blame=\"device\"}}");
        assert!(counted.contains_key(&series), "no session ended as {reason}: {counted:?}");
    }
}

#[tokio::test]
async fn whatever_is_odd_in_a_handshake_becomes_what_the_table_says() {
    after("handshakes.py", &[]).await;
}

#[tokio::test]
async fn hellos_changed_at_random_end_in_time() {
    after("mutations.py", &[&patience(), "400"]).await;
}

fn patience() -> String {
    PATIENCE.as_secs_f64().to_string()
}

/// Runs a script against a gateway of its own; then devices are served, nothing is left behind and the
/// log is not flooded. `None` where there is no tlslite-ng.
async fn after(script: &str, arguments: &[&str]) -> Option<House> {
    let tlslite = installed("tls")?;
    let house = House::showing(Keys::Rsa).await;
    let files = house.open_files();
    let mut command = Command::new("python3");
    command.arg("-B").arg(ours(script));
    command.arg(house.device.ip().to_string()).arg(house.device.port().to_string()).args(arguments);
    command.env("PYTHONPATH", tlslite).stdin(Stdio::null()).kill_on_drop(true);
    let ended = timeout(SCRIPT, command.output()).await.expect("in time").expect("python3 starts");
    let said = [ended.stdout, ended.stderr].concat();
    assert!(ended.status.success(), "{script}:\n{}", String::from_utf8_lossy(&said));
    house.serves(1).await;
    house.is_empty(files).await;
    assert_eq!(house.noise(), Vec::<String>::new(), "{script}");
    Some(house)
}
