//! Any bytes as a PROXY header.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mps_gateway_fuzz::wire::proxy_protocol::{MAX_LEN, parse};

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    assert!(whole != Ok(None) || data.len() < MAX_LEN, "never more than the bound");
    if let Ok(Some((header, length))) = whole {
        assert!(length <= data.len() && length <= MAX_LEN);
        for cut in 0..length {
            assert_eq!(parse(&data[..cut]), Ok(None));
        }
        for built in [header.to_v1(), header.to_v2(&[]).expect("short")] {
            let (again, all) = parse(&built).expect("what is built is a header").expect("a whole one");
            assert_eq!((again, all), (header, built.len()));
        }
    }
});
