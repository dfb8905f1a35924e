//! The itinerary of one request: every arrow of the architecture is a line here.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, UPGRADE};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};

use super::counts::Cause;
use super::course::{Course, Onward, Stop};
use super::ending::Reason;
use super::target::{self, By, Target};
use super::trip::{Answer, Content, Trip};
use super::{Calls, Settings, upgrade};
use crate::http::body::{Cut, Progress, Upload};
use crate::http::client::{Download, SendError};
use crate::http::head::{self, Hop};
use crate::http::server::Turns;
use crate::model::{Endpoint, Pool};

/// What MPS says, in JSON with 404, when it does not hold the device: its message, a part of which never
/// changed.
const NOT_CONNECTED: &[u8] = b"Device not found/connected";
/// No such answer is longer, in bytes.
const LONGEST_SUCH: usize = 1024;

/// Sends a request to where it belongs and answers with what came back.
pub(super) async fn forward(
    calls: &Calls,
    trip: &mut Option<Box<Trip>>,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, Reason> {
    let settings = calls.plane.settings.load();
    head::check(&request).map_err(|_| Reason::Malformed)?;
    let longest = request.body().size_hint().lower();
    if longest > settings.max_body {
        return Err(Reason::BodyTooLong);
    }
    let on_caller = hyper::upgrade::on(&mut request);
    let (mut parts, incoming) = request.into_parts();
    let turns = parts.extensions.remove::<Arc<Turns>>();
    let (pool, by) = aim(&settings, &mut parts, trip)?; // target: which pool, which device
    let hop = head::strip(&mut parts.headers);
    calls.caller.tell(&mut parts.headers);
    let (upload, progress) = Upload::of(incoming, settings.body(), turns);
    drop(settings); // it is not to be held while an instance thinks
    // HTTP/1.0 knows no upgrade: nobody would hear the 101.
    let switches = hop.upgrade && parts.method == Method::GET && parts.version == Version::HTTP_11;
    let upgrade = switches.then_some(on_caller);
    if !switches {
        parts.headers.remove(UPGRADE);
    }
    let leg = Leg { calls, hop: Hop { upgrade: upgrade.is_some(), ..hop }, parts, progress, by };
    leg.travel(trip, &pool, upload, upgrade).await
}

/// Which pool answers, and who of it; the target becomes what it is to be told.
fn aim(settings: &Settings, parts: &mut Parts, trip: &mut Option<Box<Trip>>) -> Result<(Pool, By), Reason> {
    head::to_origin_form(&mut parts.uri, &mut parts.headers);
    let asked = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let (route, stripped) = settings.routes.find(asked).ok_or(Reason::NoRoute)?;
    let mut told =
        stripped.map(|rest| if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") });
    let mut by = By::Anyone;
    if route.pool == Pool::mps() {
        let target = told.as_deref().unwrap_or(asked);
        let Target { device, by: who, respell } = target::read(target).map_err(|_| Reason::Ambiguous)?;
        by = who;
        if let Some(trip) = trip {
            trip.device = device;
        }
        if let Some(guid) = respell.filter(|_| settings.canonical_guid) {
            told = Some(target::respelled(target, &guid));
        }
    }
    let pool = route.pool.clone();
    if let Some(told) = told {
        parts.uri = Uri::try_from(told).map_err(|_| Reason::Malformed)?;
    }
    Ok((pool, by))
}

/// A request on its way.
struct Leg<'a> {
    calls: &'a Calls,
    parts: Parts,
    hop: Hop,
    progress: Progress,
    by: By,
}

impl Leg<'_> {
    async fn travel(
        self,
        trip: &mut Option<Box<Trip>>,
        pool: &Pool,
        upload: Upload,
        mut upgrade: Option<OnUpgrade>,
    ) -> Result<Response<Answer>, Reason> {
        let plane = &self.calls.plane;
        let mut course = Course::new(&plane.map, pool, self.by);
        let mut stop = course.first(upgrade.is_some()).await?;
        let (mut upload, mut broke) = (upload, false);
        loop {
            let going = trip.as_mut().expect("it ends with the answer");
            going.go(&stop);
            let peer = plane.map.client.peer(&stop.http);
            let sent = plane.map.client.send(&peer, self.request(upload, &stop.http), &self.progress).await;
            going.received = self.progress.seen();
            match sent {
                Ok(response) => match self.judge(response, &mut course, upgrade.is_some()).await? {
                    Judged::Passed(response) => {
                        let going = trip.take().expect("it ends with the answer");
                        return Ok(self.answer(response, going, upgrade.take()));
                    }
                    Judged::Again(next, again) => {
                        plane.counts.resends.of(Cause::NotConnected).increment(1);
                        (stop, upload) = (next, again);
                    }
                },
                Err(SendError::Connect { request, .. }) => {
                    stop = course.after_no_connection().await?;
                    plane.counts.resends.of(Cause::Connect).increment(1);
                    upload = request.into_body();
                }
                Err(SendError::Broken(_)) => {
                    if let Some(cut) = self.progress.cut() {
                        return Err(cut.into());
                    }
                    let again =
                        self.progress.again().filter(|_| upgrade.is_none() && !broke && self.is_harmless());
                    upload = again.ok_or(Reason::InstanceBroke)?;
                    broke = true;
                    plane.counts.resends.of(Cause::Broke).increment(1);
                }
                Err(SendError::Slow) => return Err(Reason::InstanceSlow),
            }
        }
    }

    /// Whether it may be sent twice without harm, whatever came of the first.
    fn is_harmless(&self) -> bool {
        matches!(self.parts.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// The request as the instance is told it.
    fn request(&self, upload: Upload, to: &Endpoint) -> Request<Upload> {
        let mut request = Request::new(upload);
        request.method_mut().clone_from(&self.parts.method);
        request.uri_mut().clone_from(&self.parts.uri);
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        headers.clone_from(&self.parts.headers);
        head::dress(headers, self.hop);
        if !headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(&to.to_string())
        {
            headers.insert(HOST, host);
        }
        request
    }

    /// Whether what an instance answered is the answer.
    async fn judge(
        &self,
        response: Response<Download>,
        course: &mut Course<'_>,
        upgrade: bool,
    ) -> Result<Judged, Reason> {
        let By::Owner(device) = self.by else { return Ok(Judged::Passed(response.map(Content::from))) };
        if upgrade {
            if response.status() == StatusCode::UNAUTHORIZED {
                self.calls.plane.map.keeper.forget(device); // what a wrong instance says, too
            }
            return Ok(Judged::Passed(response.map(Content::from)));
        }
        if !may_be_not_connected(&response) {
            return Ok(Judged::Passed(response.map(Content::from)));
        }
        let (response, said) = hear(response).await?;
        if !said {
            return Ok(Judged::Passed(response));
        }
        match course.after_not_connected().await {
            Onward::Pass => Ok(Judged::Passed(response)),
            Onward::Refuse(reason) => Err(reason),
            Onward::Stop(next) => match self.progress.again() {
                Some(upload) => Ok(Judged::Again(next, upload)),
                None if course.is_guessing() => Err(Reason::DirectoryAway),
                None => Ok(Judged::Passed(response)),
            },
        }
    }

    /// What the caller is told.
    fn answer(
        &self,
        response: Response<Content>,
        mut trip: Box<Trip>,
        upgrade: Option<OnUpgrade>,
    ) -> Response<Answer> {
        let (mut parts, content) = response.into_parts();
        let hop = head::strip(&mut parts.headers);
        if hop.chunked {
            parts.headers.remove(CONTENT_LENGTH); // the chunks tell the length (RFC 9112 6.3)
        }
        parts.version = Version::HTTP_11;
        trip.answered(parts.status.as_u16());
        let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        if !switching {
            self.calls.plane.finish(&mut parts.headers, &trip.id);
            return Response::from_parts(parts, Answer::of(content, trip));
        }
        let (Some(on_caller), true, Content::Coming { rest, .. }) = (upgrade, hop.upgrade, content) else {
            trip.reason = Some(Reason::InstanceBroke); // nobody asked for that
            let refused = Reason::InstanceBroke.refusal().answer(&trip.id);
            trip.status = refused.status().as_u16();
            return refused.map(Answer::ours);
        };
        head::dress(&mut parts.headers, Hop { upgrade: true, ..Hop::default() });
        parts.headers.insert(crate::http::forwarded::REQUEST_ID, trip.id.clone());
        let mut switched = Response::from_parts(parts, ());
        let on_instance = hyper::upgrade::on(&mut switched);
        upgrade::spawn(self.calls, trip, on_caller, on_instance, rest);
        switched.map(|()| Answer::ours(Bytes::new()))
    }
}

/// What an answer came to.
enum Judged {
    /// To be sent once more, there.
    Again(Stop, Upload),
    /// It is the answer.
    Passed(Response<Content>),
}

impl From<Cut> for Reason {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Broken => Self::CallerLeft,
            Cut::Malformed => Self::Malformed,
            Cut::TooLong => Self::BodyTooLong,
            Cut::Slow => Self::Slow,
        }
    }
}

/// Whether an answer is of the kind that says "not connected".
fn may_be_not_connected(response: &Response<Download>) -> bool {
    let headers: &HeaderMap = response.headers();
    let is_json = |value: &HeaderValue| value.as_bytes().starts_with(b"application/json");
    response.status() == StatusCode::NOT_FOUND
        && headers.get(CONTENT_TYPE).is_some_and(is_json)
        && !headers.contains_key(CONTENT_ENCODING)
        && response.body().size_hint().lower() <= LONGEST_SUCH as u64
}

/// Whether an answer says "not connected", and the answer again, as if nobody had looked.
async fn hear(response: Response<Download>) -> Result<(Response<Content>, bool), Reason> {
    let (parts, mut rest) = response.into_parts();
    let mut seen = BytesMut::new();
    while seen.len() <= LONGEST_SUCH {
        match rest.frame().await {
            None => {
                let said = seen.windows(NOT_CONNECTED.len()).any(|window| window == NOT_CONNECTED);
                let whole = Some(seen.freeze()).filter(|seen| !seen.is_empty());
                return Ok((Response::from_parts(parts, Content::Whole(whole)), said));
            }
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    seen.extend_from_slice(data);
                }
            }
            Some(Err(crate::http::client::Cut::Slow)) => return Err(Reason::InstanceSlow),
            Some(Err(crate::http::client::Cut::Broken)) => return Err(Reason::InstanceBroke),
        }
    }
    let content = Content::Coming { seen: Some(seen.freeze()), rest, ended: false };
    Ok((Response::from_parts(parts, content), false))
}
