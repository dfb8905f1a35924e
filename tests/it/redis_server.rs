//! A `redis-server` of a test's own: free port, temporary folder, gone with the test.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::required::required;

/// A running (or killed, or frozen) `redis-server`. What tests do to it is in `redis_faults`; benches
/// need no more than this.
pub struct RedisServer {
    pub(crate) child: Child,
    pub(crate) place: Place,
}

/// Where one runs, and how.
pub(crate) struct Place {
    port: u16,
    pub(crate) folder: TempDir,
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts one on a free port. `None`, said on stderr, where there is no `redis-server`; with
    /// `MPS_GATEWAY_TESTS_REQUIRE_ALL` set that is a failure.
    pub async fn start() -> Option<Self> {
        Self::start_with(|_| Vec::new()).await
    }

    /// Starts one with more arguments, which may name files in the folder they are given.
    pub async fn start_with(arguments: impl Fn(&TempDir) -> Vec<String>) -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            return required("redis-server", "apt-get install redis-server", None);
        }
        // A port found free may be taken a moment later: then another one.
        for _ in 0..10 {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let place = Place { port: free_port(), arguments: arguments(&folder), folder };
            let mut server = Self { child: place.spawn(), place };
            if server.up().await {
                return Some(server);
            }
        }
        panic!("redis-server does not start");
    }

    /// Where clients reach it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.place.port)
    }

    /// Kills it (SIGKILL): the port refuses from now on.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it comes up, rather than exits.
    pub(crate) async fn up(&mut self) -> bool {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if self.child.try_wait().expect("a child of ours").is_some() {
                return false;
            }
            if tokio::net::TcpStream::connect(("127.0.0.1", self.place.port)).await.is_ok() {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

impl Place {
    /// Starts one here.
    pub(crate) fn spawn(&self) -> Child {
        Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server starts")
    }
}
