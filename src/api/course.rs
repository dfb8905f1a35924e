//! Where a request goes, and where next when that did not do. Decides; sends nothing.

use std::sync::Arc;
use std::time::Duration;

use super::ending::Reason;
use super::target::By;
use crate::directory::{Answer, Freshness, Keeper};
use crate::http::client::Client;
use crate::instances::{Instance, Instances, State};
use crate::model::{DeviceId, Endpoint, InstanceName, Pool};
use crate::route::Router;
use crate::telemetry::label_set;

/// Addresses one request is tried at, at most.
const STOPS: usize = 4;
/// An address that refused a connect is asked last for so long, where there is a choice.
const SHUNNED: Duration = Duration::from_secs(2);
/// Instances asked for a device while the directory is away, by rendezvous order.
const GUESSES: usize = 2;

label_set! {
    /// Why a request goes where it goes. Closed set: a metric label.
    pub enum Why {
        /// Everyone can answer it.
        Anyone = "anyone",
        /// The directory is away: by rendezvous order.
        Guess = "guess",
        /// The directory is well and knows no owner: MPS says itself that it is not connected.
        Nobody = "nobody",
        /// The instance has the device.
        Owner = "owner",
        /// The directory is away: who had it when last seen.
        Stale = "stale",
        /// The owner is no known instance: dialled by its name.
        Stranger = "stranger",
    }
}

/// One address to try.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stop {
    /// Who is there.
    pub name: InstanceName,
    /// Where.
    pub http: Endpoint,
    /// Why there.
    pub why: Why,
}

/// What decisions are made from.
#[derive(Clone)]
pub struct Map {
    /// Who owns which device.
    pub keeper: Arc<Keeper>,
    /// Who is there.
    pub instances: Arc<Instances>,
    /// Who should have a device.
    pub router: Arc<Router>,
    /// Who is busy, or could not be reached a moment ago.
    pub client: Arc<Client>,
    /// Where an instance takes requests when only its name is known.
    pub http_port: u16,
}

/// What to do with an answer that says the device is not connected there.
#[derive(Debug, Eq, PartialEq)]
pub enum Onward {
    /// It may be true: pass it on.
    Pass,
    /// Nobody knows: refuse.
    Refuse(Reason),
    /// Somebody else may have it.
    Stop(Stop),
}

/// The course of one request.
pub struct Course<'a> {
    map: &'a Map,
    pool: &'a Pool,
    by: By,
    tried: Vec<Endpoint>,
    /// Anyone may answer: there is no owner.
    open: bool,
    /// It was sent on to another owner.
    moved: bool,
    /// While the directory is away: who may have the device, best first.
    guesses: Option<std::vec::IntoIter<Stop>>,
}

impl<'a> Course<'a> {
    /// A course to whoever of `pool` can answer.
    pub fn new(map: &'a Map, pool: &'a Pool, by: By) -> Self {
        Self { map, pool, by, tried: Vec::new(), open: false, moved: false, guesses: None }
    }

    /// Where to go first. `fresh`: past the cache.
    pub async fn first(&mut self, fresh: bool) -> Result<Stop, Reason> {
        let By::Owner(device) = self.by else { return self.anyone(Why::Anyone) };
        let freshness = if fresh { Freshness::Fresh } else { Freshness::Cached };
        let stop = match self.map.keeper.owner(device, freshness).await {
            Answer::Owned { claim, .. } => self.owner(claim.instance),
            Answer::Pending { instance, .. } => self.owner(instance),
            Answer::Nobody => return self.anyone(Why::Nobody),
            Answer::Resyncing { stale } | Answer::Unreachable { stale } => {
                return self.guess(device, stale.map(|claim| claim.instance));
            }
        };
        match stop {
            Some(Ok(stop)) => Ok(self.go(stop)),
            Some(Err(Down)) => self.elsewhere().await,
            None => self.anyone(Why::Nobody),
        }
    }

    /// Where to go after no connection could be made: nothing was sent.
    pub async fn after_no_connection(&mut self) -> Result<Stop, Reason> {
        if self.tried.len() >= STOPS {
            return Err(self.dead_end());
        }
        if self.guesses.is_some() {
            return self.next_guess();
        }
        match self.by {
            By::Anyone => self.anyone(Why::Anyone),
            By::Owner(_) if self.open => self.anyone(Why::Nobody),
            By::Owner(_) => self.elsewhere().await,
        }
    }

    /// What to do after the instance said that the device is not connected there. (Of anybody else's
    /// business it says so too, which is then the answer.)
    pub async fn after_not_connected(&mut self) -> Onward {
        let By::Owner(device) = self.by else { return Onward::Pass };
        self.map.keeper.forget(device);
        let next = if self.tried.len() >= STOPS {
            None
        } else if self.guesses.is_some() {
            self.next_guess().ok()
        } else if self.moved {
            return Onward::Pass;
        } else {
            self.moved = true;
            match self.reread(device).await {
                Reread::Other(stop) => Some(stop),
                Reread::NoOther => return Onward::Pass,
                Reread::Away(stop) => stop,
            }
        };
        next.map_or(Onward::Refuse(Reason::DirectoryAway), Onward::Stop)
    }

    /// Whether nobody knows who has the device.
    pub const fn is_guessing(&self) -> bool {
        self.guesses.is_some()
    }

    /// Past the cache: another owner, or none.
    async fn elsewhere(&mut self) -> Result<Stop, Reason> {
        let By::Owner(device) = self.by else { return Err(Reason::NoInstance) };
        self.map.keeper.forget(device);
        match self.reread(device).await {
            Reread::Other(stop) | Reread::Away(Some(stop)) => Ok(stop),
            Reread::NoOther => Err(Reason::OwnerDown),
            Reread::Away(None) => Err(Reason::DirectoryAway),
        }
    }

    async fn reread(&mut self, device: DeviceId) -> Reread {
        let owner = match self.map.keeper.owner(device, Freshness::Fresh).await {
            Answer::Owned { claim, .. } => claim.instance,
            Answer::Pending { instance, .. } => instance,
            Answer::Nobody => return Reread::NoOther,
            Answer::Resyncing { stale } | Answer::Unreachable { stale } => {
                return Reread::Away(self.guess(device, stale.map(|claim| claim.instance)).ok());
            }
        };
        match self.owner(owner) {
            Some(Ok(stop)) if !self.tried.contains(&stop.http) => Reread::Other(self.go(stop)),
            _ => Reread::NoOther,
        }
    }

    /// The stop of an owner's name; `None`: it is no name of anybody.
    fn owner(&self, name: InstanceName) -> Option<Result<Stop, Down>> {
        let snapshot = self.map.instances.snapshot();
        match snapshot.get(&name).filter(|instance| instance.pool == *self.pool) {
            Some(instance) if instance.state == State::Down => Some(Err(Down)),
            Some(instance) => Some(Ok(stop(instance, Why::Owner))),
            None if is_nobody(&name) => None,
            None => {
                let http = Endpoint::new(name.as_str(), self.map.http_port);
                Some(Ok(Stop { name, http, why: Why::Stranger }))
            }
        }
    }

    /// The directory is away: who had the device, then who should have it.
    fn guess(&mut self, device: DeviceId, stale: Option<InstanceName>) -> Result<Stop, Reason> {
        let stale = stale.and_then(|name| self.owner(name)?.ok());
        let mut guesses: Vec<_> = stale.map(|stop| Stop { why: Why::Stale, ..stop }).into_iter().collect();
        let preferred = self.map.router.preferred(device).into_iter().take(GUESSES);
        guesses.extend(preferred.map(|instance| stop(&instance, Why::Guess)));
        self.guesses = Some(guesses.into_iter());
        self.next_guess()
    }

    fn next_guess(&mut self) -> Result<Stop, Reason> {
        let tried = &self.tried;
        let next = self.guesses.as_mut().and_then(|guesses| guesses.find(|stop| !tried.contains(&stop.http)));
        next.map(|stop| self.go(stop)).ok_or(Reason::DirectoryAway)
    }

    /// The less busy of two of those who are up, chosen by chance.
    fn anyone(&mut self, why: Why) -> Result<Stop, Reason> {
        self.open = true;
        let snapshot = self.map.instances.snapshot();
        let open = |state: State| {
            let tried = &self.tried;
            let of_pool = snapshot.instances.iter().filter(|i| i.pool == *self.pool);
            of_pool.filter(move |i| i.state == state && !tried.contains(&i.http))
        };
        let mut state = State::Up;
        let mut count = open(state).count();
        if count == 0 {
            state = State::Draining; // it is on its way out, and better than nobody
            count = open(state).count();
        }
        if count == 0 {
            return Err(Reason::NoInstance);
        }
        let one = rand::random_range(0..count);
        let other = (one + rand::random_range(1..count.max(2))) % count;
        let [one, other] = [one, other].map(|at| open(state).nth(at).expect("there are as many"));
        let mut best = if self.busier(one) <= self.busier(other) { one } else { other };
        if self.busier(best).0 {
            best = open(state).find(|i| !self.busier(i).0).unwrap_or(best);
        }
        let stop = stop(best, why);
        Ok(self.go(stop))
    }

    /// Whether it could not be reached a moment ago, and what it has to do.
    fn busier(&self, instance: &Instance) -> (bool, usize) {
        let peer = self.map.client.peer(&instance.http);
        (peer.has_failed(SHUNNED), peer.in_flight())
    }

    fn go(&mut self, stop: Stop) -> Stop {
        self.tried.push(stop.http.clone());
        stop
    }

    fn dead_end(&self) -> Reason {
        match (self.by, &self.guesses) {
            (By::Anyone, _) => Reason::NoInstance,
            (By::Owner(_), None) if self.open => Reason::NoInstance,
            (By::Owner(_), None) => Reason::OwnerDown,
            (By::Owner(_), Some(_)) => Reason::DirectoryAway,
        }
    }
}

/// The owner is known to be down.
struct Down;

/// What a look past the cache showed.
enum Reread {
    /// The directory is away; who may have the device all the same.
    Away(Option<Stop>),
    /// The same owner, or none.
    NoOther,
    /// Another owner.
    Other(Stop),
}

fn stop(instance: &Instance, why: Why) -> Stop {
    Stop { name: instance.name.clone(), http: instance.http.clone(), why }
}

/// Names that MPS writes when it was given none.
fn is_nobody(name: &InstanceName) -> bool {
    matches!(name.as_str(), "NaN" | "localhost")
}
