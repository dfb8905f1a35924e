//! Logins that MeshCentral refuses, and a look by HTTP.

use mps_gateway::model::Secret;
use mps_gateway::sim::device::{Closed, RawDevice};
use mps_gateway::wire::apf::{AUTH_SERVICE, Message, PASSWORD_METHOD, UserauthRequest};

use super::*;

/// MeshCentral refuses and closes; so it is for the device, and what is counted is the device's doing.
async fn a_wrong_password_is_refused_by_meshcentral(leg: Leg) {
    let Some(mut house) = House::start(leg).await else { return };
    let id = device(1);
    let mut raw = RawDevice::connect_tls(house.cira, &house.tls).await.expect("the gateway shakes hands");
    raw.greet(id).await.expect("said");
    raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE }).await.expect("heard");
    let login = UserauthRequest::password(house.account.user.as_bytes(), b"WrongP@ss");
    raw.say(&Message::UserauthRequest(login)).await.expect("said");
    let refusal = Message::UserauthFailure { methods: PASSWORD_METHOD, padded: true };
    assert_eq!(raw.expect(15).await.expect("heard"), refusal.to_bytes(), "its own words, all 15 bytes");
    assert_eq!(raw.closed().await.expect("closed"), Closed::Notified);
    house.mesh.logged("Incorrect password").await;
    assert_eq!(house.metric("session_ends_total{reason=\"login-failures\",blame=\"device\"}").await, 1.0);
    house.gone(id).await;

    let amt = Amt::start().await;
    let right = std::mem::replace(&mut house.account.password, Secret::new("WrongP@ss"));
    let mut client = house.client(id, &amt);
    client.said("APF: User Authentication failed").await;
    client.closed().await;
    house.gone(id).await;
    assert_eq!(house.metric("login_failures_total").await, 2.0);

    house.account.password = right;
    let device = house.device(id);
    within("the right password is taken", device.proven()).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_by_meshcentral_over_tls() {
    a_wrong_password_is_refused_by_meshcentral(Leg::Tls).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_by_meshcentral_over_plain_tcp() {
    a_wrong_password_is_refused_by_meshcentral(Leg::Plain).await;
}

#[tokio::test]
async fn a_look_by_http_is_answered_by_the_gateway_and_meshcentral_keeps_its_own_page() {
    let Some(house) = House::start(Leg::Plain).await else { return };
    let page = Http::new(house.mesh.cira).text("/").await.expect("MeshCentral answers on its CIRA port");
    assert!(page.contains("MeshCentral MPS server"), "{page}");
    let mut raw = RawDevice::connect_tls(house.cira, &house.tls).await.expect("the gateway shakes hands");
    raw.send(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n").await.expect("said");
    let answer = raw.record().await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("MeshCentral"), "{answer}");
    assert_eq!(raw.closed().await.expect("closed"), Closed::Notified);
}
