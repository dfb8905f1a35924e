//! A gateway as a process of its own, as operators run it; read by its log lines.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::Process;

/// The longest any step of a gateway may take in a test.
pub const LIMIT: Duration = Duration::from_secs(30);

/// `what`, within [`LIMIT`].
pub async fn within<T>(name: &str, what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.unwrap_or_else(|_| panic!("{name}: not within {LIMIT:?}"))
}

/// Exit code, standard output and standard error of the program, run to its end without the
/// environment of whoever runs the tests.
pub async fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mps-gateway"));
    command.args(arguments).env_clear().kill_on_drop(true);
    let ended = within("the program ends", command.output()).await.expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

/// A running gateway.
pub struct Gateway(Process);

impl Gateway {
    /// Runs with the configuration file `config`, and whatever variables are given.
    pub fn start(config: &Path, environment: &[(&str, &str)]) -> Self {
        Self(Process::start(&["--config", config.to_str().expect("a path of text")], environment))
    }

    /// Runs with the configuration `text`, written into `folder`, and serves.
    pub async fn serve(folder: &Path, text: &str) -> Self {
        let config = folder.join("gateway.toml");
        std::fs::write(&config, text).expect("written");
        let mut gateway = Self::start(&config, &[]);
        gateway.logged("serving").await;
        gateway
    }

    /// The first line logged with `message`, as JSON; waits for it.
    pub async fn logged(&mut self, message: &str) -> Value {
        let with_message = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["message"].as_str().is_some_and(|said| said.contains(message)).then_some(line)
        };
        let said = self.0.said();
        match said.lines().find_map(with_message) {
            Some(line) => line,
            None => self.0.until(with_message).await,
        }
    }

    /// Every line it logged so far, as JSON; the last 200.
    pub fn log(&self) -> Vec<Value> {
        self.0.said().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Where `plane` (`admin`, `device`) listens: its first address.
    pub async fn address(&mut self, plane: &str) -> SocketAddr {
        let line = self.logged("serving").await;
        let all = line[plane].as_str().expect("a list of addresses").trim_matches(['[', ']']);
        let first = all.split(", ").next().expect("one address");
        first.parse().unwrap_or_else(|_| panic!("{first} is an address"))
    }

    /// What it logged last.
    pub fn said(&self) -> String {
        self.0.said()
    }

    /// The kernel's number of the process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal: `TERM`, `HUP`.
    pub async fn signal(&self, name: &str) {
        self.0.signal(name).await;
    }

    /// The exit code, once it has ended by itself.
    pub async fn ended(mut self) -> Option<i32> {
        self.0.exited(LIMIT).await.code()
    }
}
