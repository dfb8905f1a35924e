//! A gateway as a process of its own, as operators run it. Killed when dropped.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::timeout;

/// The longest any step of a gateway may take in a test.
pub const LIMIT: Duration = Duration::from_secs(30);

/// `what`, within [`LIMIT`].
pub async fn within<T>(name: &str, what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.unwrap_or_else(|_| panic!("{name}: not within {LIMIT:?}"))
}

/// The program, without the environment of whoever runs the tests.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mps-gateway"));
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Exit code, standard output and standard error of the program, run to its end.
pub async fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let ended = within("the program ends", program(arguments).output()).await.expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

/// What a gateway has logged so far.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    more: Arc<Notify>,
}

/// A running gateway.
pub struct Gateway {
    child: Child,
    log: Log,
}

impl Gateway {
    /// Runs with the configuration file `config`, and whatever variables are given.
    pub fn start(config: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = program(&["--config", config.to_str().expect("a path of text")]);
        command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let log = Log::default();
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let reader = log.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with the process")]
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                reader.lines.lock().expect("no panic").push(line);
                reader.more.notify_waiters();
            }
        });
        Self { child, log }
    }

    /// Runs with the configuration `text`, written into `folder`, and serves.
    pub async fn serve(folder: &Path, text: &str) -> Self {
        let config = folder.join("gateway.toml");
        std::fs::write(&config, text).expect("written");
        let gateway = Self::start(&config, &[]);
        gateway.logged("serving").await;
        gateway
    }

    /// The first line logged with `message`, as JSON; waits for it.
    pub async fn logged(&self, message: &str) -> serde_json::Value {
        let found = async {
            loop {
                let more = self.log.more.notified();
                tokio::pin!(more);
                more.as_mut().enable(); // before the look, so that no line in between is missed
                if let Some(line) = self.find(message) {
                    return line;
                }
                more.await;
            }
        };
        match timeout(LIMIT, found).await {
            Ok(line) => line,
            Err(_) => {
                panic!("never logged {message:?}:\n{}", self.log.lines.lock().expect("no panic").join("\n"))
            }
        }
    }

    fn find(&self, message: &str) -> Option<serde_json::Value> {
        let lines = self.log.lines.lock().expect("no panic");
        let mut lines = lines.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.find(|line| line["message"].as_str().is_some_and(|said| said.contains(message)))
    }

    /// Where `plane` (`admin`, `device`) listens: its first address.
    pub async fn address(&self, plane: &str) -> SocketAddr {
        let line = self.logged("serving").await;
        let all = line[plane].as_str().expect("a list of addresses").trim_matches(['[', ']']);
        let first = all.split(", ").next().expect("one address");
        first.parse().unwrap_or_else(|_| panic!("{first} is an address"))
    }

    /// Sends a signal: `TERM`, `HUP`, `KILL`, `STOP`.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), pid.as_str()]).status().await;
        assert!(sent.expect("kill is there").success(), "kill -{name} {pid}");
    }

    /// The exit code, once it has ended by itself.
    pub async fn ended(mut self) -> Option<i32> {
        within("the gateway ends", self.child.wait()).await.expect("it can be waited for").code()
    }
}
