//! WSMAN as MPS speaks it to a device: HTTP with digest through a CIRA channel.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::channels::{Command, open};
use super::database::Account;
use crate::sim::digest::{Challenge, Login};

/// How long MPS waits for an answer of a device in all.
const LIMIT: Duration = Duration::from_secs(10);

/// Longest answer taken, in bytes.
const LONGEST: usize = 64 * 1024;

const WSMAN_PORT: u32 = 16992;

/// Why a device gave no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum WsmanError {
    /// The channel was refused or closed, or the connection is gone.
    #[error("the device closed the channel")]
    Closed,
    /// Too long, or not HTTP, or without what was asked for.
    #[error("the device's answer is not understood")]
    Malformed,
    /// Not in time.
    #[error("the device did not answer in time")]
    Timeout,
    /// The device did not accept the login.
    #[error("the device refused the login")]
    Unauthorized,
}

/// Asks a device for its power state: 2 is on.
pub(super) async fn power_state(
    device: &mpsc::Sender<Command>,
    host: &str,
    account: &Account,
) -> Result<u32, WsmanError> {
    let login = Login { user: &account.amt_user, password: &account.amt_password };
    let asking = async {
        let refused = exchange(device, &request(host, None)).await?;
        let challenge = header(&refused, "WWW-Authenticate").and_then(Challenge::parse);
        let challenge = challenge.ok_or(WsmanError::Malformed)?;
        let answer = challenge.answer(&login, "POST", "/wsman");
        exchange(device, &request(host, Some(&answer))).await
    };
    let answer = timeout(LIMIT, asking).await.map_err(|_| WsmanError::Timeout)??;
    match status(&answer) {
        Some(200) => {
            let (_, rest) = answer.split_once("PowerState>").ok_or(WsmanError::Malformed)?;
            let digits = rest.split('<').next().unwrap_or_default();
            digits.parse().map_err(|_| WsmanError::Malformed)
        }
        Some(401) => Err(WsmanError::Unauthorized),
        _ => Err(WsmanError::Malformed),
    }
}

fn request(host: &str, authorization: Option<&str>) -> Bytes {
    let id = rand::random::<u32>();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Envelope xmlns=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\"><Header>\
         <a:Action>http://schemas.xmlsoap.org/ws/2004/09/transfer/Get</a:Action><a:MessageID>{id}</a:MessageID>\
         </Header><Body><CIM_AssociatedPowerManagementService/></Body></Envelope>"
    );
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    let length = body.len();
    format!(
        "POST /wsman HTTP/1.1\r\nHost: {host}:16992\r\n{authorization}Content-Length: {length}\r\n\r\n{body}"
    )
    .into()
}

/// One request on a channel of its own: firmware closes the channel after it, as a rule.
async fn exchange(device: &mpsc::Sender<Command>, request: &Bytes) -> Result<String, WsmanError> {
    let mut channel = open(device, WSMAN_PORT).await.ok_or(WsmanError::Closed)?;
    if !channel.send(request.clone()).await {
        return Err(WsmanError::Closed);
    }
    let mut answer = BytesMut::new();
    while !is_complete(&answer) {
        answer.extend_from_slice(&channel.receive().await.ok_or(WsmanError::Closed)?);
        if answer.len() > LONGEST {
            return Err(WsmanError::Malformed);
        }
    }
    String::from_utf8(answer.into()).map_err(|_| WsmanError::Malformed)
}

/// By the marks MPS looks for, not by the rules of HTTP.
fn is_complete(answer: &[u8]) -> bool {
    let has = |mark: &[u8]| answer.windows(mark.len()).any(|window| window == mark);
    has(b"</html>") || has(b"0\r\n\r\n")
}

fn status(answer: &str) -> Option<u16> {
    answer.split(' ').nth(1)?.parse().ok()
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    head.lines()
        .find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)))?
        .1
        .into()
}
