//! The shared directory: Redis standalone.
//!
//! Four connections, so that none can starve another: beats, look-ups and claims, bulk, messages.
//! Scripts touch one record, or only registry keys.

mod breaker;
mod connector;
mod keys;
mod link;
mod scripts;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, PushInfo, PushKind, RedisError, ServerErrorKind, Value, cmd, from_redis_value};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::store::{
    Beat, Beaten, Claiming, Directory, DirectoryError, Lookup, Notice, Outcome, Page, Registry,
};
use super::{OpenError, Settings};
use crate::lifecycle::Drain;
use crate::model::{Claim, DeviceId, ReplicaId, SessionId, SessionKey};
use connector::Connector;
use keys::Keys;
use link::{Link, Purpose};
use scripts::Scripts;

/// Notices that may wait for one listener.
const NOTICES: usize = 4096;
/// A look-up must be answered within this share of its budget: who waits for it gives up at the
/// budget, and the breaker must have counted the failure by then.
const REPLY_SHARE: f64 = 0.8;
/// A beat must be answered within this, well inside the lease.
const BEAT_REPLY: Duration = Duration::from_secs(1);
/// A pipeline of 500 must be answered within this.
const BULK_REPLY: Duration = Duration::from_secs(5);

/// The directory in Redis.
pub struct Redis {
    keys: Arc<Keys>,
    scripts: Arc<Scripts>,
    beats: Arc<Link>,
    look_ups: Arc<Link>,
    bulk: Arc<Link>,
    messages: Arc<Link>,
    listeners: Arc<Listeners>,
    /// What the data is called: tells a store that was emptied from one without a record.
    data: Mutex<Option<String>>,
}

/// Who hears notices, and what the greeting of a connection must remember.
struct Listeners {
    keys: Arc<Keys>,
    tell: Mutex<HashMap<ReplicaId, Listener>>,
    /// `master_replid` of the store as we last met it: another one means a failover (or a restart).
    met: Mutex<Option<String>>,
}

struct Listener {
    tell: mpsc::Sender<Notice>,
    overflowed: bool,
}

impl Listener {
    fn tell(&mut self, notice: Notice) {
        self.overflowed |= matches!(self.tell.try_send(notice), Err(TrySendError::Full(_)));
    }
}

impl Redis {
    /// The directory at `settings.url`. Tries to connect, for at most the connect time; goes on
    /// trying in the background, until `stop`.
    pub async fn open(
        settings: &Settings,
        drain: &Drain,
        stop: &CancellationToken,
    ) -> Result<Self, OpenError> {
        let (keys, scripts) = (Arc::new(Keys::new(&settings.prefix)), Arc::new(Scripts::new()));
        let connector =
            Connector::new(settings, Arc::clone(&keys), Arc::clone(&scripts), drain.clone(), stop.clone())?;
        let connector = Arc::new(connector);
        let listeners =
            Arc::new(Listeners { keys: Arc::clone(&keys), tell: Mutex::default(), met: Mutex::default() });
        let link = |name, reply, greeting: Greeting| {
            let purpose = Purpose { name, reply, connect: settings.connect_timeout };
            let (hear, greet) = (Arc::clone(&listeners), Arc::clone(&listeners));
            Link::new(
                purpose,
                Arc::clone(&connector),
                Arc::clone(&scripts),
                Box::new(move |push| hear.hear(&push)),
                Box::new(move |connection| {
                    let greet = Arc::clone(&greet);
                    Box::pin(async move { greet.greet(greeting, connection).await })
                }),
            )
        };
        let redis = Self {
            beats: link("beats", BEAT_REPLY, Greeting::Silent),
            look_ups: link("look-ups", settings.budget.mul_f64(REPLY_SHARE), Greeting::Announced),
            bulk: link("bulk", BULK_REPLY, Greeting::Silent),
            messages: link("messages", BEAT_REPLY, Greeting::Subscribed),
            keys,
            scripts,
            listeners,
            data: Mutex::default(),
        };
        let links = [&redis.beats, &redis.look_ups, &redis.bulk];
        futures_util::future::join_all(links.map(|link| link.connect())).await; // failures are kept in the links
        for link in links {
            let (keep, stop) = (Arc::clone(link).keep(), stop.clone());
            drain.spawn(async move { stop.run_until_cancelled(keep).await });
        }
        let (messages, stop) = (Arc::clone(&redis.messages), stop.clone());
        drain.spawn(async move {
            let listen = async {
                messages.wanted().await; // nobody listens before
                messages.keep().await;
            };
            stop.run_until_cancelled(listen).await
        });
        Ok(redis)
    }
}

/// What is done with a new connection.
#[derive(Clone, Copy)]
enum Greeting {
    /// Nothing.
    Silent,
    /// The keeper is told that the store is there, and whether it is another one.
    Announced,
    /// Channels are subscribed to.
    Subscribed,
}

impl Listeners {
    async fn greet(
        &self,
        greeting: Greeting,
        mut connection: MultiplexedConnection,
    ) -> Result<(), DirectoryError> {
        match greeting {
            Greeting::Silent => {}
            Greeting::Announced => {
                let failover = self.meets_another(&mut connection).await;
                self.tell_all(&Notice::Connected { failover });
            }
            Greeting::Subscribed => {
                let channels: Vec<_> =
                    self.tell.lock().keys().map(|replica| self.keys.channel(*replica)).collect();
                if !channels.is_empty() {
                    connection.subscribe(channels).await.map_err(failure)?;
                    self.tell_all(&Notice::Resubscribed);
                }
            }
        }
        Ok(())
    }

    /// Whether this is not the store we met before. An ACL may forbid INFO: then we cannot tell.
    async fn meets_another(&self, connection: &mut MultiplexedConnection) -> bool {
        let info: Result<String, _> = cmd("INFO").arg("replication").query_async(connection).await;
        let Ok(info) = info else { return false };
        let id = info.lines().find_map(|line| line.strip_prefix("master_replid:"));
        let Some(id) = id.map(|id| id.trim().to_owned()) else { return false };
        let met = self.met.lock().replace(id.clone());
        if met.is_none() {
            warn_of_eviction(connection).await;
        }
        met.is_some_and(|met| met != id)
    }

    fn tell_all(&self, notice: &Notice) {
        for listener in self.tell.lock().values_mut() {
            listener.tell(notice.clone());
        }
    }

    /// A published message: `<key of the record> <session>` on the channel of a replica.
    fn hear(&self, push: &PushInfo) {
        if push.kind != PushKind::Message {
            return;
        }
        let [Value::BulkString(channel), Value::BulkString(text)] = push.data.as_slice() else { return };
        let notice = || {
            let replica = self.keys.listener(std::str::from_utf8(channel).ok()?)?;
            let (key, session) = std::str::from_utf8(text).ok()?.split_once(' ')?;
            let session = SessionId(u64::from_str_radix(session, 16).ok()?);
            Some((replica, Notice::Superseded { device: self.keys.device(key)?, session }))
        };
        if let Some((replica, notice)) = notice()
            && let Some(listener) = self.tell.lock().get_mut(&replica)
        {
            listener.tell(notice);
        }
    }
}

/// A Redis that evicts makes devices vanish one by one, which no heartbeat sees.
async fn warn_of_eviction(connection: &mut MultiplexedConnection) {
    let info: Result<String, _> = cmd("INFO").arg("memory").query_async(connection).await;
    if let Some(policy) = info.ok().as_deref().and_then(evicts) {
        warn!(policy, "Redis may evict records when its memory is full: set maxmemory-policy noeviction");
    }
}

/// The policy by which `info` says that records may be evicted; `None` if none may.
fn evicts(info: &str) -> Option<&str> {
    let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"))?.trim();
    (policy != "noeviction").then_some(policy)
}

/// An error of the client library as one of ours.
fn failure(error: RedisError) -> DirectoryError {
    if error.is_timeout() {
        DirectoryError::Timeout
    } else if fatal(&error) {
        DirectoryError::Unreachable(error.to_string())
    } else {
        DirectoryError::Refused(error.to_string())
    }
}

/// Whether the connection is of no more use: broken, or to a server that cannot serve us.
fn fatal(error: &RedisError) -> bool {
    let useless = [
        ServerErrorKind::ReadOnly,
        ServerErrorKind::BusyLoading,
        ServerErrorKind::MasterDown,
        ServerErrorKind::ClusterDown,
    ];
    let io = error.is_io_error() && !error.is_timeout();
    io || error.kind() == ErrorKind::AuthenticationFailed
        || useless.into_iter().any(|kind| error.kind() == kind.into())
}

#[async_trait]
impl Lookup for Redis {
    async fn owner(&self, device: DeviceId) -> Result<Option<Claim>, DirectoryError> {
        let mut get = cmd("GET");
        get.arg(self.keys.record(device));
        let record = match self.look_ups.command(&get).await {
            Err(DirectoryError::Refused(why)) if why.contains("WRONGTYPE") => return Ok(None), // garbage
            record => scripts::claim_of(record?),
        };
        let known = self.data.lock().clone();
        if let (None, Some(known)) = (&record, known) {
            let mut data = cmd("GET");
            data.arg(&self.keys.data);
            if self.look_ups.command(&data).await? != Value::BulkString(known.into_bytes()) {
                return Err(DirectoryError::Lost);
            }
        }
        Ok(record)
    }
}

#[async_trait]
impl Directory for Redis {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn adopt(&self, data: &str) {
        *self.data.lock() = Some(data.to_owned());
    }

    fn reachable(&self) -> bool {
        self.look_ups.since().is_some()
    }

    fn connected_since(&self) -> Option<Instant> {
        self.look_ups.since()
    }

    async fn check_schema(&self) -> Result<(), DirectoryError> {
        let checked = self.look_ups.check_schema().await;
        if let Err(error @ DirectoryError::Schema(_)) = &checked {
            // No connection may be used again before it has shown a schema that we know.
            for link in [&self.beats, &self.look_ups, &self.bulk, &self.messages] {
                link.refuse(error.clone());
            }
        }
        checked
    }

    async fn claim(&self, claiming: &Claiming) -> Result<Outcome, DirectoryError> {
        let answer = self.look_ups.command(&self.scripts.claim(&self.keys, claiming)).await?;
        scripts::outcome(claiming, answer)
    }

    async fn claim_many(&self, claimings: &[Claiming]) -> Result<Vec<Outcome>, DirectoryError> {
        let commands = claimings.iter().map(|claiming| self.scripts.claim(&self.keys, claiming)).collect();
        let answers = self.bulk.commands(commands).await?;
        claimings.iter().zip(answers).map(|(claiming, answer)| scripts::outcome(claiming, answer)).collect()
    }

    async fn release_many(&self, claims: &[(DeviceId, SessionKey)]) -> Result<Vec<bool>, DirectoryError> {
        let release =
            |(device, key): &(DeviceId, SessionKey)| self.scripts.release(&self.keys, *device, *key);
        let answers = self.bulk.commands(claims.iter().map(release).collect()).await?;
        Ok(answers.into_iter().map(|answer| answer == Value::Int(1)).collect())
    }

    async fn owners(&self, devices: &[DeviceId]) -> Result<Vec<Option<Claim>>, DirectoryError> {
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        let mut get = cmd("MGET");
        for device in devices {
            get.arg(self.keys.record(*device));
        }
        let answer = self.bulk.command(&get).await?;
        let values: Vec<Value> = from_redis_value(answer).map_err(unexpected)?;
        Ok(values.into_iter().map(scripts::claim_of).collect())
    }

    async fn scan(&self, cursor: Option<&str>, keys: usize) -> Result<Page, DirectoryError> {
        let cursor: u64 = cursor.unwrap_or("0").parse().map_err(|_| DirectoryError::Cursor)?;
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(self.keys.pattern()).arg("COUNT").arg(keys.max(1));
        let answer = self.bulk.command(&scan).await?;
        let (next, found): (u64, Vec<Vec<u8>>) = from_redis_value(answer).map_err(unexpected)?;
        let device = |key: &Vec<u8>| self.keys.device(std::str::from_utf8(key).ok()?);
        let devices: Vec<_> = found.iter().filter_map(device).collect();
        let claims = self.owners(&devices).await?;
        let records = devices.into_iter().zip(claims).filter_map(|(device, claim)| Some((device, claim?)));
        Ok(Page {
            looked_at: keys.max(found.len()),
            records: records.collect(),
            next: (next != 0).then(|| next.to_string()),
        })
    }

    async fn beat(&self, beat: &Beat) -> Result<Beaten, DirectoryError> {
        scripts::beaten(self.beats.command(&self.scripts.beat(&self.keys, beat)).await?)
    }

    async fn leave(&self, replica: ReplicaId) -> Result<(), DirectoryError> {
        self.beats.command(&self.scripts.leave(&self.keys, replica)).await.map(drop)
    }

    async fn registry(&self) -> Result<Registry, DirectoryError> {
        let answer = self.look_ups.command(&self.scripts.registry(&self.keys)).await?;
        Ok(scripts::beaten(answer)?.registry)
    }

    fn overflowed(&self, replica: ReplicaId) -> bool {
        let mut listeners = self.listeners.tell.lock();
        listeners.get_mut(&replica).is_some_and(|listener| std::mem::take(&mut listener.overflowed))
    }

    fn notices(&self, replica: ReplicaId) -> mpsc::Receiver<Notice> {
        let (tell, listen) = mpsc::channel(NOTICES);
        if self.reachable() {
            let _ = tell.try_send(Notice::Connected { failover: false });
        }
        self.listeners.tell.lock().insert(replica, Listener { tell, overflowed: false });
        self.messages.renew(); // the next connection subscribes to this channel as well
        listen
    }
}

fn unexpected(error: impl std::fmt::Display) -> DirectoryError {
    DirectoryError::Refused(format!("unexpected answer: {error}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_policy_but_noeviction_is_worth_a_warning() {
        let info = |policy| format!("# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:{policy}\r\nx:1\r\n");
        assert_eq!(super::evicts(&info("noeviction")), None);
        assert_eq!(super::evicts(&info("allkeys-lru")), Some("allkeys-lru"));
        assert_eq!(super::evicts(&info("volatile-ttl")), Some("volatile-ttl"));
        assert_eq!(super::evicts(""), None, "an ACL may hide it");
    }
}
