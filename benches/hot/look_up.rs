//! Look-ups through the keeper: an own session, a cached answer, and the directory asked.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use criterion::Throughput;
use mps_gateway::directory::memory::Memory;
use mps_gateway::directory::{Answer, Claimed, Freshness, Keeper, Settings};
use mps_gateway::lifecycle::Drain;
use mps_gateway::model::{Claim, DeviceId};
use mps_gateway::net::traffic::Traffic;
use mps_gateway::sessions::{Listed, Session, Sessions};
use mps_gateway::telemetry::Metrics;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::claim::claim;
use crate::table::{Table, timed};

/// Devices of each kind: more than a processor keeps close at hand.
const DEVICES: u64 = 10_000;
/// Longer than all of this takes.
const HOUR: Duration = Duration::from_secs(3_600);

/// A replica over a memory directory, with a runtime that keeps it alive meanwhile.
pub struct House {
    pub keeper: Arc<Keeper>,
    pub runtime: Runtime,
    store: Arc<Memory>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
}

impl House {
    /// One whose answers stay fresh.
    pub fn new() -> Self {
        // Its own thread: leases are renewed while this one measures.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let store = Arc::new(Memory::default());
        let (keeper, sessions, metrics) = runtime.block_on(replica(&store));
        Self { keeper, runtime, store, sessions, metrics }
    }

    /// Awaits `work` so many times.
    pub fn timed<T>(&self, times: u64, mut work: impl AsyncFnMut() -> T) -> Duration {
        let took = self.runtime.block_on(async {
            let began = Instant::now();
            for _ in 0..times {
                black_box(work().await);
            }
            began.elapsed()
        });
        self.metrics.upkeep(); // as every few seconds in a gateway
        took
    }
}

async fn replica(store: &Arc<Memory>) -> (Arc<Keeper>, Arc<Sessions>, Arc<Metrics>) {
    let settings = Settings { cache_ttl: HOUR, cache_negative_ttl: HOUR, ..Settings::default() };
    let (sessions, metrics) = (Arc::new(Sessions::default()), Arc::new(Metrics::new()));
    let (store, drain) = (Arc::clone(store) as _, Drain::new(Duration::ZERO));
    let keeper = Keeper::with_store(settings, store, Arc::clone(&sessions), Arc::clone(&metrics), drain);
    (keeper.await.expect("memory opens"), sessions, metrics)
}

/// Any device, in no order that a cache would like.
pub fn device(n: u64) -> DeviceId {
    let mut bytes = [0x5a; 16];
    bytes[8..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    DeviceId::from_bytes(bytes)
}

/// Proves and claims sessions of all devices from `first` on.
async fn connect(keeper: &Keeper, sessions: &Arc<Sessions>, first: u64) -> Vec<Listed> {
    let mut all = Vec::new();
    for n in first..first + DEVICES {
        let (source, traffic) = (IpAddr::V4(Ipv4Addr::LOCALHOST), Arc::new(Traffic::begin()));
        let instance = "10.244.113.27".parse().expect("a name");
        let session = Session::proven(device(n), sessions.next_id(), instance, source, traffic);
        let (listed, _) = sessions.insert(session);
        let claimed = keeper.claim(&listed.session).await;
        assert!(matches!(claimed, Claimed::Granted(_)), "{claimed:?}");
        all.push(listed);
    }
    all
}

pub fn measure(table: &mut Table) {
    let house = House::new();
    let (here, there, _other) = house.runtime.block_on(async {
        let here = connect(&house.keeper, &house.sessions, 0).await;
        let (other, sessions, _) = replica(&house.store).await;
        let there = connect(&other, &sessions, DEVICES).await;
        (here, there, other)
    });
    let records: HashMap<DeviceId, Claim> =
        (0..3 * DEVICES).map(|n| (device(n), claim("10.244.113.27"))).collect();
    let owned = |answer: &Answer| matches!(answer, Answer::Owned { .. });
    let nobody = |answer: &Answer| matches!(answer, Answer::Nobody);
    for (what, first, freshness, expected) in [
        ("an own session", 0, Freshness::Cached, &owned as &dyn Fn(&Answer) -> bool),
        ("cached", DEVICES, Freshness::Cached, &owned),
        ("cached: nobody", 2 * DEVICES, Freshness::Cached, &nobody),
        ("memory asked", DEVICES, Freshness::Fresh, &owned),
    ] {
        let (mut n, mut m) = (0, 0);
        let mut ours = |times| {
            house.timed(times, async || {
                n = (n + 1) % DEVICES;
                let answer = house.keeper.owner(device(first + n), freshness).await;
                assert!(expected(&answer), "{answer:?}");
                answer
            })
        };
        ours(DEVICES); // everyone is in the cache from here on
        let mut map = |times| {
            timed(times, || {
                m = (m + 1) % DEVICES;
                records.get(&device(first + m)).cloned()
            })
        };
        table.part(
            &format!("look-up, {what}"),
            Throughput::Elements(1),
            &mut ours,
            &mut [("a HashMap", &mut map)],
        );
    }
    drop((here, there));
}
