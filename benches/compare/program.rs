//! Programs that are started, pinned to a CPU, and ended again whatever happens.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::machine::PATH;
use crate::procfs;

/// Raises the limit of open files as far as it goes, pins, and becomes the program: the process that is
/// started is the one that is measured.
const BECOME: &str = r#"ulimit -n "$(ulimit -Hn)"; exec taskset -c "$0" "$@""#;

/// How long a program may take until it listens.
const START: Duration = Duration::from_secs(30);
/// How long one that was told to end may take before it is killed.
const END: Duration = Duration::from_secs(3);
/// How much of its last words are shown when a program fails.
const LAST_WORDS: usize = 2000;

/// A running program; ended with all its children when dropped.
pub struct Program {
    name: String,
    child: Child,
    pid: u32,
    log: PathBuf,
    output: Option<ChildStdout>,
}

impl Program {
    /// Starts `command` on `cpu` with `folder` as its place. What it says goes to a file there;
    /// its standard output to [`Program::output`] if `piped`.
    pub fn start(
        name: &str,
        cpu: usize,
        command: &[&OsStr],
        folder: &Path,
        piped: bool,
    ) -> Result<Self, String> {
        let log = folder.join(format!("{name}.log"));
        let open = || File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (stdout, stderr) = open().map_err(|error| format!("{}: {error}", log.display()))?;
        let mut words: Vec<OsString> = Vec::new();
        // Should this process be killed, the kernel tells its children to end.
        words.extend(["--pdeathsig", "TERM", "sh", "-c", BECOME].map(OsString::from));
        words.push(cpu.to_string().into());
        words.extend(command.iter().map(OsString::from));
        let mut child = Command::new("setpriv")
            .args(words)
            .env_clear()
            .env("PATH", PATH)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(if piped { Stdio::piped() } else { stdout.into() })
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {name} by setpriv (util-linux): {error}"))?;
        let pid = child.id().ok_or_else(|| format!("{name} ended at once"))?;
        let output = child.stdout.take();
        Ok(Self { name: name.to_owned(), child, pid, log, output })
    }

    /// Its process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Its standard output, once.
    pub const fn output(&mut self) -> Option<ChildStdout> {
        self.output.take()
    }

    /// Waits until it takes connections at `address`.
    pub async fn listening(&mut self, address: SocketAddr) -> Result<(), String> {
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).await.is_err() {
            self.alive()?;
            if Instant::now() > deadline {
                return Err(self.failed(&format!("does not listen on {address} after {START:?}")));
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.alive()
    }

    /// An error if it has ended.
    pub fn alive(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failed(&format!("ended: {status}"))),
            Err(error) => Err(self.failed(&error.to_string())),
        }
    }

    /// Waits until it has ended, with whatever exit code.
    pub async fn gone(&mut self, limit: Duration) -> Result<(), String> {
        match timeout(limit, self.child.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.failed(&error.to_string())),
            Err(_) => Err(self.failed(&format!("does not end within {limit:?}"))),
        }
    }

    /// Tells it to end.
    pub fn terminate(&self) {
        signal("TERM", &[self.pid]);
    }

    /// What it said so far, its standard output only if that is not piped.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// `what` went wrong, with the last words of the program.
    pub fn failed(&self, what: &str) -> String {
        let said = self.said();
        let last = said.char_indices().rev().nth(LAST_WORDS).map_or(0, |(at, _)| at);
        format!("{} {what}\n{}", self.name, said[last..].trim_end())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.terminate();
        let deadline = Instant::now() + END;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // It lives, so whatever is below it is its own.
                signal("KILL", &procfs::tree(self.pid).unwrap_or_else(|_| vec![self.pid]));
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// By `kill`, since there is no way to it without `unsafe`.
fn signal(name: &str, to: &[u32]) {
    if to.is_empty() {
        return;
    }
    // Who is gone already needs no signal.
    let _ = std::process::Command::new("kill")
        .arg(format!("-{name}"))
        .args(to.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status();
}
