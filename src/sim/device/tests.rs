//! Against a simulated MPS.

use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::*;
use crate::model::Secret;
use crate::sim::mps::{Behaviour, Database, Ending, INSTANCE_HEADER, Mps, MpsSettings};
use crate::sim::pki::{Authority, Keys};

const LIMIT: Duration = Duration::from_secs(10);

fn id(number: u16) -> DeviceId {
    let mut bytes = [0x11; 16];
    bytes[14..].copy_from_slice(&number.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(LIMIT, work).await.expect("it happens in time")
}

/// An MPS, and devices that trust its root and name.
async fn house(behaviour: Behaviour) -> (Mps, DeviceSettings) {
    let authority = Authority::new(Keys::P256, "root of the test").expect("a root");
    let leaf = authority.issue("mps.example", &[]).expect("a leaf");
    let database = Arc::new(Database::of_everyone(Account::default()));
    let settings = MpsSettings::new("mps-1", Some(leaf.identity()), database);
    let mps = Mps::start(MpsSettings { behaviour, ..settings }).await.expect("free ports");
    let trust = Trust::Root { root: authority.root(), common_name: Some("mps.example".into()) };
    let tls = DeviceTls::new(&TlsSettings::trusting(trust)).expect("a good root");
    let reconnect = Reconnect { after: Duration::from_millis(50), ..Reconnect::default() };
    let settings = DeviceSettings { reconnect, ..DeviceSettings::new(vec![mps.cira()], tls) };
    (mps, settings)
}

/// Status, instance and body of the answer to a request to an MPS.
async fn get(mps: &Mps, path: &str) -> (u16, String, serde_json::Value) {
    let asking = async {
        let tcp = TcpStream::connect(mps.http()).await.expect("it listens");
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.expect("it speaks HTTP");
        let request = hyper::Request::get(path).body(String::new()).expect("a request");
        let (answer, _) = tokio::join!(
            async move {
                let answer = sender.send_request(request).await.expect("an answer");
                let (parts, body) = answer.into_parts();
                (parts, body.collect().await.expect("a body").to_bytes())
            },
            connection,
        );
        answer
    };
    let (parts, body) = within(asking).await;
    let instance = parts.headers[INSTANCE_HEADER].to_str().expect("text").to_owned();
    (parts.status.as_u16(), instance, serde_json::from_slice(&body).expect("JSON"))
}

#[tokio::test]
async fn a_device_logs_in_and_answers_for_its_power_through_the_tunnel() {
    let (mps, settings) = house(Behaviour::default()).await;
    let device = Device::start(id(1), Arc::new(settings));
    within(device.proven()).await;
    let path = format!("/api/v1/amt/power/state/{}", id(1));
    let (status, instance, body) = get(&mps, &path).await;
    assert_eq!((status, instance.as_str(), &body["powerstate"]), (200, "mps-1", &2.into()), "{body}");
    device.set_power(8);
    assert_eq!(get(&mps, &path).await.2["powerstate"], 8);
    assert_eq!(device.status().channels, 4, "each answer is a refusal and a second request");
    within(mps.until(|mps| mps.connections()[0].messages.contains(&211))).await;
}

#[tokio::test]
async fn the_web_server_answers_like_the_real_one() {
    let (mps, settings) = house(Behaviour::default()).await;
    let device = Device::start(id(0xab), Arc::new(settings));
    within(device.proven()).await;
    let shouted = id(0xab).to_string().to_uppercase();
    for guid in [&shouted, &id(2).to_string(), "nonsense"] {
        let (status, _, body) = get(&mps, &format!("/api/v1/amt/power/state/{guid}")).await;
        assert_eq!(status, 404);
        assert!(body.to_string().contains("Device not found/connected"), "{body}");
    }
    let (status, _, body) = get(&mps, "/api/v1/devices").await;
    assert_eq!((status, &body[0]["mpsInstance"]), (200, &"mps-1".into()), "{body}");
    assert_eq!(get(&mps, &format!("/api/v1/devices/{}", id(0xab))).await.2["connectionStatus"], true);
    assert_eq!(get(&mps, &format!("/api/v1/devices/{}", id(2))).await.0, 404);
    assert_eq!(get(&mps, "/api/v1/version").await.0, 200);
    assert_eq!(get(&mps, "/api/v1/health").await.0, 200);
    mps.set_health(503);
    assert_eq!(get(&mps, "/api/v1/health").await.0, 503);
    assert_eq!(get(&mps, "/nowhere").await.0, 404);
}

#[tokio::test]
async fn what_does_not_fit_the_wrong_password_of_amt_is_an_error_not_an_answer() {
    let (mps, settings) = house(Behaviour::default()).await;
    let account = Account { amt_password: Secret::new("changed"), ..Account::default() };
    let device = Device::start(id(1), Arc::new(DeviceSettings { account: Arc::new(account), ..settings }));
    within(device.proven()).await;
    let (status, _, body) = get(&mps, &format!("/api/v1/amt/power/state/{}", id(1))).await;
    assert_eq!((status, &body["errorDescription"]), (500, &"the device refused the login".into()));
}

#[tokio::test]
async fn an_echo_larger_than_every_window_comes_back_whole() {
    let (mps, settings) = house(Behaviour { window: 1000, ..Behaviour::default() }).await;
    let device = Device::start(id(1), Arc::new(settings));
    within(device.proven()).await;
    let mut channel = within(mps.open(id(1), 16994)).await.expect("the port is offered");
    let sent: Vec<u8> = (0..20_000_u32).map(|i| i as u8).collect();
    assert!(channel.send(sent.clone().into()).await);
    let mut came = Vec::new();
    while came.len() < sent.len() {
        came.extend_from_slice(&within(channel.receive()).await.expect("the channel is open"));
    }
    assert!(came == sent);
    assert!(within(mps.open(id(1), 5900)).await.is_none(), "nothing answers there");
}

#[tokio::test]
async fn every_manner_of_writing_gets_a_device_in_except_a_split_login() {
    let (mps, settings) = house(Behaviour::default()).await;
    for (n, manner) in [(1, Manner::OneByOne), (2, Manner::Coalesced), (3, Manner::Pipelined)] {
        let device = Device::start(id(n), Arc::new(DeviceSettings { manner, ..settings.clone() }));
        within(device.proven()).await;
        within(device.stop()).await;
    }
    let device = Device::start(id(4), Arc::new(DeviceSettings { manner: Manner::Bytewise, ..settings }));
    within(mps.until(|mps| mps.connections().iter().any(|one| one.ended == Some(Ending::SplitLogin)))).await;
    assert_eq!(device.status().proofs, 0);
}

#[tokio::test]
async fn a_device_comes_back_after_its_server_did() {
    let (mps, settings) = house(Behaviour::default()).await;
    let device = Device::start(id(1), Arc::new(settings));
    within(device.proven()).await;
    mps.stop().await;
    within(device.until(|status| status.stage == Stage::Disconnected)).await;
    mps.restart().await.expect("its ports are free");
    within(device.until(|status| status.proofs == 2)).await;
    device.renew();
    within(device.until(|status| status.proofs == 3)).await;
    assert!(mps.holds(id(1)));
}

#[tokio::test]
async fn a_device_that_is_refused_says_so_and_gives_up_for_a_while() {
    let (_mps, settings) = house(Behaviour::default()).await;
    let account = Account { password: Secret::new("wrong"), ..Account::default() };
    let give_up = Some((3, Duration::from_secs(900)));
    let reconnect = Reconnect { after: Duration::ZERO, give_up, ..settings.reconnect };
    let settings = DeviceSettings { account: Arc::new(account), logins: 2, reconnect, ..settings };
    let device = Device::start(id(1), Arc::new(settings));
    let status = within(device.until(|s| s.failures == 3)).await;
    assert_eq!((status.attempts, status.last_error.expect("a reason").reason()), (3, "refused"));
    let fourth = timeout(Duration::from_millis(200), device.until(|s| s.attempts == 4)).await;
    assert!(fourth.is_err(), "it is resting");
}

#[tokio::test]
async fn a_device_trusts_its_root_and_the_name_it_was_given() {
    let (mps, settings) = house(Behaviour::default()).await;
    let other = Authority::new(Keys::P256, "another root").expect("a root");
    let same = Authority::new(Keys::P256, "root of the test").expect("a root of the same name");
    for root in [other.root(), same.root()] {
        let tls = DeviceTls::new(&TlsSettings::trusting(Trust::Root { root, common_name: None }));
        let settings = DeviceSettings { tls: tls.expect("a good root"), ..settings.clone() };
        let device = Device::start(id(1), Arc::new(settings));
        let status = within(device.until(|s| s.last_error.is_some())).await;
        assert_eq!(status.last_error.expect("a reason").reason(), "handshake");
    }
    assert_eq!(mps.counts().proofs, 0);
}

#[tokio::test]
async fn how_a_device_leaves_is_a_setting() {
    let (mps, settings) = house(Behaviour::default()).await;
    let vanishing = DeviceSettings { vanish: true, ..settings.clone() };
    for settings in [settings, vanishing] {
        let device = Device::start(id(1), Arc::new(settings));
        within(device.proven()).await;
        within(device.stop()).await;
        within(mps.until(|mps| mps.connections().iter().all(|one| one.ended == Some(Ending::Closed)))).await;
    }
}

#[tokio::test]
async fn a_device_that_ignores_a_close_goes_on_talking() {
    let behaviour = Behaviour { options: None, ..Behaviour::default() };
    let (mps, settings) = house(behaviour).await;
    let keepalive = Duration::from_millis(20);
    let device = Device::start(id(1), Arc::new(DeviceSettings { ignore_fin: true, keepalive, ..settings }));
    within(device.until(|status| status.keepalives >= 2)).await;
    assert!(mps.end(id(1)));
    within(mps.until(|mps| mps.connections()[0].ended == Some(Ending::Superseded))).await;
    let gone = timeout(Duration::from_millis(200), device.until(|s| s.stage != Stage::Proven)).await;
    assert!(gone.is_err(), "it believes to be connected");
}

#[tokio::test]
async fn a_hundred_devices_share_their_settings() {
    let (mps, settings) = house(Behaviour::default()).await;
    let settings = Arc::new(settings);
    let devices: Vec<_> = (0..100).map(|n| Device::start(id(n), Arc::clone(&settings))).collect();
    within(mps.until(|mps| mps.connected().len() == 100)).await;
    for device in &devices {
        within(device.proven()).await;
        assert_eq!(device.status().attempts, 1);
    }
}
