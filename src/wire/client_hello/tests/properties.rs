//! Judge and rustls agree on hellos of every kind.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::*;
use super::build::{Parts, bytes, key, list8, list16};
use super::oracle::{Answer, LEAVES, ask, ask_twice};

/// Some of `all`, in any order.
fn some_of(all: &'static [u16]) -> impl Strategy<Value = Vec<u16>> {
    subsequence(all, 0..=all.len()).prop_shuffle()
}

const SUITES: &[u16] = &[
    0x1301, 0x1302, 0x1303, 0x1304, 0xc02f, 0xc030, 0xcca8, 0xc02b, 0xc02c, 0xcca9, 0xc013, 0xc027, 0x002f,
    0x009c, 0x009e, 0x0039, 0x00ff, 0x0a0a,
];
const GROUPS: &[u16] = &[0x001d, 0x0017, 0x0018, 0x0019, 0x001e, 0x11ec, 0x0100, 0x0a0a];
const SCHEMES: &[u16] =
    &[0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806, 0x0403, 0x0503, 0x0603, 0x0807, 0x0809, 0x0201, 0x0203];
const VERSIONS: &[u16] = &[0x0304, 0x0303, 0x0302, 0x0301, 0x0a0a];

type Extension = (u16, Vec<u8>);

fn numbers16(kind: u16, all: &'static [u16]) -> impl Strategy<Value = Option<Extension>> {
    let list = some_of(all).prop_map(move |list| Some((kind, list16(&bytes(&list)))));
    prop_oneof![1 => Just(None), 7 => list]
}

fn versions() -> impl Strategy<Value = Option<Extension>> {
    let list = some_of(VERSIONS).prop_map(|list| Some((43, list8(&bytes(&list)))));
    prop_oneof![1 => Just(None), 2 => list]
}

fn points() -> impl Strategy<Value = Option<Extension>> {
    let lists: &[&[u8]] = &[&[0], &[0, 1, 2], &[1, 2], &[]];
    prop_oneof![3 => Just(None), 2 => select(lists).prop_map(|list| Some((11, list8(list))))]
}

/// Key shares with keys that rustls takes, sometimes one that is too short.
fn shares() -> impl Strategy<Value = Option<Extension>> {
    let share = |group: u16, short: bool| {
        let key = key(group);
        [bytes(&[group]), list16(&key[..key.len() - usize::from(short)])].concat()
    };
    let one = (select(GROUPS), prop::bool::weighted(0.1)).prop_map(move |(group, short)| share(group, short));
    let list = prop::collection::vec(one, 0..4).prop_map(|list| Some((51, list16(&list.concat()))));
    prop_oneof![1 => Just(None), 4 => list]
}

fn host(name: &[u8]) -> Vec<u8> {
    [&[0], list16(name).as_slice()].concat()
}

/// Extensions that decide nothing unless they are malformed or contradict one another.
fn others() -> impl Strategy<Value = Vec<Extension>> {
    let all: Vec<Extension> = vec![
        (0, list16(&host(b"mps.example.org"))),
        (0, list16(&host(b"10.0.0.1"))),
        (0, list16(&host(b"bad name"))),
        (0, list16(&[host(b"a"), host(b"b")].concat())),
        (0, list16(&[1, 2, 3])),
        (5, vec![1, 0, 0, 0, 0]),
        (5, vec![2, 9]),
        (5, vec![1, 0, 0]),
        (16, list16(&list8(b"h2"))),
        (16, list16(&[0])),
        (19, list8(&[2])),
        (20, list8(&[2, 0])),
        (21, vec![0; 9]),
        (22, vec![]),
        (23, vec![]),
        (23, vec![0]),
        (27, list8(&bytes(&[2, 1]))),
        (27, list8(&bytes(&[2, 2]))),
        (35, vec![5; 40]),
        (35, vec![]),
        (42, vec![]),
        (44, list16(&[1])),
        (45, list8(&[1])),
        (45, list8(&[])),
        (47, list16(&list16(b"DN"))),
        (57, vec![1, 2]),
        (58, vec![1]),
        (58, vec![1, 2]),
        (0xff01, list8(&[])),
        (0xfe0d, vec![1]),
        (0xfe0d, [vec![0; 6], list16(&[]), list16(&[7])].concat()),
        (0xfe0d, vec![3]),
        (0xfd00, list8(&bytes(&[10]))),
        (0x0a0a, vec![1]),
        (0x0a0a, vec![2]),
    ];
    let length = all.len();
    let few =
        prop_oneof![3 => 0..3_usize, 1 => 0..length].prop_flat_map(move |n| subsequence(all.clone(), n));
    let psk = |identities: usize, binders: usize| {
        let identity = [list16(&[3; 20]), vec![0; 4]].concat().repeat(identities);
        (41, [list16(&identity), list16(&list8(&[4; 32]).repeat(binders))].concat())
    };
    let psks = select(vec![None, None, None, Some((1, 1)), Some((2, 2)), Some((2, 1)), Some((0, 1))]);
    (few.prop_shuffle(), psks, prop::bool::weighted(0.9)).prop_map(move |(mut few, found, last)| {
        if let Some((identities, binders)) = found {
            few.insert(if last { few.len() } else { 0 }, psk(identities, binders));
        }
        few
    })
}

fn hellos() -> impl Strategy<Value = Parts> {
    let decisive = (numbers16(10, GROUPS), numbers16(13, SCHEMES), versions(), points(), shares());
    (
        prop_oneof![4 => Just(0x0303), 1 => select(vec![0x0300_u16, 0x0301, 0x0302, 0x0304, 0x7f00])],
        prop::collection::vec(any::<u8>(), 0..=33),
        some_of(SUITES),
        prop_oneof![6 => Just(vec![0]), 1 => select(vec![vec![1], vec![0, 1], vec![0, 0], vec![]])],
        decisive,
        others(),
    )
        .prop_map(|(client_version, session_id, suites, compressions, decisive, others)| {
            let (groups, schemes, versions, points, shares) = decisive;
            let mut extensions: Vec<_> =
                [groups, schemes, versions, points, shares].into_iter().flatten().collect();
            extensions.extend(others);
            Parts { client_version, session_id, suites, compressions, extensions }
        })
}

/// Hellos that are mostly good.
fn good_hellos() -> impl Strategy<Value = Parts> {
    (select(VERSIONS), some_of(SUITES), subsequence(GROUPS, 1..5).prop_shuffle(), some_of(GROUPS)).prop_map(
        |(version, suites, groups, shares)| {
            let suites = [suites.as_slice(), &[0xc02f, 0xc02b, 0x1301]].concat();
            let parts = Parts::tls12(&suites).groups(&groups).schemes(SCHEMES).shares(&shares);
            parts.versions(&[version, 0x0303])
        },
    )
}

fn accepts(verdict: &Result<Option<Hello>, NotHello>) -> bool {
    matches!(verdict, Ok(Some(Hello { verdict: Ok(()), .. })))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn judge_and_rustls_agree(
        parts in prop_oneof![hellos(), good_hellos()], leaf in select(&LEAVES), most in prop_oneof![1..40_usize, Just(9999)],
    ) {
        let judged = judge(&parts.records(most), leaf);
        prop_assert!(!matches!(judged, Ok(None)), "a whole hello is judged");
        let answer = ask_twice(&parts, leaf, most);
        prop_assert_eq!(accepts(&judged), answer == Answer::Accepts, "{:?} but rustls {:?}", judged, answer);
    }

    #[test]
    fn every_prefix_of_a_hello_asks_for_more(parts in good_hellos(), leaf in select(&LEAVES), most in 1..200_usize) {
        let bytes = parts.records(most);
        for cut in 0..bytes.len() {
            prop_assert_eq!(judge(&bytes[..cut], leaf), Ok(None), "cut at {}", cut);
        }
        prop_assert!(matches!(judge(&bytes, leaf), Ok(Some(_))));
    }

    #[test]
    fn a_verdict_once_given_is_kept_whatever_follows(
        parts in hellos(), leaf in select(&LEAVES), most in 1..200_usize, more in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let mut bytes = parts.records(most);
        let whole = judge(&bytes, leaf);
        for cut in 0..bytes.len() {
            let early = judge(&bytes[..cut], leaf);
            prop_assert!(early == Ok(None) || early == whole, "cut at {}: {:?}", cut, early);
        }
        bytes.extend(more);
        prop_assert_eq!(judge(&bytes, leaf), whole);
    }

    /// Bytes changed at random. Without shares for known groups, since their keys are not judged.
    #[test]
    fn judge_and_rustls_agree_on_damaged_hellos(
        parts in hellos(), leaf in select(&LEAVES), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut parts = parts;
        parts.extensions.retain(|(kind, _)| *kind != 51);
        let mut message = parts.message();
        for (at, byte) in damage {
            let at = at.index(message.len() - 1) + 1; // type 1 stays: anything else is no hello at all
            message[at] = byte;
        }
        let bytes = super::build::records(&message, usize::MAX);
        let judged = judge(&bytes, leaf);
        match ask(&bytes, leaf) {
            Answer::Accepts => prop_assert!(accepts(&judged), "{:?}", judged),
            Answer::Refuses => prop_assert!(!accepts(&judged)),
            Answer::Waits => prop_assert!(matches!(judged, Ok(None) | Err(NotHello::Malformed)), "{:?}", judged),
            // rustls looks at the schemes only in the second hello.
            Answer::Retry(_) => prop_assert!(matches!(judged, Ok(Some(_)))),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        beginning in 0..3_usize, bytes in prop::collection::vec(any::<u8>(), 0..400), leaf in select(&LEAVES),
    ) {
        let beginning = [b"".as_slice(), b"\x16\x03\x01", b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03"][beginning];
        let bytes = [beginning, &bytes].concat();
        if accepts(&judge(&bytes, leaf)) {
            prop_assert_ne!(ask(&bytes, leaf), Answer::Refuses);
        }
    }
}
