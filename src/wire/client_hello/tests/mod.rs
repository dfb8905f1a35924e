mod build;
mod oracle;
mod properties;

use super::*;
use build::{Parts, bytes, list8, list16};
use oracle::{Answer, LEAVES, ask, ask_twice};

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits")).collect()
}

/// Hellos made with OpenSSL.
fn samples() -> [(&'static str, &'static str, Hello); 5] {
    [
        (
            "TLS 1.0, RSA-CBC only",
            "160301003f0100003b030122e56d2cfdc31d076e4388b4af9b8dfddf661dcd3ff3d454720d4d7314 \
             7ab8d5000006002f003500ff0100000c002300000016000000170000",
            Hello { version: Version::Tls10, key_exchange: KeyExchange::Rsa, verdict: Err(Legacy::Version) },
        ),
        (
            "TLS 1.1, 002f + c013",
            "1603010057010000530302a8dfb6879fbea7a1b3d317c0a00a18048a213328793a9ad0be383db4c5 \
             2613d3000006002fc01300ff01000024000b000403000102000a000c000a001d0017001e00190018 \
             002300000016000000170000",
            Hello {
                version: Version::Tls11,
                key_exchange: KeyExchange::EcdheCbc,
                verdict: Err(Legacy::Version),
            },
        ),
        (
            "TLS 1.2, 002f 0035 009c only",
            "1603010075010000710303c642cd4d53f1e393382896219a3c2424dd12bb34854700db7c32ca09d7 \
             d4996e000008002f0035009c00ff01000040002300000016000000170000000d0030002e04030503 \
             0603080708080809080a080b08040805080604010501060103030203030102010302020204020502 \
             0602",
            Hello { version: Version::Tls12, key_exchange: KeyExchange::Rsa, verdict: Err(Legacy::Suite) },
        ),
        (
            "TLS 1.2, c013 002f",
            "160301008b010000870303c5085b54b9bd69096cab0064897639545749077355910b746944b1471f \
             bc6ebd000006c013002f00ff01000058000b000403000102000a000c000a001d0017001e00190018 \
             002300000016000000170000000d0030002e040305030603080708080809080a080b080408050806 \
             040105010601030302030301020103020202040205020602",
            Hello {
                version: Version::Tls12,
                key_exchange: KeyExchange::EcdheCbc,
                verdict: Err(Legacy::Suite),
            },
        ),
        (
            "TLS 1.2, c02f 002f, P-256 only",
            "16030100830100007f030334330734c77e6b9af042eec0d30e010e2e44d989526fb31a8c481296f9 \
             5b9586000006c02f002f00ff01000050000b000403000102000a0004000200170023000000160000 \
             00170000000d0030002e040305030603080708080809080a080b0804080508060401050106010303 \
             02030301020103020202040205020602",
            Hello { version: Version::Tls12, key_exchange: KeyExchange::EcdheAead, verdict: Ok(()) },
        ),
    ]
}

#[test]
fn sample_hellos_are_judged_as_rustls_judges_them() {
    for (name, hex, expected) in samples() {
        let hello = unhex(hex);
        assert_eq!(judge(&hello, LeafKey::Rsa), Ok(Some(expected.clone())), "{name}");
        let answer = if expected.verdict.is_ok() { Answer::Accepts } else { Answer::Refuses };
        assert_eq!(ask(&hello, LeafKey::Rsa), answer, "{name}");
        for cut in 0..hello.len() {
            assert_eq!(judge(&hello[..cut], LeafKey::Rsa), Ok(None), "{name} cut at {cut}");
        }
    }
}

/// Everything OpenSSL offers in signature_algorithms.
const SCHEMES: [u16; 8] = [0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0203];

/// Asserts what becomes of a hello, and that rustls agrees.
fn becomes(parts: &Parts, leaf: LeafKey, verdict: Result<(), Legacy>) {
    let hello = judge(&parts.records(usize::MAX), leaf).expect("a hello").expect("a whole one");
    assert_eq!(hello.verdict, verdict, "{leaf:?} {parts:x?}");
    let answer = if verdict.is_ok() { Answer::Accepts } else { Answer::Refuses };
    assert_eq!(ask_twice(parts, leaf, usize::MAX), answer, "{leaf:?} {parts:x?}");
}

#[test]
fn an_rsa_leaf_serves_what_the_measurements_say() {
    let offer = |suites: &[u16]| Parts::tls12(suites).groups(&[0x1d, 0x17, 0x1e]).schemes(&SCHEMES);
    let rsa_kx = [0x002f, 0x0035, 0x003c, 0x003d, 0x009c, 0x009d];
    for (parts, verdict) in [
        (Parts::tls12(&rsa_kx).schemes(&SCHEMES), Err(Legacy::Suite)),
        (Parts::tls12(&[0x0033, 0x0039, 0x009e]).schemes(&SCHEMES), Err(Legacy::Suite)),
        (offer(&[0xc013, 0xc014, 0xc027, 0xc028]), Err(Legacy::Suite)),
        (offer(&[0xc02b, 0xc02c, 0xcca9]), Err(Legacy::Suite)),
        (offer(&[0xc02f]), Ok(())),
        (offer(&[0xc030]), Ok(())),
        (offer(&[0xcca8]), Ok(())),
        (offer(&[0xc013, 0x002f, 0xc02f]), Ok(())),
        (Parts::tls12(&[0xc02f]).groups(&[0x17]).schemes(&[0x0201]), Err(Legacy::Signature)),
        (Parts::tls12(&[0xc02f]).groups(&[0x17]).schemes(&[0x0401]), Ok(())),
        (Parts::tls12(&[0xc02f]).groups(&[0x18]).schemes(&SCHEMES), Ok(())),
        (Parts::tls12(&[0xc02f]).groups(&[0x19]).schemes(&SCHEMES), Err(Legacy::Group)),
        (Parts::tls12(&[0xc02f]).groups(&[0x11ec]).schemes(&SCHEMES), Err(Legacy::Group)),
        (Parts::tls12(&[0xc02f]).schemes(&SCHEMES), Err(Legacy::Group)),
        (Parts::tls12(&[0xc02f]).groups(&[0x17]), Err(Legacy::Signature)),
        (offer(&[0xc02f]).with(11, list8(&[1, 2])), Err(Legacy::Format)),
        (offer(&[0xc02f]).with(11, list8(&[1, 0])), Ok(())),
        (Parts { compressions: vec![1], ..offer(&[0xc02f]) }, Err(Legacy::Format)),
        (Parts { compressions: vec![1, 0], ..offer(&[0xc02f]) }, Ok(())),
        (offer(&[0xc02f]).versions(&[0x0302, 0x0301]), Err(Legacy::Version)),
        (Parts { client_version: 0x0302, ..offer(&[0xc02f]) }, Err(Legacy::Version)),
    ] {
        becomes(&parts, LeafKey::Rsa, verdict);
    }
}

#[test]
fn tls_13_is_judged_alone_once_it_is_offered() {
    let offer = |suites: &[u16]| {
        Parts::tls12(suites).versions(&[0x0a0a, 0x0304, 0x0303]).groups(&[0x1d, 0x17]).schemes(&SCHEMES)
    };
    for (parts, verdict) in [
        (offer(&[0x1301]).shares(&[0x1d]), Ok(())),
        (offer(&[0x1301]).shares(&[]), Ok(())),
        (offer(&[0x1301]).shares(&[0x17]), Ok(())),
        (offer(&[0x1301]), Err(Legacy::Group)),
        (offer(&[0xc02f]).shares(&[0x1d]), Err(Legacy::Suite)),
        (offer(&[0x1301, 0xc02f]).shares(&[0x1d, 0x1d]), Err(Legacy::Format)),
        (Parts { compressions: vec![0, 1], ..offer(&[0x1301]).shares(&[0x1d]) }, Err(Legacy::Format)),
        (offer(&[0x1301]).with(51, list16(&[bytes(&[0x1d]), list16(&[9; 31])].concat())), Err(Legacy::Group)),
    ] {
        becomes(&parts, LeafKey::Rsa, verdict);
    }
}

#[test]
fn the_curve_of_an_ecdsa_leaf_decides_the_scheme() {
    for (leaf, own) in
        [(LeafKey::EcdsaP256, 0x0403), (LeafKey::EcdsaP384, 0x0503), (LeafKey::EcdsaP521, 0x0603)]
    {
        for scheme in [0x0403, 0x0503, 0x0603, 0x0807, 0x0804] {
            let verdict = if scheme == own { Ok(()) } else { Err(Legacy::Signature) };
            let tls12 = Parts::tls12(&[0xc02b]).groups(&[0x17]).schemes(&[scheme]);
            becomes(&tls12, leaf, verdict);
            becomes(&tls12.clone().versions(&[0x0303]), leaf, verdict);
            let tls13 = Parts::tls12(&[0x1302]).versions(&[0x0304]).groups(&[0x18]).schemes(&[scheme]);
            becomes(&tls13.shares(&[0x18]), leaf, verdict);
        }
        becomes(&Parts::tls12(&[0xc02f]).groups(&[0x17]).schemes(&SCHEMES), leaf, Err(Legacy::Suite));
    }
}

#[test]
fn what_is_no_hello_is_told_apart() {
    for (bytes, verdict) in [
        (b"GET / HTTP/1.1\r\n".as_slice(), Err(NotHello::Http)),
        (b"POST /x", Err(NotHello::Http)),
        (b"PRI * HTTP/2.0", Err(NotHello::Http)),
        (b"G", Ok(None)),
        (b"OPTIONS", Ok(None)),
        (b"GOT", Err(NotHello::Garbage)),
        (b"\n", Err(NotHello::Garbage)),
        (b"\xc0", Ok(None)),
        (b"\xc0\0\0", Err(NotHello::Garbage)),
        (b"\x15\x03\x01\0\x02\x02\x28", Err(NotHello::Garbage)),
        (b"\x16\x03", Ok(None)),
        (b"\x16\x02", Err(NotHello::Garbage)),
        (b"\x16\x03\x01\0\0", Err(NotHello::Malformed)),
        (b"\x16\x03\x01\x40\x01", Err(NotHello::Overflow)),
        (b"\x16\x03\x01\0\x01\x02", Err(NotHello::Unexpected)),
        (b"\x16\x03\x01\0\x01\x01\x15\x03\x01\0\x02\x02\x5a", Err(NotHello::Garbage)),
        (b"\x16\x03\x01\0\x01\x01\x14\x03\x01\0\x01\x01", Err(NotHello::Unexpected)),
        (b"\x16\x03\x01\0\x01\x01\x39", Ok(None)),
        (b"\x16\x03\x01\0\x01\x01\x39\x03", Err(NotHello::Unexpected)),
        (b"\x16\x03\x01\0\x01\x01\x39\0", Err(NotHello::Garbage)),
        (b"\x14", Ok(None)),
        (b"\x14\x03", Err(NotHello::Unexpected)),
        (b"\x17\x03", Err(NotHello::Unexpected)),
        (b"\x17\x04", Err(NotHello::Garbage)),
    ] {
        assert_eq!(judge(bytes, LeafKey::Rsa), verdict, "{bytes:x?}");
    }
    let sslv2 =
        Hello { version: Version::Ssl, key_exchange: KeyExchange::Other, verdict: Err(Legacy::Version) };
    assert_eq!(judge(b"\x80\x2e\x01\x03\x01", LeafKey::Rsa), Ok(Some(sslv2)));
    assert_eq!(ask(b"\x80\x2e\x01\x03\x01", LeafKey::Rsa), Answer::Refuses);
}

#[test]
fn a_hello_may_be_as_long_as_the_bound_and_no_longer() {
    let padded = |length| Parts::tls12(&[0xc02f]).groups(&[0x17]).schemes(&SCHEMES).with(21, vec![0; length]);
    let room = MAX_LEN - padded(0).records(usize::MAX).len();
    let longest = padded(room).records(usize::MAX);
    assert_eq!(longest.len(), MAX_LEN);
    assert!(matches!(judge(&longest, LeafKey::Rsa), Ok(Some(Hello { verdict: Ok(()), .. }))));
    assert_eq!(judge(&longest[..MAX_LEN - 1], LeafKey::Rsa), Ok(None));
    let longer = padded(room + 1).records(usize::MAX);
    assert_eq!(judge(&longer, LeafKey::Rsa), Err(NotHello::Malformed));
    let dripped = padded(room).records(1);
    assert_eq!(judge(&dripped[..MAX_LEN], LeafKey::Rsa), Err(NotHello::Malformed));
}

#[test]
fn a_second_message_behind_the_hello_is_refused() {
    let message = Parts::tls12(&[0xc02f]).groups(&[0x17]).schemes(&SCHEMES).message();
    let doubled = build::records(&[message.as_slice(), &[0]].concat(), usize::MAX);
    assert_eq!(judge(&doubled, LeafKey::Rsa), Err(NotHello::Unexpected));
    assert_eq!(ask(&doubled, LeafKey::Rsa), Answer::Refuses);
}

#[test]
fn labels_are_closed_sets_in_order() {
    let labels = [
        Version::ALL.map(|v| (v.index(), v.label())).to_vec(),
        KeyExchange::ALL.map(|v| (v.index(), v.label())).to_vec(),
        Legacy::ALL.map(|v| (v.index(), v.label())).to_vec(),
    ];
    for set in labels {
        assert!(set.iter().enumerate().all(|(at, (index, _))| at == *index), "{set:?}");
        let distinct: std::collections::BTreeSet<_> = set.iter().map(|(_, label)| label).collect();
        assert_eq!(distinct.len(), set.len(), "{set:?}");
    }
    assert_eq!(LEAVES.len(), 4);
}
