//! Logins that no honest device tries, and honest ones in unusual pieces.

use mps_gateway::device::LoginBackoff;
use mps_gateway::net::records::write_record;
use mps_gateway::sim::device::{Closed, DeviceTls, RawDevice};
use mps_gateway::wire::apf::{AUTH_SERVICE, GlobalRequest, Message, PFWD_SERVICE, UserauthRequest, kind};
use tokio::io::AsyncReadExt as _;

use super::*;

#[tokio::test]
async fn a_login_by_another_method_or_with_an_inner_52_proves_nothing() {
    let gateway = Gateway::start().await;
    let none =
        UserauthRequest { method: b"none", password: None, ..UserauthRequest::password(b"admin", b"") };
    let mut by_none = gateway.connect().await;
    by_none.greet(device(1)).await.expect("said");
    by_none.say(&Message::UserauthRequest(none)).await.expect("said");
    assert_eq!(within(by_none.closed()).await.expect("closed"), Closed::Notified);
    assert_eq!(gateway.metric("guard_refusals_total{reason=\"method\"}"), 1.0);

    // 52 as user, as password, and as a message of the device's own.
    let forged = UserauthRequest::password(&[kind::USERAUTH_SUCCESS; 64], &[kind::USERAUTH_SUCCESS; 200]);
    let mut inner = gateway.connect().await;
    inner.greet(device(1)).await.expect("said");
    within(inner.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("heard");
    inner.say(&Message::UserauthRequest(forged)).await.expect("said");
    assert_eq!(within(inner.message()).await.expect("an answer")[0], kind::USERAUTH_FAILURE);
    assert!(gateway.sessions.is_empty());
    inner.send(&[kind::USERAUTH_SUCCESS]).await.expect("said");
    within(inner.closed()).await.expect("closed");
    gateway.all_gone().await;
    assert_eq!(gateway.claim(device(1)).await, None);
    assert_eq!(gateway.mps[0].counts().proofs, 0);
    for connection in gateway.mps[0].connections() {
        assert!(!connection.messages.contains(&kind::USERAUTH_SUCCESS), "{connection:?}");
    }
}

/// Says one wrong password; the failure is heard.
async fn fail(raw: &mut RawDevice) {
    raw.send(&login(b"wrong")).await.expect("said");
    let failure = within(raw.expect(15)).await.expect("an answer"); // as MPS pads it
    assert_eq!(failure[0], kind::USERAUTH_FAILURE);
}

#[tokio::test]
async fn wrong_passwords_end_the_session_and_then_keep_their_sender_away() {
    let gateway = Gateway::start().await;
    for session in 1..=2 {
        let mut raw = gateway.connect().await;
        raw.greet(device(1)).await.expect("said");
        within(raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("heard");
        for _ in 0..3 {
            fail(&mut raw).await;
        }
        assert_eq!(within(raw.closed()).await.expect("cut"), Closed::Notified);
        until("it was cut", || gateway.ended("login-failures", "device") == f64::from(session)).await;
    }
    assert_eq!(gateway.metric("login_failures_total"), 6.0);
    let so_far = gateway.mps[0].counts().accepted;
    let mut again = gateway.connect().await;
    again.greet(device(1)).await.expect("said");
    within(again.closed()).await.expect("closed");
    until("it is kept away", || gateway.ended("backed-off", "device") == 1.0).await;
    assert_eq!(gateway.mps[0].counts().accepted, so_far, "the MPS is left alone");
    gateway.still_serves(device(2)).await; // the same source, another device
    gateway.all_gone().await;
}

/// Console and MeshCentral close after the first wrong password.
#[tokio::test]
async fn a_wrong_password_is_the_devices_doing_when_its_instance_closes_too() {
    let authority = Authority::new(Keys::P256, "MPSRoot").expect("a root");
    let leaf = authority.issue("mps", &[]).expect("a leaf");
    let database = Arc::new(Database::of_everyone(Account::default()));
    let mut settings = MpsSettings::new("mps-0", Some(leaf.identity()), database);
    settings.behaviour.closes_refused = true;
    let mps = Mps::start(settings).await.expect("an MPS on ports of the kernel's choice");
    let tls = InstanceTls::new(&Verify::Pin(leaf.pins().to_vec())).expect("pins");
    let gateway = Gateway::with(vec![mps], tls, |_| {}).await;
    let mut raw = gateway.connect().await;
    raw.greet(device(1)).await.expect("said");
    within(raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("heard");
    fail(&mut raw).await;
    assert_eq!(within(raw.closed()).await.expect("cut"), Closed::Notified);
    gateway.all_gone().await;
    assert_eq!(gateway.ended("login-failures", "device"), 1.0);
    assert_eq!(gateway.ended("closed", "instance"), 0.0);
    gateway.still_serves(device(1)).await;
}

/// From a network of its own: where a device proved itself, that device is exempt from back-off.
async fn connect_from_afar(gateway: &Gateway) -> RawDevice {
    let tcp = gateway.tcp_from_address([127, 9, 9, 9]).await;
    within(RawDevice::over(tcp, &DeviceTls::trusting_anything())).await.expect("the gateway shakes hands")
}

#[tokio::test]
async fn a_victims_guid_without_its_password_changes_nothing_for_the_victim() {
    let gateway = Gateway::before(2, |_| {}).await;
    let id = device(1);
    let mut victim = gateway.proven(id).await;
    let claim = gateway.claim(id).await.expect("it is claimed");
    let session = gateway.sessions.get(id).expect("it is listed").id;
    for _ in 0..2 {
        let mut attacker = connect_from_afar(&gateway).await;
        attacker.greet(id).await.expect("said");
        within(attacker.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE }))
            .await
            .expect("heard");
        for _ in 0..3 {
            fail(&mut attacker).await;
        }
        within(attacker.closed()).await.expect("cut");
    }
    let mut attacker = connect_from_afar(&gateway).await;
    attacker.greet(id).await.expect("said");
    within(attacker.closed()).await.expect("closed");
    until("the attacker is kept away", || gateway.ended("backed-off", "device") == 1.0).await;
    assert_eq!(gateway.claim(id).await, Some(claim), "owner, epoch and session are the same");
    assert_eq!(gateway.sessions.get(id).expect("it is listed").id, session);
    within(victim.offer(&[16992, 16994])).await.expect("the victim is still served");
    drop(victim);
    gateway.all_gone().await;
    gateway.still_serves(id).await; // and may come back, whatever the attacker failed
}

#[tokio::test]
async fn a_device_that_says_everything_at_once_is_served_in_order() {
    let gateway = Gateway::start().await;
    let forward =
        |port| Message::GlobalRequest(GlobalRequest::Forward { address: b"", port }).to_bytes().to_vec();
    let all = [
        preamble(device(1)),
        service(AUTH_SERVICE),
        login(b"Passw0rd!"),
        service(PFWD_SERVICE),
        forward(16992),
        forward(16994),
    ];
    for records in [vec![all.concat()], all.to_vec(), all.concat().chunks(7).map(<[u8]>::to_vec).collect()] {
        let mut raw = gateway.connect().await;
        for record in &records {
            raw.send(record).await.expect("said");
        }
        for answer in [
            Message::ServiceAccept { service: AUTH_SERVICE },
            Message::UserauthSuccess,
            Message::ServiceAccept { service: PFWD_SERVICE },
            Message::ForwardSuccess { port: 16992 },
            Message::ForwardSuccess { port: 16994 },
        ] {
            within(raw.expect_message(&answer)).await.expect("in this order");
        }
        let connection = gateway.mps[0].connections().pop().expect("it reached the MPS");
        assert_eq!(connection.messages, [192, 5, 50, 5, 80, 80]);
        assert_eq!(connection.records[..3], [93, 23, login(b"Passw0rd!").len()], "the login is whole");
    }
}

#[tokio::test]
async fn whoever_says_too_much_behind_its_login_waits_and_loses_nothing() {
    let gateway = Gateway::start().await;
    let mut raw = gateway.connect().await;
    raw.greet(device(1)).await.expect("said");
    within(raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("heard");
    gateway.mps[0].freeze(true);
    raw.send(&login(b"Passw0rd!")).await.expect("said");
    let (mut hear, mut say) = tokio::io::split(raw.into_stream());
    let flood = service(PFWD_SERVICE).repeat(4_000); // 92 kB
    let saying = async { write_all(&mut say, &flood).await };
    let hearing = async {
        gateway.mps[0].freeze(false);
        let mut heard = vec![0; 1 + flood.len()];
        hear.read_exact(&mut heard).await.expect("an answer to each");
        assert_eq!(heard[0], kind::USERAUTH_SUCCESS);
        assert!(heard[1..].chunks(23).all(|answer| answer[0] == kind::SERVICE_ACCEPT));
    };
    within(async { tokio::join!(saying, hearing) }).await;
}

async fn write_all<T: tokio::io::AsyncWrite + Unpin>(stream: &mut T, bytes: &[u8]) {
    for record in bytes.chunks(4_000) {
        write_record(stream, record).await.expect("taken, sooner or later");
    }
}

#[tokio::test]
async fn whoever_only_keeps_alive_before_its_login_is_cut_off_and_the_mps_reads_little_of_it() {
    let gateway = Gateway::start().await;
    let mut raw = gateway.connect().await;
    raw.greet(device(1)).await.expect("said");
    within(raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("heard");
    let many = Message::KeepaliveRequest { cookie: 1 }.to_bytes().repeat(3_000); // a record of 15,000 bytes
    let flood = async { while raw.send(&many).await.is_ok() {} };
    within(flood).await;
    until("it was cut off", || gateway.ended("refused", "device") == 1.0).await;
    assert_eq!(gateway.metric("guard_refusals_total{reason=\"too-much-before-proof\"}"), 1.0);
    gateway.all_gone().await;
    let heard: usize = gateway.mps[0].connections()[0].records.iter().sum();
    assert!(heard <= 93 + 4096, "{heard} bytes reached the MPS");
    gateway.still_serves(device(1)).await;
}

/// How many wrong passwords the MPS was asked to judge, of twenty said at once in as many sessions.
async fn judged_of_twenty_at_once(login_backoff: LoginBackoff) -> f64 {
    let gateway = Gateway::before(1, |settings| settings.login_backoff = login_backoff).await;
    let attempts = (0..20).map(|_| async {
        let mut raw = gateway.connect().await;
        raw.greet(device(1)).await.expect("said");
        within(raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("heard");
        raw
    });
    let mut ready = within(futures_util::future::join_all(attempts)).await;
    for raw in &mut ready {
        raw.send(&login(b"wrong")).await.expect("said");
    }
    for raw in &mut ready {
        if let Ok(failure) = within(raw.message()).await {
            assert_eq!(failure[0], kind::USERAUTH_FAILURE); // the others are closed unasked
        }
    }
    drop(ready);
    gateway.all_gone().await;
    gateway.metric("login_failures_total")
}

#[tokio::test]
async fn wrong_passwords_said_at_once_count_like_those_said_in_turn() {
    let judged = judged_of_twenty_at_once(LoginBackoff::Source).await;
    assert!((2.0..=7.0).contains(&judged), "{judged} logins");
    assert_eq!(judged_of_twenty_at_once(LoginBackoff::Off).await, 20.0, "unless an operator wants it so");
}
