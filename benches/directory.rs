//! The directory beside `redis-benchmark`, on the same server in the same minute.
//!
//! Prints rates and their ratios; absolute numbers say more about the machine than about us. Goals:
//! claims at 64 tasks at least half of `redis-benchmark -P 16` with the same script, look-ups at
//! least 1.2 times GET without pipelining, writing again at least 0.8 times `-P 16`.
//!
//! `cargo bench --bench directory [-- SECONDS]`; `-- --test` is a short form, whose figures mean nothing.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use mps_gateway::directory::redis::Redis;
use mps_gateway::directory::{Claiming, Directory, Lookup, Outcome, Settings};
use mps_gateway::lifecycle::Drain;
use mps_gateway::model::{DeviceId, Epoch, ReplicaId, SessionId, SessionKey};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[path = "../tests/it/redis_server.rs"]
mod redis_server;
#[path = "../tests/it/required.rs"]
mod required;

use redis_server::RedisServer;
use required::required;

const TASKS: usize = 64;
const CLAIM: &str = include_str!("../src/directory/redis/claim.lua");

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let size = Size::from_args();
    let Some(server) = RedisServer::start().await else { return };
    let there = Command::new("redis-benchmark").arg("--version").output().ok();
    let Some(_) = required("redis-benchmark", "apt-get install redis-tools", there) else { return };
    // Under load by design: a budget that no hiccup of the machine exceeds.
    let settings = Settings { url: server.url(), budget: Duration::from_secs(5), ..Settings::default() };
    let (drain, stop) = (Drain::new(Duration::from_secs(1)), CancellationToken::new());
    let redis = Arc::new(Redis::open(&settings, &drain, &stop).await.expect("a Redis URL"));
    write_again(&redis, size).await; // every device has a record from here on

    let mut rounds = Vec::new();
    for round in 1..=size.rounds {
        let script = benchmark(&server, size, 16, &claim_words());
        let claims = claims(&redis, size).await;
        let get_words = ["get", "mpsgw:d:5a5a5a5a-5a5a-5a5a-0000-__rand_int__"].map(str::to_owned);
        let gets = benchmark(&server, size, 1, &get_words);
        let look_ups = look_ups(&redis, size).await;
        let again = write_again(&redis, size).await;
        println!(
            "round {round}: claims {claims:.0}/s, redis-benchmark -P 16 {script:.0}/s, ratio {:.2} | \
             look-ups {look_ups:.0}/s, GET -P 1 {gets:.0}/s, ratio {:.2} | \
             written again {again:.0}/s, ratio {:.2}",
            claims / script,
            look_ups / gets,
            again / script,
        );
        rounds.push([claims / script, look_ups / gets, again / script]);
    }
    for (i, (what, goal)) in
        [("claims", 0.5), ("look-ups", 1.2), ("written again", 0.8)].into_iter().enumerate()
    {
        let mut ratios: Vec<_> = rounds.iter().map(|round| round[i]).collect();
        ratios.sort_by(f64::total_cmp);
        println!("{what}: median ratio {:.2}, goal {goal}", ratios[ratios.len() / 2]);
    }
    stop.cancel();
}

/// How much is done.
#[derive(Clone, Copy)]
struct Size {
    devices: u64,
    rounds: usize,
    /// Of claims and of look-ups, in each round.
    time: Duration,
    /// Of redis-benchmark, in each round.
    requests: u32,
}

impl Size {
    fn from_args() -> Self {
        let words: Vec<_> = std::env::args().skip(1).collect();
        if words.iter().any(|word| word == "--test") {
            println!("short form: the figures mean nothing");
            return Self { devices: 1_000, rounds: 1, time: Duration::from_millis(100), requests: 2_000 };
        }
        let seconds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(3);
        Self { devices: 100_000, rounds: 3, time: Duration::from_secs(seconds), requests: 300_000 }
    }

    /// Any device: the same for everybody, in no order that a cache would like.
    fn scattered(self, n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.devices
    }
}

fn device(n: u64) -> DeviceId {
    format!("5a5a5a5a-5a5a-5a5a-0000-{n:012}").parse().expect("a GUID")
}

fn claiming(device_number: u64, session: u64, epoch: Option<Epoch>) -> Claiming {
    Claiming {
        device: device(device_number),
        key: SessionKey { replica: ReplicaId::new(1), session: SessionId(session) },
        instance: "10.0.0.11".parse().expect("a name"),
        epoch,
        age: Duration::from_millis(1),
        proven_at: None,
    }
}

/// The claim of [`claiming`] in the words of redis-benchmark.
fn claim_words() -> Vec<String> {
    let replica = ReplicaId::new(1).to_string();
    let hash = redis::Script::new(CLAIM).get_hash().to_owned();
    let key = "mpsgw:d:5a5a5a5a-5a5a-5a5a-0000-__rand_int__";
    [
        "evalsha",
        &hash,
        "1",
        key,
        &replica,
        "1__rand_int__",
        "10.0.0.11",
        "0",
        "1000",
        "1800",
        "mpsgw:sup:",
        "0",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Commands a second of redis-benchmark with 50 clients.
fn benchmark(server: &RedisServer, size: Size, pipeline: u32, words: &[String]) -> f64 {
    let (_, port) = server.url().rsplit_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a port");
    let output = Command::new("redis-benchmark")
        .args([
            "-p",
            &port,
            "-c",
            "50",
            "-n",
            &size.requests.to_string(),
            "-r",
            &size.devices.to_string(),
            "--csv",
        ])
        .args(["-P", &pipeline.to_string()])
        .args(words)
        .output()
        .expect("redis-benchmark runs");
    let text = String::from_utf8_lossy(&output.stdout);
    // The last line: "name","requests per second",.. ; a name may hold commas, so count from behind.
    let line = text.lines().last().unwrap_or_default();
    let fields: Vec<_> = line.split("\",\"").map(|field| field.trim_matches('"')).collect();
    fields.get(1).and_then(|rate| rate.parse().ok()).unwrap_or_else(|| panic!("redis-benchmark said {text}"))
}

/// Runs `TASKS` tasks for `time`; answers how often `act` was done a second.
async fn rate<F>(time: Duration, act: impl Fn(u64) -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let (next, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let tasks = (0..TASKS).map(|_| {
        let (next, act) = (Arc::clone(&next), act.clone());
        #[expect(clippy::disallowed_methods, reason = "a bench's task that no drain need count")]
        tokio::spawn(async move {
            while began.elapsed() < time {
                act(next.fetch_add(1, Ordering::Relaxed)).await;
            }
        })
    });
    futures_util::future::join_all(tasks.collect::<Vec<_>>())
        .await
        .into_iter()
        .for_each(|end| end.expect("no panic"));
    next.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

async fn claims(redis: &Arc<Redis>, size: Size) -> f64 {
    let redis = Arc::clone(redis);
    rate(size.time, move |n| {
        let redis = Arc::clone(&redis);
        async move {
            let outcome = redis.claim(&claiming(size.scattered(n), (1 << 60) + n, None)).await;
            assert!(matches!(outcome, Ok(Outcome::Granted { .. })), "{outcome:?}");
        }
    })
    .await
}

async fn look_ups(redis: &Arc<Redis>, size: Size) -> f64 {
    let redis = Arc::clone(redis);
    rate(size.time, move |n| {
        let redis = Arc::clone(&redis);
        async move {
            let owner = redis.owner(device(size.scattered(n))).await;
            assert!(matches!(owner, Ok(Some(_))), "{owner:?}");
        }
    })
    .await
}

/// Writes every record again as a re-publish does, without its pace.
async fn write_again(redis: &Arc<Redis>, size: Size) -> f64 {
    let began = Instant::now();
    let mut claimings = Vec::with_capacity(500);
    for n in 0..size.devices {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        claimings.push(claiming(n, 7, Epoch::new(now.as_micros() as u64)));
        if claimings.len() == 500 {
            redis.claim_many(&claimings).await.expect("Redis answers");
            claimings.clear();
        }
    }
    size.devices as f64 / began.elapsed().as_secs_f64()
}
