//! Servers that answer and do not go on, and devices that will not leave.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use super::super::tally::Tally;
use super::super::tunnel::{Lost, Party, Tunnel};
use super::super::work::{Channels, DOWN, UP};
use super::*;
use crate::net::connect::Leg;
use crate::net::records::next_record;
use crate::sim::transfer::Receipt;
use crate::sim::transfer::feed::{Feed, Heard};
use crate::sim::transfer::outbox::Outbox;
use crate::sim::transfer::pattern::Pattern;
use crate::wire::apf::{GlobalRequest, Message, NotMessage};

/// A server that grants whatever is asked and answers keep-alives, and moves no data.
async fn idler() -> SocketAddr {
    server(|mut tcp| async move {
        let mut feed = Feed::default();
        while let Ok(Some(record)) = next_record(&mut tcp).await {
            let mut answers = Vec::new();
            let understood = feed.take(&record, |heard| {
                let Heard::Message(message) = heard else { return Ok(()) };
                let answer = match message {
                    Message::ServiceRequest { service } => Message::ServiceAccept { service },
                    Message::UserauthRequest(_) => Message::UserauthSuccess,
                    Message::GlobalRequest(GlobalRequest::Forward { port, .. }) => {
                        Message::ForwardSuccess { port }
                    }
                    Message::KeepaliveRequest { cookie } => Message::KeepaliveReply { cookie },
                    Message::ChannelOpen(open) => {
                        let (recipient, sender) = (open.sender, open.sender);
                        Message::ChannelOpenConfirmation { recipient, sender, window: 1000 }
                    }
                    _ => return Ok(()),
                };
                answers.extend_from_slice(&answer.to_bytes());
                Ok::<_, NotMessage>(())
            });
            if understood.is_err() || tcp.write_all(&answers).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn work_that_stands_still_is_a_failure_however_alive_the_server_is() {
    let mut settings = LoadSettings::new(vec![idler().await], None);
    settings.keepalive = Duration::from_millis(50);
    settings.silence = Duration::from_millis(400);
    let bulk = |up, size| Work::Bulk { up, down: !up, size };
    for work in [Work::Echo(64), bulk(true, Some(5000)), bulk(false, Some(5000)), bulk(false, None)] {
        settings.work = work;
        assert_eq!(finished(settings.clone()).await.failed, only("timed out at work", 10), "{work:?}");
    }
}

#[test]
fn a_channel_granted_while_its_device_leaves_is_not_waited_for() {
    let (tally, mut outbox) = (Tally::new(), Outbox::default());
    let mut settings = LoadSettings::new(vec![([127, 0, 0, 1], 1).into()], None);
    settings.work = Work::Bulk { up: true, down: true, size: None };
    let mut channels = Channels::new(&tally, Pattern::new().of(settings.guids.get(0)));
    channels.begin(&settings, &mut outbox);
    channels.granted(UP, 7, 1000);
    channels.wind_up(&mut outbox);
    channels.granted(DOWN, 8, 1000);
    channels.fill(&mut outbox);
    channels.received(UP, &Receipt { bytes: 0, corrupt: 0 }.to_bytes(), &mut outbox);
    channels.closed(UP).expect("all that was sent");
    assert!(!channels.are_open());
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_is_cut_short_took_its_time_too() {
    let (tally, mut outbox) = (Tally::new(), Outbox::default());
    let mut settings = LoadSettings::new(vec![([127, 0, 0, 1], 1).into()], None);
    settings.work = Work::Bulk { up: true, down: true, size: None };
    let mut channels = Channels::new(&tally, Pattern::new().of(settings.guids.get(0)));
    channels.begin(&settings, &mut outbox);
    channels.granted(UP, 7, 1000);
    channels.granted(DOWN, 8, 1000);
    channels.fill(&mut outbox);
    tokio::time::advance(Duration::from_secs(2)).await;
    drop(channels);
    let Summary { bulk_up, bulk_down, .. } = tally.summary(&settings, 0, false);
    assert_eq!(bulk_up, Some(Bulk::new(1000, 2.0)));
    assert_eq!(bulk_down, Some(Bulk::new(0, 2.0)));
}

#[test]
fn nothing_is_well_with_changed_data_or_with_a_device_that_never_left() {
    let mut settings = LoadSettings::new(vec![([127, 0, 0, 1], 1).into()], None);
    settings.count = 1;
    let well = |leaves: bool, corrupt: u64| {
        let tally = Tally::new();
        tally.proven(0);
        tally.corrupt(corrupt);
        if leaves {
            tally.ended(Ended::Over);
        }
        tally.summary(&settings, 0, false).all_well
    };
    assert!(well(true, 0) && !well(true, 1) && !well(false, 0));
}

/// Answers every keep-alive.
struct Answers;

impl Party for Answers {
    fn hear(&mut self, _: Heard<'_>, outbox: &mut Outbox) -> Result<(), Lost> {
        outbox.say(&Message::KeepaliveReply { cookie: 1 });
        Ok(())
    }

    fn fill(&mut self, _: &mut Outbox) {}

    fn is_done(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_server_that_asks_and_does_not_read_is_not_listened_to_without_end() {
    let socket = || {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).and_then(|()| socket.set_send_buffer_size(4096)).expect("small");
        socket
    };
    let listener = socket();
    listener.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let listener = listener.listen(1).expect("bound");
    let far = socket().connect(listener.local_addr().expect("bound"));
    let (near, far) = tokio::join!(listener.accept(), far);
    let (mut tunnel, mut far) =
        (Tunnel::new(Leg::Plain(near.expect("it calls").0)), far.expect("it listens"));
    let mut answers = Answers;
    let requests = Message::KeepaliveRequest { cookie: 1 }.to_bytes().repeat(1000);
    let asks = async {
        // Until it is not heard any more.
        while let Ok(Ok(())) = timeout(Duration::from_secs(1), far.write_all(&requests)).await {}
    };
    let ended = timeout(LIMIT, async {
        tokio::select! {
            lost = tunnel.converse(&mut answers) => panic!("{lost:?}"),
            () = asks => {}
        }
    });
    ended.await.expect("its requests wait with it");
    let waiting = tunnel.outbox.messages();
    assert!((1024..1024 + 16 * 1024 / 5 + 2).contains(&waiting), "{waiting}: a record more than the bound");
}
