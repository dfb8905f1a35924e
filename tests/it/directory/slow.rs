//! A Redis that answers every command, and takes its time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use mps_gateway::directory::{Answer, Freshness, Settings};
use mps_gateway::lifecycle::Drain;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::device;
use super::replica::{Replica, until};
use crate::redis_server::RedisServer;

/// Stands before a server and holds each answer back for so many milliseconds.
struct Brake {
    address: SocketAddr,
    hold: Arc<AtomicU64>,
    drain: Drain,
}

impl Brake {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (hold, drain) = (Arc::new(AtomicU64::new(0)), Drain::new(Duration::ZERO));
        let (held, tasks) = (Arc::clone(&hold), drain.clone());
        drain.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tasks.spawn(pass(client, server, Arc::clone(&held)));
            }
        });
        Self { address, hold, drain }
    }

    fn hold(&self, answers: Duration) {
        self.hold.store(answers.as_millis() as u64, Ordering::Relaxed);
    }
}

async fn pass(client: TcpStream, server: SocketAddr, hold: Arc<AtomicU64>) {
    let server = TcpStream::connect(server).await.expect("Redis is up");
    let ((mut asks, mut hears), (mut answers, mut asked)) = (client.into_split(), server.into_split());
    let (held, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let there = tokio::io::copy(&mut asks, &mut asked);
    let hear = async {
        let mut room = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = answers.read(&mut room).await {
            let at = Instant::now() + Duration::from_millis(hold.load(Ordering::Relaxed));
            held.send((at, room[..length].to_vec())).await.expect("both end together");
        }
    };
    let back = async {
        while let Some((at, answer)) = due.recv().await {
            sleep_until(at).await;
            if hears.write_all(&answer).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = there => {}
        () = hear => {}
        () = back => {}
    }
}

#[tokio::test]
async fn a_slow_redis_is_not_given_up_and_what_it_can_answer_in_time_it_does() {
    let Some(server) = RedisServer::start().await else { return };
    let address = server.url().trim_start_matches("redis://").parse().expect("an address");
    let brake = Brake::before(address).await;
    let url = format!("redis://{}", brake.address);
    let settings = Settings { url, budget: Duration::from_secs(1), ..Settings::default() };
    let (one, two) = (Replica::with(settings).await.expect("opens"), Replica::open(&server.url()).await);
    let _kept = two.connect(device(1), "b").await;
    until("well", Duration::from_secs(10), async || {
        matches!(one.keeper.owner(device(2), Freshness::Fresh).await, Answer::Nobody)
            && one.owner(device(1)).await.is_some()
    })
    .await;
    brake.hold(Duration::from_millis(600)); // of the 800 ms that one command has, and two have 1 s
    let ask = |n| one.keeper.owner(device(n), Freshness::Fresh);
    let (known, unknown) = tokio::join!(ask(1), join_all((2..6).map(ask)));
    assert!(matches!(known, Answer::Owned { .. }), "one command is enough: {known:?}");
    for answer in unknown {
        assert!(matches!(answer, Answer::Unreachable { .. }), "two are too many: {answer:?}");
    }
    assert!(one.keeper.status().reachable, "every command was answered");
    let errors = "mps_gateway_directory_errors_total 4";
    assert!(one.metrics.render().contains(errors), "each look-up that was cut counts");
    brake.hold(Duration::ZERO);
    let nobody = async || matches!(one.keeper.owner(device(2), Freshness::Fresh).await, Answer::Nobody);
    until("well again", Duration::from_secs(5), nobody).await;
    drop(brake.drain);
}
