use super::*;
use crate::net::relay::Watch as _;

#[test]
fn a_login_passes_message_by_message_whatever_the_boundaries() {
    let stream = [service(AUTH_SERVICE), login()].concat();
    let mut prover = prover();
    for byte in &stream {
        prover.device_bytes(&[*byte]).expect("every byte of it may come");
    }
    assert_eq!(to_instance(&mut prover), [service(AUTH_SERVICE), login()], "one message, one record");
    prover.instance_bytes(&accept(AUTH_SERVICE)).expect("an answer");
    assert_eq!(to_device(&mut prover), [accept(AUTH_SERVICE)]);
    assert!(!prover.proven());
    prover.instance_bytes(&success()).expect("proof");
    assert!(prover.proven());
    assert_eq!(prover.to_device(), None, "the session claims before the device hears of it");
    let proven = prover.finish();
    assert_eq!(proven.to_device, success());
    assert!(proven.to_instance.is_empty());
}

#[test]
fn a_login_is_asked_from_when_it_is_passed_on_until_it_is_answered() {
    let mut prover = prover();
    prover.device_bytes(&[login(), login()].concat()).expect("a login and its retry");
    assert!(!prover.asked(), "not passed on yet");
    prover.to_instance().expect("the first");
    prover.instance_bytes(&[209, 0, 0, 0, 7]).expect("a keep-alive's reply answers nothing");
    assert!(prover.asked());
    prover.instance_bytes(&failure(true)).expect("a failure");
    assert!(!prover.asked(), "the retry is not passed on yet");
    prover.to_instance().expect("the retry");
    assert!(prover.asked());
}

#[test]
fn what_a_device_pipelines_follows_the_52_in_order_but_keepalives_pass_at_once() {
    let mut prover = asked();
    let stream = [service(PFWD_SERVICE), keepalive(7), forward(16993), keepalive(8), forward(16992)].concat();
    prover.device_bytes(&stream[..stream.len() - 3]).expect("it waits");
    assert_eq!(to_instance(&mut prover), [keepalive(7), keepalive(8)]);
    prover.instance_bytes(&[&success()[..], &[209, 0, 0, 0, 7]].concat()).expect("proof");
    prover.device_bytes(&stream[stream.len() - 3..]).expect("it waits");
    let mut proven = prover.finish();
    assert_eq!(proven.to_device, [52, 209, 0, 0, 0, 7].as_slice());
    assert_eq!(proven.to_instance, [service(PFWD_SERVICE), forward(16993), forward(16992)]);
    for waited in &proven.to_instance {
        proven.follower.device_bytes(waited).expect("the follower takes what waited");
    }
}

#[test]
fn an_incomplete_message_at_proof_is_continued_by_the_follower() {
    let mut prover = asked();
    let data = Message::ChannelData { recipient: 1, data: &[1; 40] }.to_bytes();
    prover.device_bytes(&data[..20]).expect("it waits");
    prover.instance_bytes(&success()).expect("proof");
    let mut proven = prover.finish();
    assert_eq!(proven.to_instance, [data.slice(..20)]);
    proven.follower.device_bytes(&proven.to_instance[0]).expect("a beginning");
    proven.follower.device_bytes(&data[20..]).expect("its rest, though it is full of DISCONNECT's type byte");
    assert_eq!(proven.follower.device_bytes(&[1]), Err(Refusal::Disconnect));
}

#[test]
fn what_no_device_sends_before_a_login_is_refused_by_its_first_byte() {
    for (first, refusal) in (0..=255).map(|first: u8| {
        let refusal = match first {
            kind::SERVICE_REQUEST | kind::USERAUTH_REQUEST | kind::KEEPALIVE_REQUEST => None,
            kind::DISCONNECT => Some(Refusal::Disconnect),
            kind::PROTOCOL_VERSION => Some(Refusal::SecondIdentity),
            _ => Some(Refusal::UnexpectedFromDevice),
        };
        (first, refusal)
    }) {
        let mut prover = prover();
        assert_eq!(prover.device_bytes(&[first]).err(), refusal, "type {first}");
        assert_eq!(prover.to_instance(), None, "type {first}");
    }
}

#[test]
fn disconnect_and_a_second_identity_are_refused_while_waiting_too() {
    for (first, refusal) in [
        (kind::DISCONNECT, Refusal::Disconnect),
        (kind::PROTOCOL_VERSION, Refusal::SecondIdentity),
        (kind::USERAUTH_SUCCESS, Refusal::UnexpectedFromDevice),
        (kind::USERAUTH_FAILURE, Refusal::UnexpectedFromDevice),
        (kind::REQUEST_SUCCESS, Refusal::UnexpectedFromDevice),
    ] {
        let mut prover = asked();
        prover.device_bytes(&forward(16992)).expect("it waits");
        assert_eq!(prover.device_bytes(&[first]), Err(refusal));
        assert_eq!(prover.device_bytes(&keepalive(1)), Err(refusal), "a refusal is final");
        assert_eq!(prover.instance_bytes(&success()), Err(refusal), "for both sides");
        assert!(!prover.wants_device() && !prover.wants_instance() && !prover.proven());
    }
}

#[test]
fn only_the_two_services_and_the_password_method_are_known() {
    let other = Message::ServiceRequest { service: b"pfwd@amt.intel.co" }.to_bytes();
    assert_eq!(prover().device_bytes(&other), Err(Refusal::Service));
    let none =
        UserauthRequest { method: b"none", password: None, ..UserauthRequest::password(b"admin", b"") };
    assert_eq!(prover().device_bytes(&Message::UserauthRequest(none).to_bytes()), Err(Refusal::Method));
    let change = UserauthRequest { change: 1, ..UserauthRequest::password(b"admin", b"x") };
    assert_eq!(prover().device_bytes(&Message::UserauthRequest(change).to_bytes()), Err(Refusal::Malformed));
}

#[test]
fn lengths_are_bounded_before_anything_is_kept() {
    for first in [kind::SERVICE_REQUEST, kind::USERAUTH_REQUEST] {
        let mut prover = prover();
        assert_eq!(prover.device_bytes(&[first, 0x7f, 0xff, 0xff, 0xff]), Err(Refusal::Oversized));
    }
    let with_user = |length| {
        let user = vec![b'u'; length];
        let request = Message::UserauthRequest(UserauthRequest::password(&user, b"x")).to_bytes();
        prover().device_bytes(&request)
    };
    assert_eq!((with_user(64), with_user(65)), (Ok(()), Err(Refusal::Oversized)));
    let with_password = |length| {
        let password = vec![b'p'; length];
        let request = Message::UserauthRequest(UserauthRequest::password(b"admin", &password)).to_bytes();
        prover().device_bytes(&request)
    };
    assert_eq!((with_password(2048), with_password(2049)), (Ok(()), Err(Refusal::Oversized)));
}

#[test]
fn a_device_that_pipelines_too_much_is_not_read_until_proof() {
    let mut prover = asked();
    let data = Message::ChannelData { recipient: 1, data: &[0; 4086] }.to_bytes();
    prover.device_bytes(&data).expect("it waits");
    assert!(prover.wants_device(), "4095 bytes wait");
    prover.device_bytes(&[kind::CHANNEL_DATA]).expect("it waits");
    assert!(!prover.wants_device(), "4096 bytes wait");
    prover.instance_bytes(&success()).expect("proof");
    assert_eq!(prover.finish().to_instance, [data, Bytes::from_static(&[kind::CHANNEL_DATA])]);
}

#[test]
fn an_instance_that_does_not_read_stops_the_device() {
    let mut prover = prover();
    prover.device_bytes(&keepalive(1).repeat(819)).expect("they may pass");
    assert_eq!(prover.room(), 1, "4095 bytes wait");
    prover.device_bytes(&keepalive(1)[..1]).expect("it waits");
    assert!(prover.wants_device(), "the two kinds of waiting have room of their own");
    assert_eq!(to_instance(&mut prover).len(), 819);
    assert_eq!(prover.room(), 4095);
}

#[test]
fn before_proof_a_device_may_say_what_a_login_takes_and_not_for_ever() {
    for message in [keepalive(1), service(AUTH_SERVICE)] {
        let mut prover = prover();
        let mut passed = 0;
        let refusal = loop {
            if let Err(refusal) = prover.device_bytes(&message) {
                break refusal;
            }
            passed += to_instance(&mut prover).concat().len();
            assert!(passed <= 4096, "{passed} bytes passed");
        };
        assert_eq!(refusal, Refusal::TooMuchBeforeProof);
        assert!(passed > 4000, "{passed}");
    }
    let mut prover = prover();
    for _ in 0..2 {
        prover.device_bytes(&[login(), keepalive(1).repeat(40).into()].concat()).expect("an honest login");
        to_instance(&mut prover);
        prover.instance_bytes(&failure(true)).expect("a failure");
    }
    prover.device_bytes(&login()).expect("the third try");
    to_instance(&mut prover);
    prover.instance_bytes(&success()).expect("proof");
    assert!(prover.proven());
}

#[test]
fn who_feeds_no_more_than_there_is_room_for_has_4_kib_held() {
    let mut prover = asked();
    let mut held = 0;
    let stream = service(PFWD_SERVICE).repeat(1000);
    let mut rest = &stream[..];
    while prover.wants_device() {
        let (now, later) = rest.split_at(prover.room().min(rest.len()));
        prover.device_bytes(now).expect("it waits");
        (held, rest) = (held + now.len(), later);
    }
    assert_eq!(held, 4096);
}

#[test]
fn an_unknown_type_after_the_login_waits_with_all_behind_it() {
    let mut prover = asked();
    let stream = [&forward(16992)[..], &[7, 1, 192], &keepalive(1)].concat();
    prover.device_bytes(&stream).expect("nobody has captured every firmware");
    assert_eq!(prover.to_instance(), None, "not even a keepalive: who knows where one begins");
    prover.instance_bytes(&success()).expect("proof");
    let mut proven = prover.finish();
    assert_eq!(proven.to_instance.concat(), stream);
    for waited in &proven.to_instance {
        proven.follower.device_bytes(waited).expect("passed on");
    }
    assert_eq!(proven.follower.stepped_aside(), Some(7));
}

#[test]
fn the_instance_may_say_what_servers_say_before_proof_and_nothing_else() {
    for first in 0..=255_u8 {
        let expected = match first {
            kind::SERVICE_ACCEPT | kind::PROTOCOL_VERSION | kind::KEEPALIVE_REPLY => Ok(()),
            kind::USERAUTH_FAILURE | kind::USERAUTH_SUCCESS => Ok(()),
            kind::DISCONNECT => Err(Refusal::InstanceDisconnect),
            _ => Err(Refusal::UnexpectedFromInstance),
        };
        assert_eq!(asked().instance_bytes(&[first]), expected, "type {first}");
    }
    let mut prover = prover();
    prover.instance_bytes(&[identity(), accept(AUTH_SERVICE)].concat()).expect("as Console does");
    assert_eq!(to_device(&mut prover), [identity(), accept(AUTH_SERVICE)]);
    let other = Message::ServiceAccept { service: b"4444" }.to_bytes();
    assert_eq!(prover.instance_bytes(&other), Err(Refusal::UnexpectedFromInstance));
    let long = [kind::SERVICE_ACCEPT, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(asked().instance_bytes(&long), Err(Refusal::UnexpectedFromInstance));
}

#[test]
fn an_answer_to_a_login_that_was_not_passed_on_is_no_proof() {
    for answer in [success(), failure(true)] {
        let mut fresh = prover();
        assert_eq!(fresh.instance_bytes(&answer), Err(Refusal::UnexpectedFromInstance));
        let mut not_passed_on = prover();
        not_passed_on.device_bytes(&login()).expect("a login");
        assert_eq!(not_passed_on.instance_bytes(&answer), Err(Refusal::UnexpectedFromInstance));
        let mut failed = asked();
        failed.instance_bytes(&failure(true)).expect("a failure");
        assert_eq!(failed.instance_bytes(&answer), Err(Refusal::UnexpectedFromInstance), "answered already");
        assert!(!fresh.proven() && !not_passed_on.proven() && !failed.proven());
    }
}

#[test]
fn a_52_inside_a_message_is_no_proof() {
    let mut prover = prover();
    let request = UserauthRequest::password(b"44444", b"4444444444444");
    prover.device_bytes(&Message::UserauthRequest(request).to_bytes()).expect("a login");
    prover.device_bytes(&Message::KeepaliveRequest { cookie: 0x3434_3434 }.to_bytes()).expect("a keepalive");
    assert_eq!(to_instance(&mut prover).len(), 2);
    for byte in (Message::KeepaliveReply { cookie: 0x3434_3434 }).to_bytes() {
        prover.instance_bytes(&[byte]).expect("a reply");
        assert!(!prover.proven());
    }
    let echo = Message::UserauthRequest(request).to_bytes();
    assert_eq!(prover.instance_bytes(&echo), Err(Refusal::UnexpectedFromInstance), "an echo is no answer");
}

#[test]
fn a_failed_login_may_be_tried_again_and_what_waits_goes_on_waiting() {
    let mut prover = asked();
    prover.device_bytes(&forward(16992)).expect("it waits");
    prover.instance_bytes(&failure(true)).expect("a failure");
    assert_eq!(to_device(&mut prover), [failure(true)]);
    assert_eq!((prover.login_failures(), prover.to_instance()), (1, None));
    prover.device_bytes(&login()).expect("a retry");
    assert_eq!(to_instance(&mut prover), [login()], "it passes at once");
    prover.instance_bytes(&success()).expect("proof");
    assert_eq!(prover.finish().to_instance, [forward(16992)]);
}

#[test]
fn a_pipelined_retry_passes_when_the_first_login_fails_and_never_otherwise() {
    let retry = Message::UserauthRequest(UserauthRequest::password(b"admin", b"other")).to_bytes();
    let mut failing = asked();
    failing.device_bytes(&[forward(1), retry.clone(), forward(2)].concat()).expect("they wait");
    assert_eq!(failing.to_instance(), None);
    failing.instance_bytes(&failure(false)).expect("a failure");
    assert_eq!(to_instance(&mut failing), std::slice::from_ref(&retry));
    failing.instance_bytes(&success()).expect("proof");
    assert_eq!(failing.finish().to_instance, [forward(1), forward(2)]);

    let mut succeeding = asked();
    succeeding.device_bytes(&retry).expect("it waits");
    succeeding.instance_bytes(&success()).expect("proof");
    let mut proven = succeeding.finish();
    assert_eq!(proven.to_instance, std::slice::from_ref(&retry));
    let refused = proven.follower.device_bytes(&proven.to_instance[0]);
    assert_eq!(refused, Err(Refusal::UnexpectedFromDevice), "nobody logs in twice");
}

#[test]
fn a_zero_byte_behind_a_failure_belongs_to_it_also_when_it_comes_later() {
    let mut prover = asked();
    prover.instance_bytes(&failure(false)).expect("14 bytes, as Console sends them");
    assert_eq!(to_device(&mut prover), [failure(false)]);
    prover.instance_bytes(&[0]).expect("the fifteenth");
    assert_eq!(to_device(&mut prover), [Bytes::from_static(&[0])]);
    assert_eq!(prover.instance_bytes(&[0]), Err(Refusal::UnexpectedFromInstance), "there is no sixteenth");

    let mut prover = asked();
    prover.instance_bytes(&[failure(true), keepalive(0)].concat()).expect_err("208 is no server's");
    let mut prover = asked();
    prover
        .instance_bytes(&[&failure(true)[..], &[209, 0, 0, 0, 1]].concat())
        .expect("15 bytes, then a reply");
    assert_eq!(to_device(&mut prover).len(), 2);
}

#[test]
fn the_last_failure_still_reaches_the_device() {
    let mut prover = prover();
    for failed in 1..=3 {
        prover.device_bytes(&login()).expect("a login");
        assert_eq!(to_instance(&mut prover), [login()]);
        let verdict = prover.instance_bytes(&failure(true));
        assert_eq!(verdict.err(), (failed == 3).then_some(Refusal::TooManyLoginFailures));
        assert_eq!(to_device(&mut prover), [failure(true)]);
        assert_eq!(prover.login_failures(), failed);
    }
    assert_eq!(prover.device_bytes(&login()), Err(Refusal::TooManyLoginFailures));
    assert_eq!(prover.to_instance(), None);
}

#[test]
fn what_was_refused_does_not_come_out_when_the_session_goes_on_regardless() {
    let mut prover = asked();
    prover.device_bytes(&forward(16992)).expect("it waits");
    prover.instance_bytes(&success()).expect("proof");
    assert_eq!(prover.device_bytes(&disconnect()), Err(Refusal::Disconnect));
    assert_eq!(prover.finish().to_instance, [forward(16992)]);
}

#[test]
fn preamble_mode_is_as_strict_before_proof_and_looks_at_nothing_after_it() {
    let mut prover = Prover::new(GuardMode::Preamble, 3);
    prover.device_bytes(&login()).expect("a login");
    assert_eq!(to_instance(&mut prover), [login()]);
    prover.instance_bytes(&success()).expect("proof");
    let mut proven = prover.finish();
    proven.follower.device_bytes(&disconnect()).expect("not followed");
    assert_eq!(proven.follower.stepped_aside(), None);
    assert_eq!(Prover::new(GuardMode::Preamble, 3).device_bytes(&disconnect()), Err(Refusal::Disconnect));
}
