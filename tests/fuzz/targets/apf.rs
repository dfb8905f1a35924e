//! Any bytes as an APF stream, whole and in pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mps_gateway_fuzz::wire::apf::{Event, Extent, Framer, Message, extent, first_word, preamble};

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(preamble)) = preamble(data) {
        assert_eq!(preamble.to_bytes()[..29], data[..29]);
    }
    assert!(!matches!(first_word(data), Ok(None)) || data.len() < 4, "four bytes decide");

    let mut at = 0;
    while let Ok(Some((message, length))) = Message::parse(&data[at..]) {
        assert!(length > 0 && length <= data.len() - at);
        let built = message.to_bytes();
        assert_eq!(built.len(), length);
        assert_eq!(Message::parse(&built), Ok(Some((message, length))));
        at += length;
    }
    assert_eq!(matches!(extent(data), Ok(Extent::Partial)), matches!(Message::parse(data), Ok(None)));

    // The first byte says how the stream is cut: wherever that is, messages end at the same places.
    let step = data.first().map_or(1, |first| usize::from(*first) % 17 + 1);
    assert_eq!(ends(data, step), ends(data, data.len().max(1)));
});

/// Where messages end, and whether the stream is refused.
fn ends(stream: &[u8], step: usize) -> (Vec<usize>, bool) {
    let (mut framer, mut found, mut before) = (Framer::new(), Vec::new(), 0);
    for chunk in stream.chunks(step) {
        let mut rest = chunk;
        loop {
            match framer.next(&mut rest) {
                Ok(Some(Event::End)) => found.push(before + chunk.len() - rest.len()),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
        before += chunk.len();
    }
    (found, false)
}
