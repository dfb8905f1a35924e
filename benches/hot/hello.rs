//! The judge of hellos, on what old and new clients say first.

use std::hint::black_box;

use criterion::Throughput;
use mps_gateway::wire::client_hello::{LeafKey, judge};
use rustls::server::Acceptor;

use crate::table::{Table, timed};

/// By OpenSSL: the oldest that a device may send to the newest.
const HELLOS: [(&str, &[u8]); 6] = [
    ("tls10-rsa", include_bytes!("../../tests/fuzz/seeds/client_hello/tls10")),
    ("tls11-cbc", include_bytes!("../../tests/fuzz/seeds/client_hello/tls11")),
    ("tls12-rsa", include_bytes!("../../tests/fuzz/seeds/client_hello/tls12-rsa")),
    ("tls12-cbc", include_bytes!("../../tests/fuzz/seeds/client_hello/tls12-cbc")),
    ("tls12-gcm", include_bytes!("../../tests/fuzz/seeds/client_hello/tls12-gcm")),
    ("tls13", include_bytes!("../../tests/fuzz/seeds/client_hello/tls13")),
];

pub fn measure(table: &mut Table) {
    for (name, hello) in HELLOS {
        let mut room = vec![0; hello.len()];
        let mut ours = |times| timed(times, || judge(black_box(hello), LeafKey::Rsa).expect("a hello"));
        let mut copy = |times| timed(times, || room.copy_from_slice(black_box(hello)));
        // Rejects what is too old for it; else decodes the hello and keeps it.
        let mut rustls = |times| {
            timed(times, || {
                let mut acceptor = Acceptor::default();
                acceptor.read_tls(&mut black_box(hello)).expect("bytes in memory");
                acceptor.accept().is_ok()
            })
        };
        table.part(
            &format!("hello {name}"),
            Throughput::Bytes(hello.len() as u64),
            &mut ours,
            &mut [("copying it", &mut copy), ("rustls reading it", &mut rustls)],
        );
    }
}
