//! When connects are due, and how many are under way.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Hands out turns to connect. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pace {
    /// Time between two connects, and when the next is due.
    schedule: Option<(Duration, Arc<Mutex<Instant>>)>,
    under_way: Arc<Semaphore>,
}

/// A turn to connect: given back when it is dropped.
pub(super) struct Turn {
    /// When the connect was due: what it is measured from.
    pub due: Instant,
    _place: OwnedSemaphorePermit,
}

impl Pace {
    /// `rate` connects a second and `in_flight` under way, at most.
    pub fn new(rate: Option<f64>, in_flight: usize) -> Self {
        let between = rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        Self {
            schedule: between.map(|between| (between, Arc::new(Mutex::new(Instant::now())))),
            under_way: Arc::new(Semaphore::new(in_flight.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// The next turn, for a device that is ready since `ready`, in the order of those who ask. Whoever
    /// waits for a place although it is due waits at the server's expense: that is part of what is
    /// measured. So connects that a slow server held up are made up for, as fast as places allow.
    pub async fn turn(&self, ready: Instant) -> Turn {
        let due = self.due(ready);
        if let Some(due) = due {
            sleep_until(due).await;
        }
        let place = Arc::clone(&self.under_way).acquire_owned().await;
        let place = place.expect("nobody closes the semaphore of a run");
        Turn { due: due.unwrap_or_else(Instant::now), _place: place }
    }

    fn due(&self, ready: Instant) -> Option<Instant> {
        let (between, next) = self.schedule.as_ref()?;
        let mut next = next.lock();
        let due = ready.max(*next);
        *next = due + *between;
        Some(due)
    }
}
