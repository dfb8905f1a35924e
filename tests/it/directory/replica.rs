//! A replica's part in the directory, without sockets of devices: keeper, table of sessions, and
//! sessions that are proven by saying so.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use mps_gateway::directory::memory::Memory;
use mps_gateway::directory::{Answer, Claimed, Directory, Freshness, Keeper, OpenError, Settings};
use mps_gateway::lifecycle::Drain;
use mps_gateway::model::DeviceId;
use mps_gateway::net::traffic::Traffic;
use mps_gateway::sessions::{Listed, Session, Sessions};
use mps_gateway::telemetry::Metrics;
use tokio::time::{Instant, sleep};

use super::named;

/// One replica.
pub struct Replica {
    pub keeper: Arc<Keeper>,
    pub sessions: Arc<Sessions>,
    pub metrics: Arc<Metrics>,
    pub drain: Drain,
}

impl Replica {
    pub async fn open(url: &str) -> Self {
        Self::try_open(url, "mpsgw").await.expect("the directory opens")
    }

    pub async fn try_open(url: &str, prefix: &str) -> Result<Self, OpenError> {
        let settings = Settings { url: url.to_owned(), prefix: prefix.to_owned(), ..Settings::default() };
        Self::with(settings).await
    }

    pub async fn with(settings: Settings) -> Result<Self, OpenError> {
        let (sessions, metrics) = (Arc::new(Sessions::default()), Arc::new(Metrics::new()));
        let drain = Drain::new(Duration::from_secs(5));
        let keeper =
            Keeper::open(settings, Arc::clone(&sessions), Arc::clone(&metrics), drain.clone()).await?;
        Ok(Self { keeper, sessions, metrics, drain })
    }

    /// A replica over a store that others share.
    pub async fn over(store: &Arc<Memory>) -> Self {
        let (sessions, metrics) = (Arc::new(Sessions::default()), Arc::new(Metrics::new()));
        let (store, drain): (Arc<dyn Directory>, _) =
            (Arc::clone(store) as _, Drain::new(Duration::from_secs(5)));
        let settings = Settings::default();
        let opened =
            Keeper::with_store(settings, store, Arc::clone(&sessions), Arc::clone(&metrics), drain.clone());
        Self { keeper: opened.await.expect("memory opens"), sessions, metrics, drain }
    }

    /// A session proven now, listed and not yet claimed.
    pub fn prove(&self, device: DeviceId, instance: &str) -> Listed {
        let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let traffic = Arc::new(Traffic::begin());
        let session = Session::proven(device, self.sessions.next_id(), named(instance), source, traffic);
        self.sessions.insert(session).0
    }

    /// A session proven and claimed, whatever became of the claim.
    pub async fn claim(&self, device: DeviceId, instance: &str) -> (Listed, Claimed) {
        let listed = self.prove(device, instance);
        let claimed = self.keeper.claim(&listed.session).await;
        (listed, claimed)
    }

    /// A session whose claim stands.
    pub async fn connect(&self, device: DeviceId, instance: &str) -> Listed {
        let (listed, claimed) = self.claim(device, instance).await;
        assert!(matches!(claimed, Claimed::Granted(_)), "{claimed:?}");
        listed
    }

    /// Ends a session as the device plane does.
    pub fn end(&self, listed: Listed) {
        self.keeper.release(&listed.session);
    }

    /// Who the directory itself says has `device`.
    pub async fn owner(&self, device: DeviceId) -> Option<String> {
        match self.keeper.owner(device, Freshness::Fresh).await {
            Answer::Owned { claim, .. } => Some(claim.instance.to_string()),
            _ => None,
        }
    }
}

/// Waits until `met`, and says how long that took. Panics past `limit`.
pub async fn until(what: &str, limit: Duration, mut met: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    loop {
        if met().await {
            return began.elapsed();
        }
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
