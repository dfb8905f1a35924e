//! The gate before one instance: how many connects at once, how many a second, and whether it is
//! best left alone for a moment. Whoever has to wait stands in line, first come, first served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::Busy;

/// A permit to connect to an instance once; returned when the connect is over.
#[derive(Debug)]
pub struct ConnectPermit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// What a gate lets through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Bounds {
    pub in_flight: usize,
    pub per_second: u32,
}

#[derive(Debug)]
pub(super) struct Gate {
    bounds: Bounds,
    in_flight: Arc<Semaphore>,
    /// Whoever has it is first in line.
    line: tokio::sync::Mutex<()>,
    in_line: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// When the next connect would be due if all kept an even distance.
    due: Option<Instant>,
    avoided_until: Option<Instant>,
}

impl Gate {
    pub fn new(bounds: Bounds, avoided_until: Option<Instant>) -> Self {
        Self {
            bounds,
            in_flight: Arc::new(Semaphore::new(bounds.in_flight.max(1))),
            line: tokio::sync::Mutex::new(()),
            in_line: AtomicUsize::new(0),
            state: Mutex::new(State { due: None, avoided_until }),
        }
    }

    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// A permit now. Nobody overtakes those in line.
    pub fn permit(&self) -> Result<ConnectPermit, Busy> {
        if self.avoided_until().is_some() {
            return Err(Busy::Avoided);
        }
        if self.in_line.load(Ordering::Acquire) > 0 {
            return Err(Busy::Rate);
        }
        let place = Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| Busy::InFlight)?;
        self.pace().map_err(|_| Busy::Rate)?;
        Ok(ConnectPermit(place))
    }

    /// A permit as soon as it is one's turn, with what came of `prepare`: what the first in line does
    /// before anything is spent on it. `Err` if the instance is to be avoided by then. Safe to cancel:
    /// the place in line is lost.
    pub async fn turn<T>(&self, prepare: impl Future<Output = T>) -> Result<(ConnectPermit, T), Busy> {
        let _waiting = InLine::enter(&self.in_line);
        let _first = self.line.lock().await;
        if self.avoided_until().is_some() {
            return Err(Busy::Avoided);
        }
        let prepared = prepare.await;
        let place = Arc::clone(&self.in_flight).acquire_owned().await.expect("never closed");
        while let Err(due) = self.pace() {
            sleep_until(due).await;
        }
        if self.avoided_until().is_some() { Err(Busy::Avoided) } else { Ok((ConnectPermit(place), prepared)) }
    }

    /// Takes one of this second's connects, or says when there will be one. An even flow, of which a
    /// fifth of a second's worth may come at once.
    fn pace(&self) -> Result<(), Instant> {
        let per_second = self.bounds.per_second.max(1);
        let interval = Duration::from_secs(1) / per_second;
        let ahead = interval * (per_second / 5).saturating_sub(1);
        let now = Instant::now();
        let mut state = self.state.lock();
        let due = state.due.map_or(now, |due| due.max(now));
        if due > now + ahead {
            return Err(due - ahead);
        }
        state.due = Some(due + interval);
        Ok(())
    }

    /// Until when the instance is avoided, if it is now.
    pub fn avoided_until(&self) -> Option<Instant> {
        self.state.lock().avoided_until.filter(|until| *until > Instant::now())
    }

    pub fn avoid(&self, time: Duration) {
        self.state.lock().avoided_until = Some(Instant::now() + time);
    }

    /// No longer to be avoided; says whether it was.
    pub fn welcome(&self) -> bool {
        self.state.lock().avoided_until.take().is_some_and(|until| until > Instant::now())
    }
}

/// Counts one who waits, for as long as it waits.
struct InLine<'a>(&'a AtomicUsize);

impl<'a> InLine<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
