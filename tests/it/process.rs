//! A process of a test's own: the program itself, or one of others.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Lines kept of what a process said, for when a test fails.
const KEPT: usize = 1000;

/// A running program; killed when dropped.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<Mutex<VecDeque<String>>>,
    lines: mpsc::Receiver<String>,
}

impl Process {
    /// Starts `mps-gateway ARGUMENTS` with nothing of ours in its environment but `environment`.
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mps-gateway"));
        command.args(arguments).env_clear().envs(environment.iter().copied());
        Self::run(command)
    }

    /// Starts `command`, whatever program that is. Its standard input stays open as long as it runs.
    pub fn run(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, lines) = mpsc::channel(KEPT);
        listen(child.stdout.take().expect("piped"), sender.clone(), said.clone());
        listen(child.stderr.take().expect("piped"), sender, said.clone());
        Self { stdin: child.stdin.take(), child, said, lines }
    }

    /// Writes a line to its standard input.
    pub async fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it was started with one");
        stdin.write_all(format!("{line}\n").as_bytes()).await.expect("it listens");
    }

    /// What `find` makes of the first line it makes something of; at most 60 s.
    pub async fn until<T>(&mut self, mut find: impl FnMut(&str) -> Option<T>) -> T {
        let found = timeout(Duration::from_secs(60), async {
            while let Some(line) = self.lines.recv().await {
                if let Some(found) = find(&line) {
                    return Some(found);
                }
            }
            None
        });
        match found.await {
            Ok(Some(found)) => found,
            Ok(None) => panic!("the process ended before it said what was awaited:\n{}", self.said()),
            Err(_) => panic!("the process did not say what was awaited:\n{}", self.said()),
        }
    }

    /// What it said last.
    pub fn said(&self) -> String {
        self.said.lock().iter().map(|line| format!("{line}\n")).collect()
    }

    /// The kernel's number of it.
    pub fn id(&self) -> u32 {
        self.child.id().expect("running")
    }

    /// Sends a signal by name, `TERM` say.
    pub async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status().await;
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a child of ours");
    }

    /// Waits until it exits by itself; at most `limit`.
    pub async fn exited(&mut self, limit: Duration) -> ExitStatus {
        match timeout(limit, self.child.wait()).await {
            Ok(status) => status.expect("a child of ours"),
            Err(_) => panic!("the process did not exit within {limit:?}:\n{}", self.said()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "ends with the pipe, and so with the process")]
fn listen(
    pipe: impl AsyncRead + Send + Unpin + 'static,
    sender: mpsc::Sender<String>,
    said: Arc<Mutex<VecDeque<String>>>,
) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            {
                let mut said = said.lock();
                if said.len() == KEPT {
                    said.pop_front();
                }
                said.push_back(line.clone());
            }
            // Nobody waits for lines any more, or not for so many.
            let _ = sender.try_send(line);
        }
    });
}
