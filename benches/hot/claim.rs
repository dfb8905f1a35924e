//! A record of the directory, written and read.

use std::hint::black_box;
use std::sync::Arc;

use criterion::Throughput;
use mps_gateway::directory::record;
use mps_gateway::model::{Claim, Epoch, ReplicaId, SessionId, SessionKey};

use crate::table::{Table, timed};

/// A claim at this instance.
pub fn claim(instance: &str) -> Claim {
    Claim {
        epoch: Epoch::new(1_790_000_000_123_456).expect("not zero"),
        key: SessionKey { replica: ReplicaId::new(0x00de_adbe_ef42), session: SessionId(0x1f_00a5) },
        instance: instance.parse().expect("a name"),
    }
}

pub fn measure(table: &mut Table) {
    let claim = claim("10.244.113.27");
    let text = claim.to_string();
    let size = Throughput::Bytes(text.len() as u64);
    assert_eq!(record::parse(&text).as_ref(), Some(&claim));

    let mut write = |times| timed(times, || black_box(&claim).to_string());
    let mut copy = |times| timed(times, || black_box(&text).clone());
    table.part("claim written", size.clone(), &mut write, &mut [("copying its text", &mut copy)]);

    let mut read = |times| timed(times, || record::parse(black_box(&text)).expect("a record"));
    // What a claim keeps of its text is its instance's name.
    let name = claim.instance.as_str();
    let mut keep = |times| timed(times, || Arc::<str>::from(black_box(name)));
    table.part("claim read", size, &mut read, &mut [("keeping its name", &mut keep)]);
}
