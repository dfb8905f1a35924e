//! An instance that says exactly what it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mps_gateway::instances::Instance;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it does with its how-manieth connection.
type Script = Box<dyn Fn(usize, Heard) -> futures_util::future::BoxFuture<'static, ()> + Send + Sync>;

/// An instance by script; it ends when dropped.
pub struct Scripted {
    pub addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Scripted {
    /// Plays `script` on each connection, counted from 0.
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    pub async fn start<F, W>(script: F) -> Self
    where
        F: Fn(usize, Heard) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let (connections, heads) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::default()));
        let script: Script = Box::new(move |number, heard| Box::pin(script(number, heard)));
        let (counted, noted) = (Arc::clone(&connections), Arc::clone(&heads));
        let accepting = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(script(number, Heard { tcp, rest: Vec::new(), heads: Arc::clone(&noted) }));
            }
        });
        Self { addr, connections, heads, accepting }
    }

    /// Answers every request on every connection by `answer`.
    pub async fn answering(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::start(move |_, mut heard| {
            let answer = answer.clone();
            async move {
                while heard.head().await.is_some() {
                    heard.say(answer.as_bytes()).await;
                }
            }
        })
        .await
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Heads of requests so far, in order, from all connections.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }

    /// As the gateway knows it.
    pub fn instance(&self, name: &str) -> Instance {
        super::instance(name, self.addr)
    }
}

/// One connection, seen from the instance.
pub struct Heard {
    pub tcp: TcpStream,
    pub rest: Vec<u8>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Heard {
    /// The next head; `None`: the other side closed. What came with it is in `rest`.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.rest.drain(..end + 4).collect();
                let head = String::from_utf8(head).expect("text");
                self.heads.lock().push(head.clone());
                return Some(head);
            }
            if self.tcp.read_buf(&mut self.rest).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// The next `length` bytes.
    pub async fn bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.rest.len() < length {
            if self.tcp.read_buf(&mut self.rest).await.ok()? == 0 {
                return None;
            }
        }
        Some(self.rest.drain(..length).collect())
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        // Whoever left does not hear it.
        let _ = self.tcp.write_all(bytes).await;
    }

    /// Waits for the other side to close; what it says until then.
    pub async fn end(mut self) -> Vec<u8> {
        let _ = self.tcp.read_to_end(&mut self.rest).await;
        self.rest
    }
}
