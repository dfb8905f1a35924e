use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits")).collect()
}

fn device() -> DeviceId {
    "4c4c4544-004d-4d10-8050-b2c04f325133".parse().expect("a GUID")
}

/// One session, byte by byte as MPS, MeshCentral and Console accept it, with what it says.
fn transcript() -> Vec<(&'static str, Message<'static>)> {
    use Message as M;
    let forward = |port| M::GlobalRequest(GlobalRequest::Forward { address: b"", port });
    let open = ChannelOpen {
        channel_type: b"forwarded-tcpip",
        sender: 4,
        window: 81920,
        address: b"",
        port: 16992,
        origin: b"1.2.3.4",
        origin_port: 1024,
    };
    vec![
        (
            "c0 00000001 00000000 00000004 44454c4c4d00104d8050b2c04f325133
             0000000000000000000000000000000000000000000000000000000000000000
             0000000000000000000000000000000000000000000000000000000000000000",
            M::ProtocolVersion(Preamble { major: 1, minor: 0, trigger: 4, device: device() }),
        ),
        ("05 00000012 6175746840616d742e696e74656c2e636f6d", M::ServiceRequest { service: AUTH_SERVICE }),
        ("06 00000012 6175746840616d742e696e74656c2e636f6d", M::ServiceAccept { service: AUTH_SERVICE }),
        (
            "32 00000005 61646d696e 00000012 7066776440616d742e696e74656c2e636f6d
             00000008 70617373776f7264 00 00000009 506173737730726421",
            M::UserauthRequest(UserauthRequest::password(b"admin", b"Passw0rd!")),
        ),
        ("34", M::UserauthSuccess),
        ("33 00000008 70617373776f7264 0000", M::UserauthFailure { methods: PASSWORD_METHOD, padded: true }),
        ("33 00000008 70617373776f7264 00", M::UserauthFailure { methods: PASSWORD_METHOD, padded: false }),
        ("05 00000012 7066776440616d742e696e74656c2e636f6d", M::ServiceRequest { service: PFWD_SERVICE }),
        ("50 0000000d 74637069702d666f7277617264 01 00000000 00004261", forward(16993)),
        (
            "50 0000000d 74637069702d666f7277617264 01 00000007 616d742d706331 00004260",
            M::GlobalRequest(GlobalRequest::Forward { address: b"amt-pc1", port: 16992 }),
        ),
        ("51 00004261", M::ForwardSuccess { port: 16993 }),
        ("d2 0000001e 00000000", M::KeepaliveOptionsRequest { interval: 30, timeout: 0 }),
        ("d3 0000001e 00000000", M::KeepaliveOptionsReply { interval: 30, timeout: 0 }),
        ("d0 00000001", M::KeepaliveRequest { cookie: 1 }),
        ("d1 00000001", M::KeepaliveReply { cookie: 1 }),
        (
            "5a 0000000f 666f727761726465642d7463706970 00000004 00014000 ffffffff
             00000000 00004260 00000007 312e322e332e34 00000400",
            M::ChannelOpen(open),
        ),
        (
            "5b 00000004 00000005 000001f3 ffffffff",
            M::ChannelOpenConfirmation { recipient: 4, sender: 5, window: 499 },
        ),
        ("5c 00000004 00000002 00000000 00000000", M::ChannelOpenFailure { recipient: 4, reason: 2 }),
        ("5d 00000004 000001f3", M::ChannelWindowAdjust { recipient: 4, bytes: 499 }),
        ("5e 00000006 00000008 10000000 534f4c20", M::ChannelData { recipient: 6, data: b"\x10\0\0\0SOL " }),
        ("61 00000005", M::ChannelClose { recipient: 5 }),
        ("01 0000000b 0000", M::Disconnect { reason: 11 }),
        ("52", M::RequestFailure),
        ("fa 00000002 7b7d", M::JsonControl { json: b"{}" }),
    ]
}

#[test]
fn every_message_of_a_session_is_built_and_read_as_the_servers_do() {
    for (hex, message) in transcript() {
        let bytes = unhex(hex);
        assert_eq!(message.to_bytes(), bytes, "{message:?}");
        assert_eq!(Message::parse(&bytes), Ok(Some((message, bytes.len()))), "{hex}");
    }
    assert_eq!(Message::CancelSuccess.to_bytes().as_ref(), [81]);
}

#[test]
fn the_preamble_is_judged_by_its_first_byte_and_read_when_whole() {
    let bytes = Preamble { major: 1, minor: 2, trigger: 3, device: device() }.to_bytes();
    assert_eq!(preamble(&[]), Ok(None));
    for cut in 1..PREAMBLE_LEN {
        assert_eq!(preamble(&bytes[..cut]), Ok(None), "cut at {cut}");
    }
    let mut odd = bytes.to_vec();
    odd[29..].fill(0xff); // reserved: any value
    odd.extend(b"rest");
    let read = Preamble { major: 1, minor: 2, trigger: 3, device: device() };
    assert_eq!(preamble(&odd), Ok(Some(read)));
    for first in (0..=255).filter(|first| *first != kind::PROTOCOL_VERSION) {
        assert_eq!(preamble(&[first]), Err(Unexpected(first)));
    }
}

#[test]
fn a_browser_is_told_from_a_device_and_from_garbage() {
    for (bytes, word) in [
        (b"".as_slice(), Ok(None)),
        (b"\xc0", Ok(Some(FirstWord::Preamble))),
        (b"G", Ok(None)),
        (b"GE", Ok(None)),
        (b"GET", Ok(Some(FirstWord::Get))),
        (b"GET / HTTP/1.1", Ok(Some(FirstWord::Get))),
        (b"HEA", Ok(None)),
        (b"HEAD", Ok(Some(FirstWord::Head))),
        (b"GO", Err(Unexpected(b'G'))),
        (b"HE\xc0", Err(Unexpected(b'H'))),
        (b"POST", Err(Unexpected(b'P'))),
        (b"\0\xc0", Err(Unexpected(0))),
    ] {
        assert_eq!(first_word(bytes), word, "{bytes:?}");
    }
}

#[test]
fn a_global_request_of_unknown_name_ends_behind_its_name() {
    let mut bytes = BytesMut::new();
    Message::GlobalRequest(GlobalRequest::Other { name: b"hostkeys@example" }).put(&mut bytes);
    assert_eq!(bytes.len(), 6 + 16);
    bytes.extend_from_slice(&[kind::DISCONNECT, 0, 0, 0, 2, 0, 0]);
    assert_eq!(
        extent(&bytes),
        Ok(Extent::Whole(22)),
        "what follows is a message of its own, as MPS reads it"
    );
    let long = Message::GlobalRequest(GlobalRequest::Other { name: &[b'x'; 300] }).to_bytes();
    assert_eq!(extent(&long), Ok(Extent::Whole(306)), "a name longer than any known one is unknown");
    let almost = Message::GlobalRequest(GlobalRequest::Other { name: b"tcpip-forwardX" }).to_bytes();
    assert_eq!(extent(&almost), Ok(Extent::Whole(20)));
}

#[test]
fn a_login_of_another_method_ends_behind_its_method() {
    let request =
        UserauthRequest { method: b"none", password: None, ..UserauthRequest::password(b"admin", b"") };
    let bytes = Message::UserauthRequest(request).to_bytes();
    assert_eq!(bytes.len(), 13 + 5 + 18 + 4);
    assert_eq!(extent(&bytes), Ok(Extent::Whole(bytes.len())));
}

#[test]
fn lengths_are_taken_up_to_what_mps_takes() {
    let data = |length: u32| [&[kind::CHANNEL_DATA, 0, 0, 0, 1][..], &length.to_be_bytes()].concat();
    assert_eq!(extent(&data(MAX_DATA)), Ok(Extent::Partial));
    assert_eq!(extent(&data(MAX_DATA + 1)), Err(Oversized { kind: kind::CHANNEL_DATA }));
    for (head, most) in [
        ([kind::SERVICE_REQUEST].as_slice(), MAX_TEXT),
        (&[kind::USERAUTH_REQUEST], MAX_TEXT),
        (&[kind::GLOBAL_REQUEST], MAX_TEXT),
        (&[kind::CHANNEL_OPEN], MAX_TEXT),
        (&[kind::JSON_CONTROL], MAX_MESSAGE - 5),
    ] {
        let message = |length: u32| [head, &length.to_be_bytes()].concat();
        assert_eq!(extent(&message(most)), Ok(Extent::Partial), "{head:?}");
        for length in [most + 1, u32::MAX] {
            assert_eq!(extent(&message(length)), Err(Oversized { kind: head[0] }), "{head:?} {length}");
        }
    }
    // Two texts that are each allowed are too long together.
    let open = ChannelOpen {
        channel_type: &[b'x'; 2048],
        sender: 0,
        window: 0,
        address: &[b'x'; 2048],
        port: 0,
        origin: b"",
        origin_port: 0,
    };
    let bytes = Message::ChannelOpen(open).to_bytes();
    assert_eq!(extent(&bytes), Err(Oversized { kind: kind::CHANNEL_OPEN }));
}

#[test]
fn types_nobody_knows_are_named() {
    let known: Vec<_> =
        (0..=255).filter(|first| !matches!(extent(&[*first]), Ok(Extent::Unknown(_)))).collect();
    let listed = [1, 5, 6, 50, 51, 52, 80, 81, 82, 90, 91, 92, 93, 94, 97, 192, 208, 209, 210, 211, 250];
    assert_eq!(known, listed);
    assert_eq!(Message::parse(&[7, 1, 2]), Err(NotMessage::Unknown(7)));
}

fn text() -> impl Strategy<Value = &'static [u8]> {
    // Messages borrow: leaking a few bytes in a test is cheaper than owning variants of all of them.
    prop_oneof![
        Just(PFWD_SERVICE),
        Just(PASSWORD_METHOD),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| &*bytes.leak()),
    ]
}

fn messages() -> impl Strategy<Value = Message<'static>> {
    use Message as M;
    let n = any::<u32>;
    prop_oneof![
        n().prop_map(|reason| M::Disconnect { reason }),
        text().prop_map(|service| M::ServiceRequest { service }),
        text().prop_map(|service| M::ServiceAccept { service }),
        (text(), text(), text(), text(), 0..2_u8).prop_map(|(user, service, method, password, change)| {
            let known = method == PASSWORD_METHOD;
            let password = known.then_some(password);
            let change = if known { change } else { 0 };
            M::UserauthRequest(UserauthRequest { user, service, method, password, change })
        }),
        (text(), any::<bool>()).prop_map(|(methods, padded)| M::UserauthFailure { methods, padded }),
        Just(M::UserauthSuccess),
        (text(), n()).prop_map(|(address, port)| M::GlobalRequest(GlobalRequest::Forward { address, port })),
        (text(), n()).prop_map(|(address, port)| M::GlobalRequest(GlobalRequest::Cancel { address, port })),
        (text(), n(), text(), n(), text()).prop_map(|(to, port, from, origin, data)| {
            M::GlobalRequest(GlobalRequest::Datagram {
                destination: (to, port),
                origin: (from, origin),
                data,
            })
        }),
        text().prop_map(|name| M::GlobalRequest(GlobalRequest::Other { name })),
        n().prop_map(|port| M::ForwardSuccess { port }),
        Just(M::RequestFailure),
        (text(), n(), n(), text(), n(), text(), n()).prop_map(
            |(channel_type, sender, window, address, port, origin, origin_port)| {
                M::ChannelOpen(ChannelOpen {
                    channel_type,
                    sender,
                    window,
                    address,
                    port,
                    origin,
                    origin_port,
                })
            }
        ),
        (n(), n(), n()).prop_map(|(recipient, sender, window)| M::ChannelOpenConfirmation {
            recipient,
            sender,
            window
        }),
        (n(), n()).prop_map(|(recipient, reason)| M::ChannelOpenFailure { recipient, reason }),
        (n(), n()).prop_map(|(recipient, bytes)| M::ChannelWindowAdjust { recipient, bytes }),
        (n(), text()).prop_map(|(recipient, data)| M::ChannelData { recipient, data }),
        n().prop_map(|recipient| M::ChannelClose { recipient }),
        (n(), n(), n(), any::<[u8; 16]>()).prop_map(|(major, minor, trigger, guid)| {
            M::ProtocolVersion(Preamble { major, minor, trigger, device: DeviceId::from_bytes(guid) })
        }),
        n().prop_map(|cookie| M::KeepaliveRequest { cookie }),
        n().prop_map(|cookie| M::KeepaliveReply { cookie }),
        (n(), n()).prop_map(|(interval, timeout)| M::KeepaliveOptionsRequest { interval, timeout }),
        (n(), n()).prop_map(|(interval, timeout)| M::KeepaliveOptionsReply { interval, timeout }),
        text().prop_map(|json| M::JsonControl { json }),
    ]
}

/// The events of a stream fed in chunks of these lengths (and the rest), with where each came.
fn events(stream: &[u8], cuts: &[usize]) -> (Vec<(Event, usize)>, Option<Oversized>) {
    let (mut framer, mut found, mut at) = (Framer::new(), Vec::new(), 0);
    let lengths = cuts.iter().copied().chain([stream.len()]);
    for length in lengths {
        let chunk = &stream[at..stream.len().min(at + length)];
        let mut rest = chunk;
        loop {
            match framer.next(&mut rest) {
                Ok(Some(event)) => found.push((event, at + chunk.len() - rest.len())),
                Ok(None) => break,
                Err(oversized) => return (found, Some(oversized)),
            }
        }
        assert!(rest.is_empty());
        at += chunk.len();
    }
    (found, None)
}

proptest! {
    #[test]
    fn what_is_built_is_read_back_and_every_prefix_asks_for_more(message in messages()) {
        let bytes = message.to_bytes();
        prop_assert_eq!(Message::parse(&bytes), Ok(Some((message, bytes.len()))));
        let shortest = bytes.len() - usize::from(matches!(message, Message::UserauthFailure { padded: true, .. }));
        for cut in 0..shortest {
            prop_assert_eq!(Message::parse(&bytes[..cut]), Ok(None), "cut at {}", cut);
        }
    }

    #[test]
    fn messages_end_where_they_end_however_they_are_cut(
        stream in prop::collection::vec(messages(), 1..12), cuts in prop::collection::vec(0..50_usize, 0..60),
    ) {
        let mut bytes = BytesMut::new();
        let mut ends = Vec::new();
        for message in &stream {
            message.put(&mut bytes);
            // Who pads a failure writes what looks like an unknown type 0.
            if matches!(message, Message::UserauthFailure { padded: true, .. }) {
                bytes.truncate(bytes.len() - 1);
            }
            ends.push(bytes.len());
        }
        let (found, oversized) = events(&bytes, &cuts);
        prop_assert_eq!(oversized, None);
        let found: Vec<_> = found.into_iter().filter(|(event, _)| *event == Event::End).map(|(_, at)| at).collect();
        prop_assert_eq!(found, ends);
    }

    #[test]
    fn arbitrary_bytes_are_followed_alike_however_they_are_cut(
        stream in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(80), Just(94)], 0..400),
        cuts in prop::collection::vec(0..9_usize, 0..60),
    ) {
        prop_assert_eq!(events(&stream, &cuts), events(&stream, &[]));
        let whole = Message::parse(&stream);
        if let Ok(Some((message, length))) = whole {
            prop_assert!(length <= stream.len());
            prop_assert_eq!(message.to_bytes().len(), length);
        }
        prop_assert_eq!(matches!(whole, Ok(None)), matches!(extent(&stream), Ok(Extent::Partial)));
    }
}
