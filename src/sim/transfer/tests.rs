//! The parts, each alone.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWrite;

use super::feed::{Feed, Heard};
use super::flow::{Sink, Source};
use super::outbox::Outbox;
use super::pattern::Pattern;
use super::*;
use crate::model::DeviceId;
use crate::wire::apf::{Message, NotMessage};

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

#[test]
fn a_pattern_tells_what_is_lost_doubled_changed_or_somebody_elses() {
    let pattern = Pattern::new();
    let mut sent = Vec::new();
    let mut position = pattern.of(device(1));
    while sent.len() < 1 << 20 {
        sent.extend_from_slice(position.next(FRAME));
    }
    let is_right = |of: u8, bytes: &[u8]| pattern.of(device(of)).is_next(bytes);
    assert!(is_right(1, &sent), "over many periods");
    assert!(!is_right(2, &sent[..1024]), "each device has its own");
    for lost in [1, 4096, FRAME, 16 * 1024, 1 << 16] {
        assert!(!is_right(1, &[&sent[..100], &sent[100 + lost..]].concat()), "{lost} bytes are lost");
        assert!(!is_right(1, &[&sent[..lost], &sent[..lost]].concat()), "{lost} bytes come twice");
    }
    for at in [0, 65_520, 65_521, sent.len() - 1] {
        let mut changed = sent.clone();
        changed[at] ^= 1;
        assert!(!is_right(1, &changed), "one bit at {at}");
    }
}

#[test]
fn a_sink_counts_the_blocks_that_are_not_right_and_goes_on() {
    let pattern = Pattern::new();
    let (mut source, mut sink) = (pattern.of(device(1)), Sink::new(1000, pattern.of(device(1))));
    assert!(sink.take(source.next(400)));
    assert_eq!(sink.credit(), None, "not more than half of the window");
    let mut changed = source.next(101).to_vec();
    changed[7] ^= 0x80;
    assert!(!sink.take(&changed));
    assert_eq!((sink.credit(), sink.credit()), (Some(501), None), "exactly what came, once");
    assert!(sink.take(source.next(10)), "the next block is right again");
    assert_eq!((sink.received(), sink.corrupt()), (511, 1));
}

#[test]
fn a_source_keeps_to_the_window_and_to_its_length() {
    let mut source = Source::new(9, 100, 250, Pattern::new().of(device(1)));
    let fill = |source: &mut Source| source.fill(Outbox::default().frames().expect("empty"));
    assert_eq!((fill(&mut source), fill(&mut source)), (100, 0));
    source.credited(100);
    assert_eq!(fill(&mut source), 100);
    source.credited(1000);
    assert!(!source.is_done());
    assert_eq!((fill(&mut source), source.is_done()), (50, true));
    source.extend(30);
    assert_eq!(fill(&mut source), 30);
    let mut endless = Source::new(9, u32::MAX, u64::MAX, Pattern::new().of(device(1)));
    assert_eq!(fill(&mut endless), 4 * FRAME as u64, "a batch: four records");
    endless.end();
    assert_eq!(fill(&mut endless), 0);
}

/// Takes a few bytes of each write, and none of every other one.
#[derive(Default)]
struct Narrow {
    took: Vec<u8>,
    writes: Vec<usize>,
    most: usize,
    full: bool,
}

impl AsyncWrite for Narrow {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.full = !self.full;
        if self.full && self.most < usize::MAX {
            return Poll::Pending;
        }
        let taken = &buf[..buf.len().min(self.most)];
        self.took.extend_from_slice(taken);
        self.writes.push(taken.len());
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn send(outbox: &mut Outbox, link: &mut Narrow) -> bool {
    match outbox.poll_send(&mut Context::from_waker(Waker::noop()), link) {
        Poll::Ready(sent) => {
            sent.expect("it takes everything in the end");
            true
        }
        Poll::Pending => false,
    }
}

#[test]
fn a_message_is_a_write_and_never_in_the_middle_of_a_frame() {
    let close = Message::ChannelClose { recipient: 1 };
    let mut outbox = Outbox::default();
    let mut link = Narrow { most: usize::MAX, ..Narrow::default() };
    outbox.say(&close);
    outbox.say(&Message::UserauthSuccess);
    outbox.frames().expect("empty").put(1, &[7; 10]);
    assert!(send(&mut outbox, &mut link) && outbox.is_empty());
    assert_eq!(link.writes, [5, 1, 19]);

    let mut link = Narrow { most: 6, ..Narrow::default() };
    outbox.frames().expect("all is sent").put(1, &[7; 10]);
    assert!(!send(&mut outbox, &mut link));
    outbox.say(&close); // meanwhile
    assert!(outbox.frames().is_none(), "not all is sent");
    while !send(&mut outbox, &mut link) {}
    let frame = Message::ChannelData { recipient: 1, data: &[7; 10] }.to_bytes();
    assert_eq!(link.took, [&frame[..], &close.to_bytes()].concat());
}

/// What a feed heard, payload put together.
#[derive(Debug, Default, Eq, PartialEq)]
struct Sum {
    messages: Vec<Vec<u8>>,
    payload: Vec<(u32, u8)>,
}

fn hear(records: &[&[u8]]) -> Result<Sum, NotMessage> {
    let (mut feed, mut sum) = (Feed::default(), Sum::default());
    for record in records {
        feed.take(record, |heard| {
            match heard {
                Heard::Data(channel, piece) => sum.payload.extend(piece.iter().map(|byte| (channel, *byte))),
                Heard::Message(message) => sum.messages.push(message.to_bytes().to_vec()),
            }
            Ok::<_, NotMessage>(())
        })?;
    }
    Ok(sum)
}

#[test]
fn a_feed_hears_the_same_however_its_records_are_cut() {
    let failure = Message::UserauthFailure { methods: b"password", padded: true };
    let messages = [
        Message::ServiceAccept { service: b"auth@amt.intel.com" },
        failure,
        Message::UserauthSuccess,
        Message::ChannelData { recipient: 3, data: b"some payload" },
        Message::ChannelData { recipient: 4, data: b"" },
        Message::ChannelWindowAdjust { recipient: 3, bytes: 94 << 24 },
        Message::ChannelData { recipient: 4, data: b"\x5e\x00\x00\x00" },
        Message::ChannelClose { recipient: 3 },
    ];
    let all = messages.map(|message| message.to_bytes()).concat();
    let whole = hear(&[&all]).expect("messages");
    assert_eq!((whole.messages.len(), whole.payload.len()), (5, 16));
    for cut in 0..=all.len() {
        let mut heard = hear(&[&all[..cut], &all[cut..]]).expect("messages");
        if heard.messages[1].len() == 14 {
            heard.messages[1].push(0); // the padding came later: nobody can know it then
        }
        assert_eq!(heard, whole, "cut at {cut}");
    }
    let bytes: Vec<_> = all.chunks(1).collect();
    assert_eq!(hear(&bytes).expect("messages").payload, whole.payload);
    assert_eq!(hear(&[&[0xee]]), Err(NotMessage::Unknown(0xee)));
}

#[test]
fn a_receipt_survives_the_wire() {
    let receipt = Receipt { bytes: u64::MAX - 3, corrupt: 1 << 40 };
    assert_eq!(Receipt::from_bytes(receipt.to_bytes()), receipt);
    assert_eq!(Receipt { bytes: 258, corrupt: 1 }.to_bytes(), *b"\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x01");
}
