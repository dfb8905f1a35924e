//! The load balancer in front of the replicas: TCP, round robin, whoever accepts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mps_gateway::lifecycle::Drain;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// A balancer on loopback. Ends with its [`Drain`].
pub struct Balancer {
    /// Where devices connect.
    pub address: SocketAddr,
}

impl Balancer {
    /// Spreads connections over `backends`, passing over those that refuse.
    pub async fn start(backends: Vec<SocketAddr>, drain: &Drain) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (backends, next) = (Arc::new(backends), Arc::new(AtomicUsize::new(0)));
        let tasks = drain.clone();
        drain.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = tasks.begun() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((client, _)) = accepted else { continue };
                let (backends, next, stop) = (backends.clone(), next.clone(), tasks.clone());
                tasks.spawn(async move {
                    let Some(backend) = connect(&backends, &next).await else { return };
                    tokio::select! {
                        () = stop.begun() => {}
                        () = splice(client, backend) => {}
                    }
                });
            }
        });
        Self { address }
    }
}

async fn connect(backends: &[SocketAddr], next: &AtomicUsize) -> Option<TcpStream> {
    for _ in backends {
        let backend = backends[next.fetch_add(1, Ordering::Relaxed) % backends.len()];
        if let Ok(tcp) = TcpStream::connect(backend).await {
            return Some(tcp);
        }
    }
    None
}

async fn splice(mut client: TcpStream, mut backend: TcpStream) {
    // How it ended is for the two ends to say.
    let _ = copy_bidirectional(&mut client, &mut backend).await;
}
