//! MeshCentral's own APF client as a device (`tests/peers/meshcentral/device.js`), and an AMT behind it.

use std::net::SocketAddr;
use std::path::Path;

use mps_gateway::model::DeviceId;
use mps_gateway::sim::mps::Account;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::server::{node_with, ours};
use crate::gateway::{LIMIT, within};
use crate::process::Process;

/// More than the window that MeshCentral grants, so that it has to grant more.
const LARGE: usize = 100_000;

/// The client as a process; it ends with its connection.
pub struct Client(Process);

impl Client {
    /// Connects to `gateway` as `device`, with a keep-alive every 100 ms and the AMT of `amt`.
    pub fn start(
        peer: &Path,
        gateway: SocketAddr,
        device: DeviceId,
        account: &Account,
        amt: SocketAddr,
    ) -> Self {
        let mut command = node_with(&ours("device.js"));
        command.arg(peer.join("node_modules/meshcentral/agents/modules_meshcore/amt-apfclient.js"));
        command.args([gateway.to_string(), device.to_string(), account.user.clone()]);
        command.args([account.password.expose(), "100", &amt.to_string()]);
        Self(Process::run(command))
    }

    /// Waits until it says something that contains `text`, unless it did.
    pub async fn said(&mut self, text: &str) {
        if !self.0.said().contains(text) {
            self.0.until(|line| line.contains(text).then_some(())).await;
        }
    }

    /// Waits until it heard `count` answers to its keep-alives.
    pub async fn keeps_alive(&mut self, count: usize) {
        let reply = "APF: Keep Alive Reply with cookie: 255";
        while self.0.said().matches(reply).count() < count {
            self.0.until(|line| line.contains(reply).then_some(())).await;
        }
    }

    /// `disconnect` or `leave`.
    pub async fn tell(&mut self, word: &str) {
        self.0.tell(word).await;
    }

    /// Waits until it has ended because its connection was closed, with close_notify and FIN.
    pub async fn closed(mut self) {
        self.said("device: closed").await;
        let status = self.0.exited(LIMIT).await;
        let said = self.0.said();
        assert!(status.success(), "{said}");
        assert!(said.contains("device: told goodbye\n") && said.ends_with("device: closed\n"), "{said}");
        assert!(!said.contains("device: error"), "{said}");
    }
}

/// The web services of an AMT, as far as MeshCentral looks before it gives up: a challenge, then one
/// large answer. Ends when dropped.
pub struct Amt {
    /// Where it listens.
    pub addr: SocketAddr,
    requests: mpsc::Receiver<String>,
    task: JoinHandle<()>,
}

impl Amt {
    /// Starts one.
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the kernel's choice");
        let (sender, requests) = mpsc::channel(16);
        let addr = listener.local_addr().expect("bound");
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                // Whoever hangs up in the middle is heard of by what is missing.
                let _ = serve(tcp, &sender).await;
            }
        });
        Self { addr, requests, task }
    }

    /// The head of the next request.
    pub async fn request(&mut self) -> String {
        within("a request of MeshCentral", self.requests.recv()).await.expect("it listens")
    }
}

impl Drop for Amt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut tcp: TcpStream, requests: &mpsc::Sender<String>) -> std::io::Result<()> {
    let mut heard = Vec::new();
    loop {
        let Some(end) = heard.windows(4).position(|four| four == b"\r\n\r\n") else {
            if tcp.read_buf(&mut heard).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&heard[..end]).into_owned();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length: usize = field("Content-Length:").and_then(|length| length.parse().ok()).unwrap_or(0);
        while heard.len() < end + 4 + length {
            if tcp.read_buf(&mut heard).await? == 0 {
                return Ok(());
            }
        }
        heard.drain(..end + 4 + length);
        let (status, body) = match field("Authorization:") {
            None => (
                "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"Digest:00\", nonce=\"01\", qop=\"auth\"",
                String::from("<html></html>"),
            ),
            Some(_) => ("200 OK", " ".repeat(LARGE)),
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        tcp.write_all(answer.as_bytes()).await?;
        if requests.send(head).await.is_err() {
            return Ok(());
        }
    }
}
