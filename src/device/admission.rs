//! Admission: how many connections may be here at once without having proven themselves.
//!
//! Whoever comes takes a place and keeps it until proof. One that is held gives it back, since holding
//! has a bound of its own, and takes one again before it may connect. When all places are taken, the connection that has gone longest past its patience makes
//! room: one that has not even said a hello has a second, one at the login many. So a thousand silent
//! connections delay a device a little and cannot keep it out; a crowd of honest devices in a storm is
//! not shaken. If nobody is past its patience, the newcomer waits, and the kernel's backlog with it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long a connection may take at each stage before it has to make room for another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Patience {
    /// No hello yet: it comes at once, a round trip after the connection.
    Silent,
    /// Hello said, no preamble yet: old firmware computes for seconds.
    HalfOpen,
    /// Preamble said: an instance is sought, and then looks into its database.
    Login,
}

impl Patience {
    const fn time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Silent => 1,
            Self::HalfOpen => 4,
            Self::Login => 20,
        })
    }
}

/// The places.
pub struct Admission {
    places: Mutex<Places>,
    freed: Notify,
}

struct Places {
    max: usize,
    last_id: u64,
    taken: HashMap<u64, (Instant, CancellationToken)>,
    /// Who is past its patience first: when, and who.
    order: BTreeSet<(Instant, u64)>,
}

/// One place. Dropping it frees it.
pub struct Place {
    id: u64,
    shown_out: CancellationToken,
    admission: Arc<Admission>,
}

impl Admission {
    /// At most `max` places.
    pub fn new(max: usize) -> Arc<Self> {
        let places = Places { max: max.max(1), last_id: 0, taken: HashMap::new(), order: BTreeSet::new() };
        Arc::new(Self { places: Mutex::new(places), freed: Notify::new() })
    }

    /// At most `max` places from now on (a reload). Who is there stays.
    pub fn resize(&self, max: usize) {
        self.places.lock().max = max.max(1);
        self.freed.notify_one();
    }

    /// Places taken now.
    #[cfg(test)]
    fn taken(&self) -> usize {
        self.places.lock().taken.len()
    }

    /// A place for who just came, as soon as there is one. Safe to cancel.
    pub async fn enter(self: &Arc<Self>) -> Place {
        self.enter_as(Patience::Silent, CancellationToken::new()).await
    }

    /// A place for who came so far before and gave its place back, as soon as there is one.
    /// `shown_out` is cancelled if it has to make room. Safe to cancel.
    pub async fn enter_as(self: &Arc<Self>, patience: Patience, shown_out: CancellationToken) -> Place {
        loop {
            let freed = self.freed.notified();
            let next = match self.try_enter(patience, &shown_out) {
                Ok(place) => return place,
                Err(next) => next,
            };
            tokio::select! {
                () = freed => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// A place, or when to look again.
    fn try_enter(
        self: &Arc<Self>,
        patience: Patience,
        shown_out: &CancellationToken,
    ) -> Result<Place, Instant> {
        let now = Instant::now();
        let mut places = self.places.lock();
        if places.taken.len() >= places.max {
            let (until, id) = *places.order.first().expect("as many as there are places, at least one");
            if until > now {
                return Err(until);
            }
            if let Some(other) = places.remove(id) {
                other.cancel();
            }
        }
        places.last_id += 1;
        let (id, shown_out) = (places.last_id, shown_out.clone());
        places.insert(id, now + patience.time(), shown_out.clone());
        let room_left = places.taken.len() < places.max;
        drop(places);
        if room_left {
            self.freed.notify_one(); // of several who wait, one was woken
        }
        Ok(Place { id, shown_out, admission: Arc::clone(self) })
    }
}

impl Places {
    fn insert(&mut self, id: u64, patience: Instant, shown_out: CancellationToken) {
        self.order.insert((patience, id));
        self.taken.insert(id, (patience, shown_out));
    }

    fn remove(&mut self, id: u64) -> Option<CancellationToken> {
        let (patience, shown_out) = self.taken.remove(&id)?;
        self.order.remove(&(patience, id));
        Some(shown_out)
    }
}

impl Place {
    /// It came further: there is more patience from now on.
    pub fn came_to(&self, patience: Patience) {
        let mut places = self.admission.places.lock();
        if let Some(shown_out) = places.remove(self.id) {
            places.insert(self.id, Instant::now() + patience.time(), shown_out);
        }
    }

    /// Cancelled when this connection has to make room for another; never once the place is given back.
    pub fn shown_out(&self) -> CancellationToken {
        self.shown_out.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.admission.places.lock().remove(self.id));
        self.admission.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn the_one_longest_past_its_patience_makes_room() {
        let admission = Admission::new(2);
        let first = admission.enter().await;
        tokio::time::advance(SOON).await;
        let second = admission.enter().await;
        let began = Instant::now();
        let third = admission.enter().await;
        assert_eq!(began.elapsed(), Patience::Silent.time() - SOON, "the first had until then");
        assert!(first.shown_out().is_cancelled());
        assert!(!second.shown_out().is_cancelled() && !third.shown_out().is_cancelled());
        assert_eq!(admission.taken(), 2);
        drop(first);
        assert_eq!(admission.taken(), 2, "its place was another's already");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_came_further_may_take_longer() {
        let admission = Admission::new(1);
        let device = admission.enter().await;
        device.came_to(Patience::Login);
        assert!(tokio::time::timeout(Patience::Login.time() - SOON, admission.enter()).await.is_err());
        assert!(!device.shown_out().is_cancelled());
        admission.enter().await;
        assert!(device.shown_out().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_its_place_back_comes_in_again_with_the_patience_it_had_earned() {
        let admission = Admission::new(1);
        let place = admission.enter().await;
        let shown_out = place.shown_out();
        drop(place);
        let _again = admission.enter_as(Patience::Login, shown_out.clone()).await;
        let began = Instant::now();
        let _newcomer = admission.enter().await;
        assert_eq!(began.elapsed(), Patience::Login.time());
        assert!(shown_out.is_cancelled(), "told by what it was told of the first place");
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_given_back_is_free_at_once_and_nobody_is_shown_out() {
        let admission = Admission::new(1);
        let place = admission.enter().await;
        let shown_out = place.shown_out();
        assert!(admission.enter().now_or_never().is_none());
        drop(place);
        assert!(admission.enter().now_or_never().is_some());
        assert!(!shown_out.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn more_places_by_a_reload_let_those_who_wait_in() {
        let admission = Admission::new(1);
        let _place = admission.enter().await;
        let (one, two) = (admission.enter(), admission.enter());
        let began = Instant::now();
        let (_one, _two, ()) = tokio::join!(one, two, async { admission.resize(3) });
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(admission.taken(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_silent_connections_delay_a_device_by_the_patience_at_most() {
        let admission = Admission::new(1000);
        let mut silent = Vec::new();
        for _ in 0..1000 {
            silent.push(admission.enter().await);
        }
        let began = Instant::now();
        let mut devices = Vec::new();
        for _ in 0..500 {
            devices.push(admission.enter().await);
            devices.last().expect("just pushed").came_to(Patience::Login);
        }
        assert!(began.elapsed() <= Patience::Silent.time(), "{:?}", began.elapsed());
        assert_eq!(silent.iter().filter(|place| place.shown_out().is_cancelled()).count(), 500);
        assert!(devices.iter().all(|place| !place.shown_out().is_cancelled()));
    }
}
