//! The claim is made before the device hears that it is proven, and does not keep it from hearing so.

use std::time::Duration;

use mps_gateway::directory;
use mps_gateway::wire::apf::{AUTH_SERVICE, Message, UserauthRequest, kind};
use tokio::time::Instant;

use super::{Gateway, device, password, within};
use crate::redis_server::RedisServer;

#[tokio::test]
async fn a_frozen_directory_delays_the_success_by_the_claims_time_and_no_more() {
    let Some(redis) = RedisServer::start().await else { return };
    let (fleet, tls) = Gateway::fleet(1).await;
    let settings = directory::Settings { url: redis.url(), ..directory::Settings::default() };
    let gateway = Gateway::over(settings, fleet, tls, |_| {}).await;
    let mut raw = gateway.connect().await;
    raw.greet(device(1)).await.expect("said");
    within(raw.expect_message(&Message::ServiceAccept { service: AUTH_SERVICE })).await.expect("routed");

    redis.freeze();
    let asked = Instant::now();
    let password = password();
    let login = UserauthRequest::password(b"admin", password.expose().as_bytes());
    raw.say(&Message::UserauthRequest(login)).await.expect("said");
    let answer = within(raw.message()).await.expect("the directory stops no login");
    let took = asked.elapsed();
    redis.thaw();
    assert_eq!(answer.first(), Some(&kind::USERAUTH_SUCCESS));
    assert!(took >= Duration::from_millis(200), "the claim comes first, for 250 ms: {took:?}");
    assert!(took < Duration::from_secs(5), "it delays, no more: {took:?}");
}
