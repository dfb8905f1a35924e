use proptest::prelude::*;

use super::*;
use crate::net::relay::Watch as _;

/// One side says something.
#[derive(Clone, Debug)]
enum Turn {
    Device(Vec<u8>),
    Instance(Vec<u8>),
}

/// All that can be seen of a session.
#[derive(Debug, Default, Eq, PartialEq)]
struct Seen {
    refused: Option<Refusal>,
    proven: bool,
    to_instance: Vec<u8>,
    to_device: Vec<u8>,
    failures: u32,
}

/// Plays the turns, each cut into chunks of at most `most` bytes.
fn play(turns: &[Turn], most: usize) -> Seen {
    let mut prover = prover();
    let mut seen = Seen::default();
    'session: for turn in turns {
        let (Turn::Device(said) | Turn::Instance(said)) = turn;
        for chunk in said.chunks(most) {
            let verdict = match turn {
                Turn::Device(_) => prover.device_bytes(chunk),
                Turn::Instance(_) => prover.instance_bytes(chunk),
            };
            seen.to_instance.extend(to_instance(&mut prover).concat());
            seen.to_device.extend(to_device(&mut prover).concat());
            if let Err(refusal) = verdict {
                seen.refused = Some(refusal);
                break 'session;
            }
        }
    }
    seen.proven = prover.proven();
    seen.failures = prover.login_failures();
    if seen.refused == Some(Refusal::TooManyLoginFailures) {
        // Whether the fifteenth byte of the last failure came along depends on the chunk it was in.
        let end = seen.to_device.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        seen.to_device.truncate(end);
    }
    if seen.proven {
        let proven = prover.finish();
        seen.to_instance.extend(proven.to_instance.concat());
        seen.to_device.extend(proven.to_device);
    }
    seen
}

fn device_words() -> impl Strategy<Value = Vec<u8>> {
    let words = vec![
        service(AUTH_SERVICE),
        service(PFWD_SERVICE),
        login(),
        login(),
        keepalive(0x3434_3434),
        keepalive(0),
        forward(52),
        Message::ChannelData { recipient: 52, data: &[52; 9] }.to_bytes(),
        Message::KeepaliveReply { cookie: 52 }.to_bytes(),
    ];
    let odd = vec![
        disconnect(),
        identity(),
        success(),
        Bytes::from_static(&[7, 7]),
        Bytes::from_static(b"2\0\0\0\x01"),
    ];
    let word = prop_oneof![20 => prop::sample::select(words), 1 => prop::sample::select(odd)];
    prop::collection::vec(word, 1..5).prop_map(|words| words.concat())
}

/// What instances say, with at most one answer to a login in a turn: there is no second one before
/// the device asked again.
fn instance_words(proof: bool) -> impl Strategy<Value = Vec<u8>> {
    let words = vec![
        accept(AUTH_SERVICE),
        accept(PFWD_SERVICE),
        identity(),
        Message::KeepaliveReply { cookie: 0x3434_3434 }.to_bytes(),
    ];
    let answers = if proof {
        vec![failure(true), failure(false), success()]
    } else {
        vec![failure(true), failure(false)]
    };
    let odd = vec![disconnect(), forward(1), Bytes::from_static(&[0]), Bytes::from_static(&[6, 0])];
    let few = || prop::collection::vec(prop::sample::select(words.clone()), 0..3);
    let answer = prop::option::weighted(0.7, prop::sample::select(answers));
    let odd = prop::option::weighted(0.1, prop::sample::select(odd));
    (few(), answer, few(), odd).prop_map(|(before, answer, after, odd)| {
        before.into_iter().chain(answer).chain(after).chain(odd).flatten().collect()
    })
}

fn turns(proof: bool) -> impl Strategy<Value = Vec<Turn>> {
    let turn =
        prop_oneof![device_words().prop_map(Turn::Device), instance_words(proof).prop_map(Turn::Instance),];
    prop::collection::vec(turn, 1..12).prop_map(|mut turns| {
        turns.insert(0, Turn::Device([service(AUTH_SERVICE), login()].concat()));
        turns
    })
}

fn said(turns: &[Turn], device: bool) -> Vec<u8> {
    let side = turns.iter().filter_map(|turn| match turn {
        Turn::Device(bytes) => device.then_some(bytes),
        Turn::Instance(bytes) => (!device).then_some(bytes),
    });
    side.flatten().copied().collect()
}

fn split(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Ok(crate::wire::apf::Extent::Whole(length)) = crate::wire::apf::extent(stream) {
        messages.push(&stream[..length]);
        stream = &stream[length..];
    }
    messages.push(stream);
    messages
}

/// Whether `part` is what is left of `whole` when some messages are taken out.
fn is_part(part: &[&[u8]], whole: &[&[u8]]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|message| rest.any(|other| other == message))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_same_stream_in_any_chunks_ends_alike(turns in turns(true), most in 1..70_usize) {
        prop_assert_eq!(play(&turns, most), play(&turns, usize::MAX));
    }

    #[test]
    fn the_device_hears_a_prefix_of_what_the_instance_says(turns in turns(true), most in 1..70_usize) {
        let seen = play(&turns, most);
        prop_assert!(said(&turns, false).starts_with(&seen.to_device));
    }

    /// Keepalives and retries may overtake; apart from them the order is kept, and nothing is added.
    #[test]
    fn the_instance_hears_messages_of_the_device_in_order(turns in turns(true), most in 1..70_usize) {
        let seen = play(&turns, most);
        let (all, passed) = (said(&turns, true), seen.to_instance);
        let (all, passed) = (split(&all), split(&passed));
        let class = |message: &[u8]| message.first().copied().filter(|first| {
            matches!(*first, kind::KEEPALIVE_REQUEST | kind::USERAUTH_REQUEST)
        });
        for overtaking in [None, Some(kind::KEEPALIVE_REQUEST), Some(kind::USERAUTH_REQUEST)] {
            let part: Vec<_> = passed.iter().filter(|m| !m.is_empty() && class(m) == overtaking).copied().collect();
            let whole: Vec<_> = all.iter().filter(|m| class(m) == overtaking).copied().collect();
            prop_assert!(is_part(&part, &whole), "{:?} of {:?}", part, whole);
        }
        if seen.refused.is_none() && seen.proven {
            prop_assert_eq!(passed.concat().len(), all.concat().len(), "after proof nothing is left behind");
        }
    }

    #[test]
    fn without_a_52_of_the_instance_nothing_is_proof(turns in turns(false), most in 1..70_usize) {
        prop_assert!(!play(&turns, most).proven);
    }

    /// An instance that only repeats what it hears proves nobody, whatever a device makes of that.
    #[test]
    fn an_echo_is_never_proof(said in prop::collection::vec(device_words(), 1..6), most in 1..70_usize) {
        let mut prover = prover();
        for chunk in said.concat().chunks(most) {
            let refused = prover.device_bytes(chunk).is_err();
            while let Some(message) = prover.to_instance() {
                let _ = prover.instance_bytes(&message);
            }
            prop_assert!(!prover.proven());
            if refused {
                break;
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_reach_the_other_side_altered(
        turns in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)), 0..12), asking in any::<bool>(),
    ) {
        let mut all: Vec<_> = turns.into_iter().map(|(device, bytes)| {
            if device { Turn::Device(bytes) } else { Turn::Instance(bytes) }
        }).collect();
        if asking {
            all.insert(0, Turn::Device(login().to_vec()));
        }
        let seen = play(&all, 7);
        prop_assert_eq!(&seen, &play(&all, usize::MAX));
        prop_assert!(said(&all, false).starts_with(&seen.to_device));
    }

    #[test]
    fn the_follower_judges_a_stream_alike_in_any_chunks(
        words in prop::collection::vec(device_words(), 0..5),
        noise in prop::collection::vec(any::<u8>(), 0..30),
        most in 1..70_usize,
    ) {
        let stream = [words.concat(), noise].concat();
        let follow = |most: usize| {
            let mut follower = Follower::new(GuardMode::Strict);
            let verdict = stream.chunks(most).try_for_each(|chunk| follower.device_bytes(chunk));
            (verdict, follower.stepped_aside())
        };
        prop_assert_eq!(follow(most), follow(usize::MAX));
    }

    /// What the follower lets pass never contains the type byte of a DISCONNECT or a second identity.
    #[test]
    fn no_byte_of_a_disconnect_passes_the_follower(
        words in prop::collection::vec(device_words(), 0..5), second in any::<bool>(), most in 1..70_usize,
    ) {
        let before: Vec<_> = split(&words.concat()).into_iter()
            .take_while(|message| matches!(message.first(), Some(&(kind::SERVICE_REQUEST | kind::KEEPALIVE_REQUEST | kind::KEEPALIVE_REPLY | kind::GLOBAL_REQUEST | kind::CHANNEL_DATA))))
            .map(<[u8]>::to_vec).collect();
        let (bad, refusal) = if second { (identity(), Refusal::SecondIdentity) } else { (disconnect(), Refusal::Disconnect) };
        let stream = [before.concat(), bad.to_vec()].concat();
        let mut follower = Follower::new(GuardMode::Strict);
        let mut passed = 0;
        let verdict = stream.chunks(most).try_for_each(|chunk| {
            follower.device_bytes(chunk)?;
            passed += chunk.len();
            Ok(())
        });
        prop_assert_eq!(verdict, Err(refusal));
        prop_assert!(passed <= before.concat().len());
    }
}
