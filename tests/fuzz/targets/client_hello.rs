//! Any bytes as a ClientHello, judged for every kind of key.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mps_gateway_fuzz::wire::client_hello::{LeafKey, MAX_LEN, judge};

fuzz_target!(|data: &[u8]| {
    for leaf in [LeafKey::Rsa, LeafKey::EcdsaP256, LeafKey::EcdsaP384, LeafKey::EcdsaP521] {
        let whole = judge(data, leaf);
        assert!(whole != Ok(None) || data.len() < MAX_LEN, "never more than the bound");
        // A verdict once given is kept: wherever the bytes are cut, it comes later or not at all.
        for cut in [0, 1, 2, 3, 5, 9, data.len() / 2, data.len().saturating_sub(1)] {
            let early = judge(&data[..cut.min(data.len())], leaf);
            assert!(early == Ok(None) || early == whole, "{early:?} became {whole:?}");
        }
    }
});
