//! A `redis-server` of a test's own: free port, temporary folder, gone with the test.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::required::required;

/// A running (or killed, or frozen) `redis-server`.
pub struct RedisServer {
    child: Child,
    port: u16,
    folder: TempDir,
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
            let arguments = arguments(&folder);
            let port = free_port();
            let child = spawn(port, &folder, &arguments);
            let mut server = Self { child, port, folder, arguments };
            if server.up().await {
                return Some(server);
            }
        }
        panic!("redis-server does not start");
    }

    /// Where clients reach it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops it in the middle of whatever it does (SIGSTOP).
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Kills it (SIGKILL): the port refuses from now on.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port, empty. Kills it first if it runs.
    pub async fn restart(&mut self) {
        self.kill();
        for _ in 0..50 {
            self.child = spawn(self.port, &self.folder, &self.arguments);
            if self.up().await {
                return;
            }
            sleep(Duration::from_millis(100)).await; // somebody has the port for a moment
        }
        panic!("redis-server does not start again on port {}", self.port);
    }

    /// Starts it again on the same port with the data of a dump.
    pub async fn restart_from(&mut self, dump: &Path) {
        self.kill();
        std::fs::copy(dump, self.folder.path().join("dump.rdb")).expect("a dump");
        self.restart().await;
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One command, as from redis-cli.
    pub async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("a Redis URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("Redis is up");
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut connection).await.expect("Redis answers")
    }

    /// Whether it comes up, rather than exits.
    async fn up(&mut self) -> bool {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if self.child.try_wait().expect("a child of ours").is_some() {
                return false;
            }
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return true;
            }
            sleep(Duration::from_millis(10)).await;
        }
        false
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
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

fn spawn(port: u16, folder: &TempDir, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server starts")
}
