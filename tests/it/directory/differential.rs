//! The Lua scripts against their model: random commands, answers and stored text compared.
//!
//! The scripts run as they are but for their clock: `redis.call('TIME')` is replaced by two
//! arguments, so that both sides see the same time, also one that steps back.

use std::fmt::Write;
use std::time::Duration;

use mps_gateway::directory::memory::Model;
use mps_gateway::directory::{Beat, Claiming, Outcome};
use mps_gateway::model::{Epoch, ReplicaId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis::Value;

use super::{device, key, named};
use crate::redis_server::RedisServer;

const CLAIM: &str = include_str!("../../../src/directory/redis/claim.lua");
const RELEASE: &str = include_str!("../../../src/directory/redis/release.lua");
const BEAT: &str = include_str!("../../../src/directory/redis/beat.lua");

const SEEDS: u64 = 12;
const STEPS: usize = 1_500;
/// 2026, in microseconds.
const NOW: u64 = 1_790_000_000_000_000;

/// What stands where a record should: read as absent, replaced by the next claim, never released.
const GARBAGE: &[&str] = &[
    "",
    "garbage",
    "1:aaaaaaaa:1",
    "0:aaaaaaaa:1:a",
    "01:aaaaaaaa:1:a",
    "1:AAAAAAAA:1:a",
    "1:aaaaaaa:1:a",
    "1:aaaaaaaa:1F:a",
    "1:aaaaaaaa:01:a",
    "1:aaaaaaaa::a",
    "1:aaaaaaaa:1:",
    "1:aaaaaaaa:1:a b",
    "1:aaaaaaaa:1:a\n",
    "-1:aaaaaaaa:1:a",
    "1e3:aaaaaaaa:1:a",
    "9007199254740991:aaaaaaaa:1:a",
    "99999999999999999999:aaaaaaaa:1:a",
    "1:aaaaaaaa:11111111111111111:a",
];

fn clocked(script: &str) -> String {
    let clocked = script.replace("redis.call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}");
    assert!(clocked != script || !script.contains("TIME"), "the clock was replaced");
    clocked
}

fn instance(rng: &mut StdRng) -> String {
    let long = "n".repeat(255);
    let names = ["10.0.0.11", "fd00::1", "::", "a", "stack_mps.1.x7-k", &long];
    names[rng.random_range(0..names.len())].to_owned()
}

/// A random claim: fresh, late, or restored with an epoch that somebody may have been granted.
fn claiming(rng: &mut StdRng, epochs: &[Epoch]) -> Claiming {
    let epoch = match rng.random_range(0..4) {
        0 if !epochs.is_empty() => Some(epochs[rng.random_range(0..epochs.len())]),
        1 => Epoch::new(NOW + rng.random_range(0..2_000_000)),
        _ => None,
    };
    let ages = [0, 1, 2_999_999, 3_000_000, 3_000_001, 30_000_000, rng.random_range(0..10_000_000)];
    Claiming {
        device: device(rng.random_range(0..4)),
        key: key(rng.random_range(0..3), rng.random_range(0..4) * 13),
        instance: named(&instance(rng)),
        epoch,
        age: Duration::from_micros(ages[rng.random_range(0..ages.len())]),
        proven_at: Epoch::new(NOW + rng.random_range(0..300_000_000)).filter(|_| rng.random_range(0..2) == 0),
    }
}

/// One run of a model and what Redis was asked meanwhile.
struct Run {
    rng: StdRng,
    prefix: String,
    model: Model,
    now: u64,
    epochs: Vec<Epoch>,
    pipe: redis::Pipeline,
    /// What the model says Redis must answer, and the command in words.
    expected: Vec<(Vec<String>, String)>,
}

impl Run {
    fn record(&self, n: u64) -> String {
        format!("{}:d:{}", self.prefix, device(n))
    }

    fn step(&mut self) {
        // Mostly forwards, now and then a second back, as after a failover.
        let back = self.rng.random_range(0..20) == 0;
        let by = self.rng.random_range(0..400_000);
        self.now = if back { self.now - 2 * by } else { self.now + by };
        match self.rng.random_range(0..10) {
            0..6 => self.claim(),
            6..9 => self.release(),
            _ => self.garbage(),
        }
        let n = self.rng.random_range(0..4);
        let stored = self.model.text(device(n), self.now).map(str::to_owned);
        let record = self.record(n);
        self.pipe.cmd("GET").arg(record);
        self.expected.push((vec![stored.unwrap_or_else(|| "nil".to_owned())], format!("stored for {n}")));
    }

    fn clock(now: u64) -> [u64; 2] {
        [now / 1_000_000, now % 1_000_000]
    }

    fn claim(&mut self) {
        let claiming = claiming(&mut self.rng, &self.epochs);
        let stood = self.model.text(claiming.device, self.now).map(str::to_owned);
        let (outcome, _) = self.model.claim(&claiming, self.now);
        let expected = match &outcome {
            Outcome::Granted { epoch, .. } => {
                self.epochs.push(*epoch);
                vec!["1".to_owned(), epoch.to_string(), stood.unwrap_or_else(|| "nil".to_owned())]
            }
            Outcome::Refused(newer) => vec!["0".to_owned(), newer.to_string()],
        };
        self.pipe
            .cmd("EVAL")
            .arg(clocked(CLAIM))
            .arg(1)
            .arg(format!("{}:d:{}", self.prefix, claiming.device))
            .arg(claiming.key.replica.as_str())
            .arg(claiming.key.session.to_string())
            .arg(claiming.instance.as_str())
            .arg(claiming.epoch.map_or(0, Epoch::micros))
            .arg(claiming.age.as_micros() as u64)
            .arg(1800)
            .arg(format!("{}:sup:", self.prefix))
            .arg(claiming.proven_at.map_or(0, Epoch::micros))
            .arg(&Self::clock(self.now));
        self.expected.push((expected, format!("at {}: {claiming:?}", self.now)));
    }

    fn release(&mut self) {
        let n = self.rng.random_range(0..4);
        let key = key(self.rng.random_range(0..3), self.rng.random_range(0..4) * 13);
        let released = self.model.release(device(n), key, self.now);
        let record = self.record(n);
        self.pipe
            .cmd("EVAL")
            .arg(RELEASE)
            .arg(1)
            .arg(record)
            .arg(key.replica.as_str())
            .arg(key.session.to_string());
        self.expected.push((vec![u8::from(released).to_string()], format!("release {n} by {key:?}")));
    }

    fn garbage(&mut self) {
        let n = self.rng.random_range(0..4);
        let text = GARBAGE[self.rng.random_range(0..GARBAGE.len())];
        self.model.put(device(n), text, self.now);
        let record = self.record(n);
        self.pipe.cmd("SET").arg(record).arg(text).arg("EX").arg(1800);
        self.expected.push((vec!["OK".to_owned()], format!("garbage for {n}: {text:?}")));
    }
}

/// An answer as plain words.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Nil => vec!["nil".to_owned()],
        Value::Int(n) => vec![n.to_string()],
        Value::BulkString(text) => vec![String::from_utf8_lossy(text).into_owned()],
        Value::Okay => vec!["OK".to_owned()],
        Value::Array(values) => values.iter().flat_map(words).collect(),
        other => vec![format!("{other:?}")],
    }
}

#[tokio::test]
async fn the_scripts_do_what_the_model_does() {
    let Some(server) = RedisServer::start().await else { return };
    let client = redis::Client::open(server.url()).expect("a Redis URL");
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
    let mut redis = client.get_multiplexed_async_connection_with_config(&patient).await.expect("Redis is up");
    let (mut granted, mut refused) = (0, 0);
    for seed in 0..SEEDS {
        let mut run = Run {
            rng: StdRng::seed_from_u64(seed),
            prefix: if seed % 2 == 0 { "mpsgw".to_owned() } else { format!("fleet:{seed}") },
            model: Model::default(),
            now: NOW,
            epochs: Vec::new(),
            pipe: redis::pipe(),
            expected: Vec::new(),
        };
        run.pipe.cmd("FLUSHALL");
        run.expected.push((vec!["OK".to_owned()], String::new()));
        (0..STEPS).for_each(|_| run.step());
        let answers = redis.send_packed_commands(&run.pipe, 0, run.expected.len()).await;
        let answers = answers.expect("Redis answers");
        let mut history = String::new();
        for (answer, (expected, command)) in answers.iter().zip(&run.expected) {
            let _ = writeln!(history, "{command} -> {expected:?}");
            let tail = history.lines().rev().take(12).collect::<Vec<_>>().join("\n");
            assert_eq!(&words(answer), expected, "seed {seed}, last commands first:\n{tail}");
            granted += usize::from(expected.len() == 3);
            refused += usize::from(expected.len() == 2);
        }
    }
    assert!(granted > 1_000 && refused > 1_000, "both were tried: {granted} granted, {refused} refused");
}

#[tokio::test]
async fn the_beat_script_does_what_the_model_does() {
    let Some(server) = RedisServer::start().await else { return };
    let client = redis::Client::open(server.url()).expect("a Redis URL");
    let mut redis = client.get_multiplexed_async_connection().await.expect("Redis is up");
    let script = clocked(BEAT);
    for seed in 0..4 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut model, mut now, mut named) = (Model::default(), NOW, String::new());
        let key = |name: &str| format!("fleet{seed}:{{reg}}:{name}");
        for step in 0..400 {
            now = if rng.random_range(0..20) == 0 {
                now - 2_000_000
            } else {
                now + rng.random_range(0..3_000_000)
            };
            let beat = Beat {
                replica: ReplicaId::new(rng.random_range(0..4)),
                lease: Duration::from_millis(rng.random_range(1..10_000)),
                grace: Duration::from_millis(rng.random_range(0..10_000)),
                info: format!("{{\"n\":{}}}", rng.random_range(0..3)),
            };
            let leaves = rng.random_range(0..6) == 0;
            let was_known = if leaves { None } else { Some(model.beat(&beat, now)) };
            if leaves {
                model.leave(beat.replica, now);
            }
            let grace = if leaves { u64::MAX >> 12 } else { beat.grace.as_millis() as u64 };
            let mut eval = redis::cmd("EVAL");
            eval.arg(&script).arg(4).arg(key("s:hb")).arg(key("s:info")).arg(key("s:ver")).arg(key("data"));
            eval.arg(beat.replica.as_str()).arg(if leaves { 0 } else { beat.lease.as_millis() as u64 });
            eval.arg(if leaves { "" } else { &beat.info })
                .arg(grace)
                .arg(format!("name{step}"))
                .arg(&Run::clock(now));
            type Answer = (u64, u8, u64, Vec<String>, Vec<String>, String);
            let (version, known, at, mut leases, infos, name): Answer =
                eval.query_async(&mut redis).await.expect("Redis answers");
            let said = format!("seed {seed}, step {step}");
            let registry = model.registry(now);
            assert_eq!(name.is_empty(), registry.data.is_empty(), "{said}: named by the first beat");
            assert!(named.is_empty() || named == name, "{said}: and never again");
            named = name;
            assert_eq!((version, at), (registry.version, now / 1000), "{said}");
            assert!(was_known.is_none_or(|was_known| was_known == (known == 1)), "{said}");
            let pair = |lease: &mps_gateway::directory::Lease| {
                let index = infos.iter().step_by(2).position(|name| *name == lease.replica.to_string());
                let info = index.map(|index| infos[2 * index + 1].clone());
                assert_eq!(info.as_ref(), Some(&lease.info), "{said}");
                [lease.replica.to_string(), lease.ends.to_string()]
            };
            let mut expected: Vec<_> = registry.leases.iter().map(pair).collect();
            expected.sort();
            let mut stored: Vec<[String; 2]> = leases
                .chunks_exact_mut(2)
                .map(|pair| [std::mem::take(&mut pair[0]), std::mem::take(&mut pair[1])])
                .collect();
            stored.sort();
            assert_eq!(stored, expected, "{said}");
            assert_eq!(infos.len() / 2, expected.len(), "{said}: no info outlives its lease");
        }
    }
}
