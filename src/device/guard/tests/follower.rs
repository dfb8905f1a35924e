use super::*;
use crate::net::relay::Watch as _;
use crate::wire::apf::{ChannelOpen, MAX_DATA};

fn follower() -> Follower {
    Follower::new(GuardMode::Strict)
}

/// What a device says in a whole session after its login.
fn session() -> Vec<Bytes> {
    vec![
        service(PFWD_SERVICE),
        forward(16993),
        forward(5900),
        Message::GlobalRequest(GlobalRequest::Cancel { address: b"amt-pc1", port: 5900 }).to_bytes(),
        Message::GlobalRequest(GlobalRequest::Datagram {
            destination: (b"10.0.0.1", 623),
            origin: (b"10.0.0.2", 1),
            data: &[1, 192, 1, 192],
        })
        .to_bytes(),
        Message::GlobalRequest(GlobalRequest::Other { name: b"\x01\x01" }).to_bytes(),
        Message::KeepaliveOptionsReply { interval: 30, timeout: 0 }.to_bytes(),
        keepalive(0x01c0_01c0),
        Message::KeepaliveReply { cookie: 1 }.to_bytes(),
        Message::ChannelOpen(ChannelOpen {
            channel_type: b"direct-tcpip",
            sender: 1,
            window: 499,
            address: b"\x01",
            port: 1,
            origin: b"",
            origin_port: 192,
        })
        .to_bytes(),
        Message::ChannelOpenConfirmation { recipient: 1, sender: 1, window: 499 }.to_bytes(),
        Message::ChannelOpenFailure { recipient: 1, reason: 2 }.to_bytes(),
        Message::ChannelWindowAdjust { recipient: 1, bytes: 499 }.to_bytes(),
        Message::ChannelData { recipient: 1, data: &[1; 600] }.to_bytes(),
        Message::ChannelData { recipient: 1, data: &[] }.to_bytes(),
        Message::ChannelClose { recipient: 1 }.to_bytes(),
        Message::JsonControl { json: b"{}" }.to_bytes(),
    ]
}

#[test]
fn a_whole_session_passes_in_one_chunk_and_byte_by_byte() {
    let stream = session().concat();
    let mut follower = follower();
    follower.device_bytes(&stream).expect("all of it");
    stream.iter().for_each(|byte| follower.device_bytes(&[*byte]).expect("every byte of it"));
    assert_eq!(follower.stepped_aside(), None);
}

#[test]
fn disconnect_and_a_second_identity_are_refused_behind_every_message_by_their_first_byte() {
    for (first, refusal) in [
        (kind::DISCONNECT, Refusal::Disconnect),
        (kind::PROTOCOL_VERSION, Refusal::SecondIdentity),
        (kind::USERAUTH_REQUEST, Refusal::UnexpectedFromDevice),
        (kind::USERAUTH_SUCCESS, Refusal::UnexpectedFromDevice),
        (kind::REQUEST_SUCCESS, Refusal::UnexpectedFromDevice),
    ] {
        let messages = session();
        for upto in 0..=messages.len() {
            let mut follower = follower();
            follower.device_bytes(&messages[..upto].concat()).expect("what goes before");
            assert_eq!(follower.device_bytes(&[first]), Err(refusal), "behind {upto} messages");
            assert_eq!(follower.device_bytes(&keepalive(1)), Err(refusal), "a refusal is final");
        }
    }
}

#[test]
fn frames_that_mps_refuses_are_refused_once_their_length_is_known() {
    let head = |length: u32| [&[kind::CHANNEL_DATA, 0, 0, 0, 1][..], &length.to_be_bytes()].concat();
    follower().device_bytes(&head(MAX_DATA)).expect("1 MiB is what MPS takes");
    let oversized = head(MAX_DATA + 1);
    let mut dripped = follower();
    for byte in &oversized[..8] {
        dripped.device_bytes(&[*byte]).expect("nobody knows yet");
    }
    assert_eq!(dripped.device_bytes(&oversized[8..]), Err(Refusal::Oversized));
    let forward =
        [&[kind::GLOBAL_REQUEST, 0, 0, 0, 13][..], b"tcpip-forward", &[1, 0x7f, 0xff, 0xff, 0xff]].concat();
    assert_eq!(
        follower().device_bytes(&forward),
        Err(Refusal::Oversized),
        "the address that eats MPS's memory"
    );
}

#[test]
fn one_mebibyte_of_data_is_counted_not_kept() {
    let mut follower = follower();
    follower
        .device_bytes(&Message::ChannelData { recipient: 1, data: &[] }.to_bytes())
        .expect("an empty one");
    let data = Message::ChannelData { recipient: 1, data: &vec![1; MAX_DATA as usize] }.to_bytes();
    data.chunks(16 * 1024).for_each(|chunk| follower.device_bytes(chunk).expect("all of it"));
    assert_eq!(follower.device_bytes(&[1]), Err(Refusal::Disconnect));
    assert!(size_of::<Follower>() <= 80, "{} bytes for each session", size_of::<Follower>());
}

#[test]
fn an_unknown_type_makes_the_guard_step_aside_for_good() {
    let mut follower = follower();
    follower.device_bytes(&[&keepalive(1)[..], &[99, 1]].concat()).expect("passed on");
    assert_eq!(follower.stepped_aside(), Some(99));
    follower.device_bytes(&disconnect()).expect("nobody knows where a message begins");
    assert_eq!(follower.stepped_aside(), Some(99));
}
