//! One direction alone, between a source and a sink that do as they are told.

use std::task::Waker;

use tokio::io::{AsyncRead, ReadBuf};

use super::*;

/// Has always more to say, or takes so much at a time and then keeps one waiting.
#[derive(Default)]
struct Told {
    /// What the source hands out at each read, as records of so many bytes; all that is wanted if 0.
    record: usize,
    /// What the sink takes of a write; nothing if 0.
    takes: usize,
    /// How much each read wanted.
    wanted: Vec<usize>,
    written: usize,
}

impl AsyncRead for Told {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        unreachable!("a lane reads records")
    }
}

impl AsyncWrite for Told {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.takes == 0 {
            return Poll::Pending;
        }
        let taken = buf.len().min(self.takes);
        self.written += taken;
        if taken < buf.len() {
            self.takes = 0;
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Records for Told {
    fn poll_records(&mut self, _: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<()>> {
        let wanted = scratch.batch.bytes_wanted();
        self.wanted.push(wanted);
        let record = vec![b'r'; if self.record == 0 { wanted } else { self.record }];
        loop {
            scratch.batch.push(&record);
            if scratch.batch.is_full() || scratch.batch.bytes().len() >= wanted {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// One turn of `lane`, which does not end.
fn turn(lane: &mut Lane<char>, source: &mut Told, sink: &mut Told) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(lane.pump(&mut cx, source, sink, |_| None).is_pending());
}

#[test]
fn it_reads_more_at_once_while_all_is_taken_and_little_from_then_on_when_it_is_not() {
    let mut lane = Lane::default();
    let mut source = Told::default();
    let mut sink = Told { takes: usize::MAX, ..Told::default() };
    turn(&mut lane, &mut source, &mut sink);
    turn(&mut lane, &mut source, &mut sink);
    assert_eq!(source.wanted, [LEAST, 2 * LEAST, MOST, MOST]);

    sink.takes = 1000;
    turn(&mut lane, &mut source, &mut sink);
    assert_eq!(lane.rest.len(), MOST - 1000, "what was read last waits");
    turn(&mut lane, &mut source, &mut sink);
    assert_eq!(source.wanted.len(), 5, "and nothing more is read");

    sink.takes = LEAST;
    source.wanted.clear();
    while source.wanted.is_empty() {
        sink.takes = LEAST;
        turn(&mut lane, &mut source, &mut sink);
    }
    assert_eq!(source.wanted[0], LEAST);
    assert!(lane.rest.len() <= LEAST);
}

#[test]
fn others_have_their_turn_after_some_bytes_and_after_some_records() {
    let mut sink = Told { takes: usize::MAX, ..Told::default() };
    let (mut lane, mut large) = (Lane::default(), Told::default());
    for _ in 0..10 {
        sink.written = 0;
        turn(&mut lane, &mut large, &mut sink);
        assert!(sink.written <= TURN + MOST, "{} bytes in one turn", sink.written);
    }
    let (mut lane, mut small) = (Lane::default(), Told { record: 1, ..Told::default() });
    sink.written = 0;
    turn(&mut lane, &mut small, &mut sink);
    assert_eq!(sink.written, TURNS * RECORDS);
}

#[test]
fn a_refusal_waits_until_what_came_before_it_is_delivered() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut lane = Lane::default();
    let (mut source, mut sink) = (Told { record: 10, ..Told::default() }, Told::default());
    let mut refuse_the_third = |batch: &mut Batch| {
        batch.truncate(2);
        Some('!')
    };
    assert!(lane.pump(&mut cx, &mut source, &mut sink, &mut refuse_the_third).is_pending());
    assert!(lane.pump(&mut cx, &mut source, &mut sink, &mut refuse_the_third).is_pending());
    assert_eq!(source.wanted.len(), 1, "nothing is read behind a refusal");
    sink.takes = usize::MAX;
    let ended = lane.pump(&mut cx, &mut source, &mut sink, &mut refuse_the_third);
    assert!(matches!(ended, Poll::Ready(End::Refused('!'))));
    assert_eq!(sink.written, 20);
}
