//! Placement: the scores alone, and the whole decision of the router.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::Throughput;
use mps_gateway::directory::Freshness;
use mps_gateway::instances::{Instance, Instances, Settings};
use mps_gateway::model::{DeviceId, Endpoint, InstanceName};
use mps_gateway::placement::{Candidate, caps, preference, score};
use mps_gateway::route::Router;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::look_up::{House, device};
use crate::table::{Table, timed};

pub fn measure(table: &mut Table) {
    for count in [4, 16, 64] {
        rendezvous(table, count);
        route(table, count);
    }
}

fn names(count: usize) -> Vec<InstanceName> {
    (0..count).map(|n| format!("10.244.113.{n}").parse().expect("a name")).collect()
}

/// Scores, caps and order for one device, as `route` needs them.
fn rendezvous(table: &mut Table, count: usize) {
    let candidates: Vec<_> = names(count)
        .into_iter()
        .map(|name| Candidate { name, weight: 1.0, sessions: 1_000, max_sessions: None })
        .collect();
    let (mut n, mut m) = (0, 0);
    let mut ours = |times| {
        timed(times, || {
            n += 1;
            let device = device(n);
            let mut scored: Vec<_> =
                candidates.iter().map(|c| (score(device, &c.name, c.weight), &c.name)).collect();
            scored.sort_by(|a, b| preference(*a, *b));
            (scored, caps(&candidates))
        })
    };
    let seeds: Vec<u64> = (0..count as u64).collect();
    let mut hash = |times| {
        timed(times, || {
            m += 1;
            let device = device(m);
            black_box(&seeds).iter().map(|seed| xxh3_64_with_seed(device.as_bytes(), *seed)).max()
        })
    };
    table.part(
        &format!("placement over {count}"),
        Throughput::Elements(count as u64),
        &mut ours,
        &mut [("one hash each", &mut hash)],
    );
}

/// The router's answer for a device that nobody owns, as its directory said a moment ago.
fn route(table: &mut Table, count: usize) {
    let house = House::new();
    let list = names(count)
        .into_iter()
        .map(|name| {
            let at = |port| Endpoint::new(name.as_str(), port);
            Instance::mps(name.clone(), at(4433), at(3000))
        })
        .collect();
    let settings =
        Settings { list, avoid: Duration::from_secs(5), connects_in_flight: 64, connects_per_second: 200 };
    let instances = Arc::new(Instances::new(settings));
    let snapshot = instances.snapshot();
    let router = Router::new(Arc::clone(&house.keeper), instances);
    let device = device(1);
    let answer = house.runtime.block_on(house.keeper.owner(device, Freshness::Cached));
    assert!(matches!(answer, mps_gateway::directory::Answer::Nobody), "{answer:?}");
    let mut ours = |times| {
        house.timed(times, async || assert_eq!(router.route(black_box(device)).await.stops.len(), count))
    };
    let owners: HashMap<DeviceId, Option<InstanceName>> = HashMap::from([(device, None)]);
    let mut list = |times| {
        timed(times, || {
            let owner = owners.get(black_box(&device)).cloned();
            (owner, snapshot.instances.iter().map(Arc::clone).collect::<Vec<_>>())
        })
    };
    table.part(
        &format!("route over {count}"),
        Throughput::Elements(count as u64),
        &mut ours,
        &mut [("listing them", &mut list)],
    );
}
