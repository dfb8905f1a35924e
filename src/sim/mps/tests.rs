//! Against a device driven by hand.

use std::sync::LazyLock;

use tokio::time::timeout;

use super::*;
use crate::model::Secret;
use crate::sim::device::{Closed, RawDevice};
use crate::sim::pki::{Authority, Keys, Leaf};
use crate::wire::apf::{AUTH_SERVICE, GlobalRequest, Message, PFWD_SERVICE, Preamble, UserauthRequest, kind};

const LIMIT: Duration = Duration::from_secs(10);

static LEAF: LazyLock<Leaf> = LazyLock::new(|| {
    let authority = Authority::new(Keys::P256, "root of the test").expect("a root");
    authority.issue("mps.example", &[]).expect("a leaf")
});

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

async fn mps(name: &str, behaviour: Behaviour, database: &Arc<Database>) -> Mps {
    let settings = MpsSettings::new(name, Some(LEAF.identity()), Arc::clone(database));
    Mps::start(MpsSettings { behaviour, ..settings }).await.expect("free ports")
}

async fn usual(behaviour: Behaviour) -> (Mps, Account) {
    let account = Account::default();
    (mps("mps-1", behaviour, &Arc::new(Database::of_everyone(account.clone()))).await, account)
}

async fn logged_in(mps: &Mps, device: DeviceId) -> RawDevice {
    let account = mps.state.database.account(device).expect("a known device");
    let mut raw = RawDevice::connect(mps.cira()).await.expect("it listens");
    raw.log_in(device, &account.user, &account.password).await.expect("it lets the device in");
    raw
}

async fn until(mps: &Mps, condition: impl FnMut(&Mps) -> bool) {
    timeout(LIMIT, mps.until(condition)).await.expect("it comes true");
}

fn last(mps: &Mps) -> Connection {
    mps.connections().pop().expect("a connection")
}

#[tokio::test]
async fn a_whole_login_is_answered_word_by_word() {
    let (mps, account) = usual(Behaviour::default()).await;
    let mut raw = RawDevice::connect(mps.cira()).await.expect("it listens");
    raw.log_in(device(1), &account.user, &account.password).await.expect("it lets the device in");
    assert!(mps.holds(device(1)), "registered before 52 is said");
    raw.offer(&[16992, 16994, 5900]).await.expect("forwards are granted");
    raw.expect_message(&Message::KeepaliveOptionsRequest { interval: 30, timeout: 0 })
        .await
        .expect("after 5900");
    raw.say(&Message::KeepaliveRequest { cookie: 7 }).await.expect("room");
    raw.expect_message(&Message::KeepaliveReply { cookie: 7 }).await.expect("the same cookie");
    assert_eq!(last(&mps).records[..3], [93, 23, 58]);
    assert_eq!(last(&mps).messages, [192, 5, 50, 5, 80, 80, 80, 208]);
    let row = mps.state.database.row(device(1)).expect("a row");
    assert_eq!(row, Row { connected: true, instance: Some("mps-1".into()) });
}

#[tokio::test]
async fn a_version_is_echoed_only_where_it_is_wanted() {
    let (mps, _) = usual(Behaviour { echo_version: true, ..Behaviour::default() }).await;
    let mut raw = RawDevice::connect(mps.cira()).await.expect("it listens");
    raw.greet(device(1)).await.expect("room");
    let preamble = Preamble { major: 1, minor: 0, trigger: 4, device: device(1) };
    raw.expect_message(&Message::ProtocolVersion(preamble)).await.expect("the echo");
    raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE }).await.expect("and the service");
}

#[tokio::test]
async fn a_wrong_password_may_be_corrected_on_the_same_connection() {
    for (padded_failure, length) in [(true, 15), (false, 14)] {
        let (mps, account) = usual(Behaviour { padded_failure, ..Behaviour::default() }).await;
        let mut raw = RawDevice::connect(mps.cira()).await.expect("it listens");
        raw.greet(device(1)).await.expect("room");
        raw.expect(23).await.expect("the service");
        for _ in 0..5 {
            let wrong = UserauthRequest::password(account.user.as_bytes(), b"guess");
            raw.say(&Message::UserauthRequest(wrong)).await.expect("room");
            assert_eq!(raw.record().await.expect("a refusal").len(), length);
        }
        let right = UserauthRequest::password(b"admin", account.password.expose().as_bytes());
        raw.say(&Message::UserauthRequest(right)).await.expect("room");
        raw.expect_message(&Message::UserauthSuccess).await.expect("the sixth is right");
        assert_eq!(mps.counts().refused_logins, 5);
    }
}

#[tokio::test]
async fn a_split_login_ends_the_connection_from_thirteen_bytes_on() {
    let (mps, account) = usual(Behaviour::default()).await;
    let login = UserauthRequest::password(b"admin", account.password.expose().as_bytes());
    let login = Message::UserauthRequest(login).to_bytes();
    for split in 1..login.len() {
        let mut raw = RawDevice::connect(mps.cira()).await.expect("it listens");
        raw.greet(device(1)).await.expect("room");
        raw.expect(23).await.expect("the service");
        raw.send(&login[..split]).await.expect("room");
        if split < 13 {
            until(&mps, |mps| mps.connections().last().is_some_and(|one| one.records.len() == 3)).await;
            raw.send(&login[split..]).await.expect("room");
            raw.expect_message(&Message::UserauthSuccess).await.expect("still whole enough");
        } else {
            assert_eq!(raw.closed().await.expect("it closes"), Closed::Notified, "split at {split}");
            until(&mps, |mps| {
                mps.connections().last().is_some_and(|one| one.ended == Some(Ending::SplitLogin))
            })
            .await;
        }
    }
}

#[tokio::test]
async fn an_unknown_device_is_closed_after_the_look_up_without_a_word_about_it() {
    let mps = mps("mps-1", Behaviour::default(), &Arc::new(Database::empty())).await;
    let mut raw = RawDevice::connect(mps.cira()).await.expect("it listens");
    raw.greet(device(1)).await.expect("room");
    assert_eq!(raw.closed().await.expect("it closes"), Closed::Notified);
    until(&mps, |mps| mps.connections().last().is_some_and(|one| one.ended == Some(Ending::UnknownDevice)))
        .await;
}

#[tokio::test]
async fn who_pipelines_hears_of_the_login_last() {
    let (mps, account) = usual(Behaviour { lookup: Duration::from_millis(20), ..Behaviour::default() }).await;
    let mut raw = RawDevice::connect(mps.cira()).await.expect("it listens");
    raw.greet(device(1)).await.expect("room");
    let login = UserauthRequest::password(b"admin", account.password.expose().as_bytes());
    let rest = [
        Message::UserauthRequest(login),
        Message::ServiceRequest { service: PFWD_SERVICE },
        Message::GlobalRequest(GlobalRequest::Forward { address: b"", port: 5900 }),
    ];
    for message in &rest {
        raw.say(message).await.expect("room");
    }
    let mut kinds = Vec::new();
    for _ in 0..5 {
        kinds.push(raw.message().await.expect("an answer")[0]);
    }
    assert_eq!(kinds, [6, 6, kind::REQUEST_SUCCESS, kind::KEEPALIVE_OPTIONS_REQUEST, kind::USERAUTH_SUCCESS]);
}

#[tokio::test]
async fn the_connection_that_logs_in_last_has_the_device() {
    let (mps, account) = usual(Behaviour::default()).await;
    let mut old = logged_in(&mps, device(1)).await;
    let mut new = RawDevice::connect(mps.cira()).await.expect("it listens");
    new.greet(device(1)).await.expect("room");
    new.expect(23).await.expect("the service");
    old.say(&Message::KeepaliveRequest { cookie: 1 }).await.expect("room");
    old.expect_message(&Message::KeepaliveReply { cookie: 1 })
        .await
        .expect("a name alone takes nothing away");
    let login = UserauthRequest::password(b"admin", account.password.expose().as_bytes());
    new.say(&Message::UserauthRequest(login)).await.expect("room");
    new.expect_message(&Message::UserauthSuccess).await.expect("it lets the device in");
    assert_eq!(old.closed().await.expect("the old one goes"), Closed::Notified);
    until(&mps, |mps| mps.connections()[0].ended == Some(Ending::Superseded)).await;
    assert!(mps.holds(device(1)));
}

#[tokio::test]
async fn a_disconnect_is_believed_whoever_sends_it() {
    let (mps, _) = usual(Behaviour::default()).await;
    let mut victim = logged_in(&mps, device(1)).await;
    let mut stranger = RawDevice::connect(mps.cira()).await.expect("it listens");
    stranger.greet(device(1)).await.expect("room");
    stranger.say(&Message::Disconnect { reason: 11 }).await.expect("room");
    until(&mps, |mps| mps.counts().disconnects == 1).await;
    assert!(!mps.holds(device(1)));
    victim.say(&Message::KeepaliveRequest { cookie: 1 }).await.expect("room");
    victim.expect_message(&Message::KeepaliveReply { cookie: 1 }).await.expect("up, but unreachable");
}

#[tokio::test]
async fn a_browser_gets_a_page_and_a_close() {
    let (mps, _) = usual(Behaviour::default()).await;
    let mut raw = RawDevice::connect(mps.cira()).await.expect("it listens");
    raw.send_bytewise(b"GET / HTTP/1.1\r\n\r\n").await.expect("room");
    assert!(raw.record().await.expect("a page").starts_with(b"HTTP/1.1 200 OK\r\n"));
    raw.closed().await.expect("it closes");
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let (mps, _) = usual(Behaviour { idle: Duration::from_millis(100), ..Behaviour::default() }).await;
    let mut raw = logged_in(&mps, device(1)).await;
    assert_eq!(raw.closed().await.expect("it closes"), Closed::Notified);
    until(&mps, |mps| mps.connections().last().is_some_and(|one| one.ended == Some(Ending::Idle))).await;
    assert!(!mps.holds(device(1)));
    assert_eq!(mps.state.database.row(device(1)), Some(Row::default()));
}

#[tokio::test]
async fn a_killed_mps_says_nothing_and_comes_back_on_the_same_ports() {
    let (mps, _) = usual(Behaviour::default()).await;
    let (cira, http) = (mps.cira(), mps.http());
    let mut raw = logged_in(&mps, device(1)).await;
    mps.stop().await;
    assert_ne!(raw.closed().await.expect("its sockets are gone"), Closed::Notified);
    assert!(mps.connected().is_empty());
    assert!(mps.state.database.row(device(1)).expect("a row").connected, "nobody cleaned up");
    RawDevice::connect(cira).await.map(|_| ()).expect_err("nobody listens");
    mps.restart().await.expect("its ports are free");
    assert_eq!((mps.cira(), mps.http()), (cira, http));
    let mut raw = logged_in(&mps, device(1)).await;
    mps.leave().await;
    assert_eq!(raw.closed().await.expect("it leaves in order"), Closed::Notified);
}

#[tokio::test]
async fn a_frozen_mps_answers_when_it_is_thawed() {
    let (mps, _) = usual(Behaviour::default()).await;
    let mut raw = logged_in(&mps, device(1)).await;
    mps.freeze(true);
    raw.say(&Message::KeepaliveRequest { cookie: 1 }).await.expect("room");
    raw.set_limit(Duration::from_millis(50));
    assert_eq!(raw.expect(5).await.expect_err("frozen").kind(), io::ErrorKind::TimedOut);
    mps.freeze(false);
    raw.set_limit(LIMIT);
    raw.expect_message(&Message::KeepaliveReply { cookie: 1 }).await.expect("thawed");
}

#[tokio::test]
async fn without_a_certificate_it_speaks_plain_tcp() {
    let account = Account { password: Secret::new("other"), ..Account::default() };
    let database = Arc::new(Database::of_everyone(account));
    let mps = Mps::start(MpsSettings::new("mps-1", None, database)).await.expect("free ports");
    let mut tcp = TcpStream::connect(mps.cira()).await.expect("it listens");
    let preamble = Preamble { major: 1, minor: 0, trigger: 4, device: device(1) }.to_bytes();
    crate::net::records::write_record(&mut tcp, &preamble).await.expect("room");
    until(&mps, |mps| mps.connections().last().is_some_and(|one| one.device == Some(device(1)))).await;
}
