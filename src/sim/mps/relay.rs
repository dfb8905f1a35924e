//! The redirection relay of a simulated MPS: a WebSocket on one side, a channel to the device on the
//! other (`webserver.ts` and `wsRedirect.ts`, slips included).

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Plane;
use super::channels::{self, Channel};
use super::rest::{INSTANCE_HEADER, connected};
use super::state::State;
use crate::model::DeviceId;

/// The one path that MPS upgrades.
const PATH: &str = "/relay/webrelay.ashx";
/// What all instances sign tokens with.
const KEY: &[u8] = b"simulated";

/// A token that opens the relay for `guid`, spelled as it was asked for.
pub(super) fn token(guid: &str) -> String {
    let part = |value: Value| BASE64.encode(value.to_string());
    let head = part(json!({ "alg": "HS256", "typ": "JWT" }));
    let signed = format!("{head}.{}", part(json!({ "tenantId": "", "deviceId": guid })));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY), signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(signature))
}

/// Whom a token is for, if we signed it.
fn device_of(token: &str) -> Option<String> {
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = BASE64.decode(signature).ok()?;
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, KEY), signed.as_bytes(), &signature).ok()?;
    let payload: Value = serde_json::from_slice(&BASE64.decode(signed.split('.').nth(1)?).ok()?).ok()?;
    Some(payload["deviceId"].as_str()?.to_owned())
}

/// Answers a wish to upgrade: 101, or the same bare 401 for whatever is wrong.
pub(super) fn answer(request: &mut Request<Incoming>, plane: &Plane) -> Response<Full<Bytes>> {
    let Some((redirection, port)) = admit(request, plane) else { return refused() };
    let headers = request.headers();
    let (Some(key), protocol) =
        (headers.get(SEC_WEBSOCKET_KEY), headers.get(SEC_WEBSOCKET_PROTOCOL).cloned())
    else {
        return refused();
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64");
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let mut say = |name: HeaderName, value| drop(response.headers_mut().insert(name, value));
    say(CONNECTION, HeaderValue::from_static("Upgrade"));
    say(UPGRADE, HeaderValue::from_static("websocket"));
    say(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        say(SEC_WEBSOCKET_PROTOCOL, protocol); // a browser insists on hearing it again
    }
    if let Ok(name) = HeaderValue::from_str(&plane.state.name) {
        say(HeaderName::from_static(INSTANCE_HEADER), name);
    }
    plane.spawn(serve(hyper::upgrade::on(request), redirection, port));
    response
}

fn refused() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// One redirection: its place among those of a device, given back when dropped.
struct Redirection {
    state: Arc<State>,
    device: DeviceId,
    mode: String,
}

impl Drop for Redirection {
    fn drop(&mut self) {
        self.state.redirections.lock().remove(&(self.device, std::mem::take(&mut self.mode)));
    }
}

fn admit(request: &Request<Incoming>, plane: &Plane) -> Option<(Redirection, u32)> {
    let query = request.uri().query().filter(|_| request.uri().path() == PATH)?;
    let find = |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
    let (host, mode) = (find("host")?, find("mode")?.to_owned());
    let token = request.headers().get(SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let device = connected(host, &plane.state).filter(|_| device_of(token).as_deref() == Some(host))?;
    let port = find("port")?.parse().ok()?;
    let free = plane.state.redirections.lock().insert((device, mode.clone()));
    free.then(|| (Redirection { state: Arc::clone(&plane.state), device, mode }, port))
}

async fn serve(upgrade: OnUpgrade, redirection: Redirection, port: u32) {
    let Ok(upgraded) = upgrade.await else { return };
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let device = redirection.state.device(redirection.device);
    let channel = match &device {
        Some(device) => channels::open(device, port).await,
        None => None,
    };
    if let Some(mut channel) = channel {
        pass(&mut socket, &mut channel).await;
    }
    // Whoever is gone hears no farewell.
    let _ = socket.close(None).await;
    while let Some(Ok(_)) = socket.next().await {}
}

/// Bytes both ways: what the device says comes as text, each byte a character, as MPS sends strings.
async fn pass<S>(socket: &mut WebSocketStream<S>, channel: &mut Channel)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        tokio::select! {
            said = socket.next() => match said {
                Some(Ok(Message::Binary(bytes))) => {
                    if !channel.send(bytes).await {
                        return;
                    }
                }
                Some(Ok(Message::Text(text))) => {
                    if !channel.send(Bytes::copy_from_slice(text.as_bytes())).await {
                        return;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            heard = channel.receive() => {
                let Some(bytes) = heard else { return };
                let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
                if socket.send(Message::text(text)).await.is_err() {
                    return;
                }
            }
        }
    }
}
