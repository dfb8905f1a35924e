//! What tests do to a [`RedisServer`]: freeze it, start it again, speak to it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::sleep;

use crate::redis_server::RedisServer;

impl RedisServer {
    /// Stops it in the middle of whatever it does (SIGSTOP).
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Starts it again on the same port, empty. Kills it first if it runs.
    pub async fn restart(&mut self) {
        self.kill();
        for _ in 0..50 {
            self.child = self.place.spawn();
            if self.up().await {
                return;
            }
            sleep(Duration::from_millis(100)).await; // somebody has the port for a moment
        }
        panic!("redis-server does not start again at {}", self.url());
    }

    /// Starts it again on the same port with the data of a dump.
    pub async fn restart_from(&mut self, dump: &Path) {
        self.kill();
        std::fs::copy(dump, self.place.folder.path().join("dump.rdb")).expect("a dump");
        self.restart().await;
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.place.folder.path()
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

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }
}
