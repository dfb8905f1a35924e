//! The connections to one address: those that wait for a request, and how many requests are under way.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::body::Upload;
use crate::model::Endpoint;

/// How long a connection may take to find out that its last exchange is over.
const READY: Duration = Duration::from_millis(500);

/// One address that requests go to.
#[derive(Debug)]
pub struct Peer {
    endpoint: Endpoint,
    idle: Mutex<VecDeque<Idle>>,
    in_flight: AtomicUsize,
    failed: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Idle {
    connection: SendRequest<Upload>,
    since: Instant,
}

impl Peer {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, idle: Mutex::default(), in_flight: AtomicUsize::new(0), failed: Mutex::default() }
    }

    /// Where it is.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Requests under way, from before the connect to the last byte of the answer.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether no connection could be made less than `within` ago, and none since.
    pub fn has_failed(&self, within: Duration) -> bool {
        self.failed.lock().is_some_and(|at| at.elapsed() < within)
    }

    pub(super) fn note(&self, connected: bool) {
        *self.failed.lock() = (!connected).then(Instant::now);
    }

    /// The connection used last that is ready for a request; those found dead or too old are dropped.
    pub(super) async fn take(&self, fresh_for: Duration) -> Option<SendRequest<Upload>> {
        loop {
            let Idle { mut connection, since } = self.idle.lock().pop_back()?;
            if since.elapsed() >= fresh_for {
                self.idle.lock().clear(); // the others waited longer
                return None;
            }
            if connection.is_ready() {
                return Some(connection);
            }
            if let Ok(Ok(())) = timeout(READY, poll_fn(|cx| connection.poll_ready(cx))).await {
                return Some(connection);
            }
        }
    }

    /// Keeps `connection` for another request, beside at most `most` others.
    pub(super) fn put(&self, connection: SendRequest<Upload>, most: usize) {
        if connection.is_closed() {
            return;
        }
        let mut idle = self.idle.lock();
        idle.push_back(Idle { connection, since: Instant::now() });
        if idle.len() > most {
            idle.pop_front();
        }
    }

    /// Drops what waited for too long. Whether the address is still of use to anybody.
    pub(super) fn tidy(&self, fresh_for: Duration) -> bool {
        let mut idle = self.idle.lock();
        while idle
            .front()
            .is_some_and(|first| first.since.elapsed() >= fresh_for || first.connection.is_closed())
        {
            idle.pop_front();
        }
        !idle.is_empty() || self.in_flight() > 0
    }

    pub(super) fn clear(&self) {
        self.idle.lock().clear();
    }
}

/// One request under way, until dropped.
#[derive(Debug)]
pub(super) struct InFlight(pub Arc<Peer>);

impl InFlight {
    pub fn at(peer: &Arc<Peer>) -> Self {
        peer.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(peer))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
