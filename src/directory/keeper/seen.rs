//! Answers seen lately, and look-ups under way: one for each device, however many ask.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::directory::{DirectoryError, Settings};
use crate::model::{Claim, DeviceId};

/// What a look-up in the store brought.
pub(super) type Found = Result<Option<Arc<Claim>>, DirectoryError>;

type Flights = Mutex<HashMap<DeviceId, watch::Receiver<Option<Found>>>>;

#[derive(Clone)]
struct Sight {
    claim: Option<Arc<Claim>>,
    at: Instant,
}

/// The cache, and the look-ups under way.
pub(super) struct Seen {
    cache: Cache<DeviceId, Sight>,
    ttl: Duration,
    negative_ttl: Duration,
    stale: Duration,
    flights: Flights,
}

/// Ends a flight also when whoever leads it is cancelled: the others see it closed and ask anew.
struct Flight<'a> {
    flights: &'a Flights,
    device: DeviceId,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.device);
    }
}

impl Seen {
    pub fn new(settings: &Settings) -> Self {
        Self {
            cache: Cache::new(settings.cache_entries.max(1)),
            ttl: settings.cache_ttl,
            negative_ttl: settings.cache_negative_ttl,
            stale: settings.cache_stale,
            flights: Mutex::default(),
        }
    }

    /// An answer young enough to be given without asking. `Some(None)`: nobody, a moment ago.
    pub fn fresh(&self, device: DeviceId) -> Option<Option<Arc<Claim>>> {
        let sight = self.cache.get(&device)?;
        let ttl = if sight.claim.is_some() { self.ttl } else { self.negative_ttl };
        (sight.at.elapsed() < ttl).then_some(sight.claim)
    }

    /// The last record seen, for when the store does not answer.
    pub fn stale(&self, device: DeviceId) -> Option<Claim> {
        let sight = self.cache.get(&device).filter(|sight| sight.at.elapsed() < self.stale)?;
        sight.claim.as_deref().cloned()
    }

    /// Takes in what a look-up asked for at `asked` brought.
    pub fn saw(&self, device: DeviceId, claim: Option<Arc<Claim>>, asked: Instant) {
        self.cache.insert(device, Sight { claim, at: asked });
    }

    /// Drops what is known of `device`.
    pub fn forget(&self, device: DeviceId) {
        self.cache.remove(&device);
    }

    /// Looks up by `ask` unless somebody is doing just that, then shares the answer (and `ask` is
    /// never polled). Safe to cancel.
    pub async fn share(&self, device: DeviceId, ask: impl Future<Output = Found>) -> Found {
        loop {
            let led = match self.flights.lock().entry(device) {
                Entry::Occupied(flight) => Err(flight.get().clone()),
                Entry::Vacant(place) => {
                    let (tell, hear) = watch::channel(None);
                    place.insert(hear);
                    Ok(tell)
                }
            };
            match led {
                Ok(tell) => {
                    let flight = Flight { flights: &self.flights, device };
                    let found = ask.await;
                    let _ = tell.send(Some(found.clone())); // nobody else may have asked
                    drop(flight);
                    return found;
                }
                Err(mut hear) => {
                    if let Ok(told) = hear.wait_for(Option::is_some).await
                        && let Some(found) = told.clone()
                    {
                        return found;
                    }
                }
            }
        }
    }
}
