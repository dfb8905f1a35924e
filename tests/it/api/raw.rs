//! A caller that writes bytes, and reads what comes.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::within;

/// One connection.
pub struct Raw {
    pub tcp: TcpStream,
    heard: Vec<u8>,
}

impl Raw {
    pub async fn to(addr: SocketAddr) -> Self {
        Self { tcp: within(TcpStream::connect(addr)).await.expect("it listens"), heard: Vec::new() }
    }

    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        within(self.tcp.write_all(bytes.as_ref())).await.expect("it takes it");
        self
    }

    /// Says it byte by byte.
    pub async fn drip(&mut self, bytes: &[u8]) -> &mut Self {
        self.tcp.set_nodelay(true).expect("a socket");
        for byte in bytes {
            self.say([*byte]).await;
            tokio::task::yield_now().await;
        }
        self
    }

    /// Shuts down the writing side.
    pub async fn finish(&mut self) -> &mut Self {
        within(self.tcp.shutdown()).await.expect("it is open");
        self
    }

    /// The next bytes up to and with `mark`, as text.
    pub async fn up_to(&mut self, mark: &str) -> String {
        let reading = async {
            loop {
                let found = self.heard.windows(mark.len()).position(|window| window == mark.as_bytes());
                if let Some(at) = found {
                    return self.heard.drain(..at + mark.len()).collect::<Vec<_>>();
                }
                let heard = self.tcp.read_buf(&mut self.heard).await.expect("no reset");
                assert!(heard > 0, "closed after {:?}", String::from_utf8_lossy(&self.heard));
            }
        };
        String::from_utf8(within(reading).await).expect("text")
    }

    /// The next head, and its body by its length.
    pub async fn answer(&mut self) -> (String, String) {
        let head = self.up_to("\r\n\r\n").await;
        let length =
            head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let body = self.take(length.unwrap_or(0)).await;
        (head, String::from_utf8(body).expect("text"))
    }

    /// The next `length` bytes.
    pub async fn take(&mut self, length: usize) -> Vec<u8> {
        let reading = async {
            while self.heard.len() < length {
                let heard = self.tcp.read_buf(&mut self.heard).await.expect("no reset");
                assert!(heard > 0, "closed after {} bytes of {length}", self.heard.len());
            }
        };
        within(reading).await;
        self.heard.drain(..length).collect()
    }

    /// All that comes until the other side closes or, after something came, is silent for a moment.
    pub async fn all(&mut self) -> String {
        loop {
            let silence = if self.heard.is_empty() { super::LIMIT } else { Duration::from_millis(400) };
            match tokio::time::timeout(silence, self.tcp.read_buf(&mut self.heard)).await {
                Ok(Ok(0) | Err(_)) | Err(_) => return String::from_utf8_lossy(&self.heard).into_owned(),
                Ok(Ok(_)) => {}
            }
        }
    }

    /// What comes until the other side closes, however it does.
    pub async fn rest(&mut self) -> String {
        let reading =
            async { while self.tcp.read_buf(&mut self.heard).await.is_ok_and(|heard| heard > 0) {} };
        within(reading).await;
        String::from_utf8_lossy(&std::mem::take(&mut self.heard)).into_owned()
    }
}
