//! The api plane: REST and WebSockets, each request to the instance that can answer it.
//!
//! [`Plane::run`] accepts; `forward` tells the whole trip of one request: [`target`] reads which device
//! it names, `course` decides where it goes and where next, `upgrade` is what a WebSocket becomes, `trip`
//! is what is known of it and the line it ends with.

mod counts;
mod course;
mod ending;
mod forward;
mod probes;
mod settings;
pub mod target;
mod trip;
mod upgrade;

pub use ending::{Blame, Reason};
pub use settings::Settings;
pub use trip::Answer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};

use crate::directory::Keeper;
use crate::http::client::Client;
use crate::http::forwarded::{self, Caller, REQUEST_ID};
use crate::http::server;
use crate::instances::Instances;
use crate::lifecycle::{Drain, Phases};
use crate::net::listener::{Accepted, Listener};
use crate::route::Router;
use crate::telemetry::Metrics;
use counts::{Counted, Counts};
use course::Map;
use trip::Trip;

/// How often idle connections to instances are looked at.
const TIDY: Duration = Duration::from_millis(500);

/// Exactly what the api plane uses.
pub struct Parts {
    /// Who owns which device.
    pub keeper: Arc<Keeper>,
    /// Who is there.
    pub instances: Arc<Instances>,
    /// Who should have a device.
    pub router: Arc<Router>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where the gateway is in its life.
    pub phases: Phases,
    /// Tasks and leaving.
    pub drain: Drain,
}

/// The plane, bound and not yet accepting.
pub struct Plane {
    parts: Parts,
    settings: ArcSwap<Settings>,
    map: Map,
    counts: Counts,
    addresses: Vec<SocketAddr>,
    /// Taken by [`Plane::run`], so that they are closed when it is over.
    listeners: Mutex<Vec<Listener>>,
}

impl Plane {
    /// Binds every address of `settings.listen`; on failure says which. Must be called within a Tokio
    /// runtime.
    pub fn bind(settings: Settings, parts: Parts) -> Result<Self, (SocketAddr, io::Error)> {
        let room = Arc::new(Semaphore::new(settings.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        let bind = |address: &SocketAddr| {
            Listener::bind(*address, Arc::clone(&room)).map_err(|error| (*address, error))
        };
        let listeners = settings.listen.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        let map = Map {
            keeper: Arc::clone(&parts.keeper),
            instances: Arc::clone(&parts.instances),
            router: Arc::clone(&parts.router),
            client: Arc::new(Client::new(settings.client(), parts.drain.clone())),
            http_port: settings.http_port,
        };
        Ok(Self {
            addresses: listeners.iter().map(Listener::local_addr).collect(),
            listeners: Mutex::new(listeners),
            counts: Counts::new(&parts.metrics),
            settings: ArcSwap::from_pointee(settings),
            map,
            parts,
        })
    }

    /// The addresses bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// New settings for connections and requests from now on (a reload). The addresses,
    /// `max_connections`, how instances are spoken to and `http_port` take a restart.
    pub fn reload(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Accepts until the drain begins; then the addresses are closed, and connections end when their
    /// request does, WebSockets by turns; the drain counts them. A second call returns at once.
    pub async fn run(self: Arc<Self>) {
        let listeners = std::mem::take(&mut *self.listeners.lock());
        let accepting = join_all(listeners.iter().map(|listener| self.accept(listener)));
        tokio::select! {
            biased;
            () = self.parts.drain.begun() => {}
            _ = accepting => {}
            () = self.tidy() => {}
        }
        self.map.client.leave();
    }

    async fn accept(self: &Arc<Self>, listener: &Listener) {
        loop {
            let accepted = listener.accept().await;
            self.parts.drain.spawn(connection(Arc::clone(self), accepted));
        }
    }

    async fn tidy(&self) {
        let mut ticks = interval(TIDY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.map.client.tidy();
        }
    }

    /// What every answer says besides: its number, and on the way out that the connection ends.
    fn finish(&self, headers: &mut HeaderMap, id: &HeaderValue) {
        headers.insert(REQUEST_ID, id.clone());
        if !self.parts.phases.borrow().ready() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// A connection's place among those allowed at once; given back when the last who holds it is done.
struct Room {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

async fn connection(plane: Arc<Plane>, Accepted { tcp, peer, room }: Accepted) {
    let settings = plane.settings.load_full();
    let drain = plane.parts.drain.clone();
    let room = Arc::new(Room { _permit: room, _counted: Counted::by(&plane.parts.metrics.api_connections) });
    let caller = Caller::new(peer, settings.trusts(peer.ip()), false);
    let calls = Calls { plane, caller, room };
    server::serve(tcp, settings.connection(), Arc::new(calls), &drain).await;
}

/// The requests of one connection.
struct Calls {
    plane: Arc<Plane>,
    caller: Caller,
    room: Arc<Room>,
}

impl server::Service for Calls {
    type Body = Answer;

    async fn call(&self, mut request: Request<Incoming>) -> Response<Answer> {
        let id = forwarded::number(request.headers_mut());
        let settings = self.plane.settings.load();
        let source = self.caller.behind(request.headers(), |address| settings.trusts(address));
        drop(settings);
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let mut trip = Some(Box::new(Trip::begin(&self.plane, id.clone(), method, uri, source)));
        let (reason, answer) = if request.uri().path().starts_with(probes::OURS) {
            match probes::page(&self.plane, request.method(), request.uri().path()) {
                Some(page) => (Reason::Own, page),
                None => (Reason::NoRoute, Reason::NoRoute.refusal().answer(&id)),
            }
        } else {
            match forward::forward(self, &mut trip, request).await {
                Ok(response) => return response,
                Err(reason) => (reason, reason.refusal().answer(&id)),
            }
        };
        if let Some(trip) = &mut trip {
            trip.reason = Some(reason);
            trip.answered(answer.status().as_u16());
        }
        let mut answer = answer.map(Answer::ours);
        self.plane.finish(answer.headers_mut(), &id);
        answer
    }

    fn refuse(&self, status: StatusCode) -> Response<Bytes> {
        let reason = match status {
            StatusCode::REQUEST_TIMEOUT => Reason::Slow,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => Reason::HeadTooLong,
            _ => Reason::Malformed,
        };
        let id = forwarded::new_number();
        let unknown = (Method::default(), Uri::default());
        let mut trip = Trip::begin(&self.plane, id.clone(), unknown.0, unknown.1, self.caller.peer.ip());
        trip.reason = Some(reason);
        let answer = reason.refusal().answer(&id);
        trip.answered(answer.status().as_u16());
        answer
    }
}
