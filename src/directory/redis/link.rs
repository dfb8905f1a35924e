//! One connection that is kept: a breaker in front, a prober behind.
//!
//! While there is no connection commands fail at once, for the price of a load. Only the prober
//! connects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, PushInfo, PushKind, RedisError, ServerErrorKind, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::DropGuard;
use tracing::{info, warn};

use super::breaker::Breaker;
use super::connector::Connector;
use super::scripts::Scripts;
use super::{failure, fatal};
use crate::directory::DirectoryError;

/// The first pause between probes; doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// An idle connection is tried so often.
const PING: Duration = Duration::from_secs(2);
/// And must answer within this.
const PONG: Duration = Duration::from_secs(1);

/// A connection that stands.
struct Live {
    connection: MultiplexedConnection,
    number: u64,
    since: Instant,
    _ends: DropGuard,
}

/// What a link is for: decides how long a command may take.
#[derive(Clone, Copy)]
pub(super) struct Purpose {
    pub name: &'static str,
    pub reply: Duration,
    pub connect: Duration,
}

/// What is done with each new connection before commands may use it.
pub(super) type Greet = dyn Fn(MultiplexedConnection) -> futures_util::future::BoxFuture<'static, Result<(), DirectoryError>>
    + Send
    + Sync;
/// Who is told of messages.
pub(super) type Hear = dyn Fn(PushInfo) + Send + Sync;

/// One connection that is kept.
pub(super) struct Link {
    purpose: Purpose,
    connector: Arc<Connector>,
    scripts: Arc<Scripts>,
    live: ArcSwapOption<Live>,
    numbers: AtomicU64,
    breaker: Mutex<Breaker>,
    /// Why there is no connection.
    down: Mutex<DirectoryError>,
    probe: Notify,
    hear: Box<Hear>,
    greet: Box<Greet>,
}

impl Link {
    pub fn new(
        purpose: Purpose,
        connector: Arc<Connector>,
        scripts: Arc<Scripts>,
        hear: Box<Hear>,
        greet: Box<Greet>,
    ) -> Arc<Self> {
        Arc::new(Self {
            purpose,
            connector,
            scripts,
            live: ArcSwapOption::empty(),
            numbers: AtomicU64::new(0),
            breaker: Mutex::default(),
            down: Mutex::new(DirectoryError::Unreachable("not connected yet".to_owned())),
            probe: Notify::new(),
            hear,
            greet,
        })
    }

    /// Since when there is a connection.
    pub fn since(&self) -> Option<Instant> {
        self.live.load().as_ref().map(|live| live.since)
    }

    /// One command.
    pub async fn command(&self, command: &Cmd) -> Result<Value, DirectoryError> {
        let (live, mut connection) = self.connection()?;
        match answer(connection.send_packed_command(command).await) {
            Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
                self.scripts.load(&mut connection).await?;
                let again = answer(connection.send_packed_command(command).await);
                again.map_err(|error| self.failed(&live, error))
            }
            answered => answered.map_err(|error| self.failed(&live, error)),
        }
    }

    /// Many commands at once, answers in the same order. A command that only lacked its script is
    /// sent again; the first other error is the answer.
    pub async fn commands(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, DirectoryError> {
        let (live, mut connection) = self.connection()?;
        if commands.is_empty() {
            return Ok(Vec::new()); // which the client library takes for a mistake
        }
        let mut answers = send(&mut connection, commands.iter()).await.map_err(|e| self.failed(&live, e))?;
        let lacking: Vec<_> = (0..answers.len()).filter(|i| lacks_script(&answers[*i])).collect();
        if !lacking.is_empty() {
            self.scripts.load(&mut connection).await?;
            let again = lacking.iter().map(|i| &commands[*i]);
            let again = send(&mut connection, again).await.map_err(|error| self.failed(&live, error))?;
            for (i, value) in lacking.into_iter().zip(again) {
                answers[i] = value;
            }
        }
        let checked = answers.into_iter().map(|value| value.extract_error());
        checked.collect::<Result<_, _>>().map_err(|error| self.failed(&live, error))
    }

    /// Writes the schema where there is none; if there is no connection, says why.
    pub async fn check_schema(&self) -> Result<(), DirectoryError> {
        let (_, mut connection) = self.connection()?;
        self.connector.check_schema(&mut connection).await
    }

    /// Ready once [`Link::renew`] was called.
    pub async fn wanted(&self) {
        self.probe.notified().await;
    }

    /// Gives the connection up, if there is one, so that the prober makes another.
    pub fn renew(&self) {
        self.live.store(None);
        self.probe.notify_one();
    }

    fn connection(&self) -> Result<(Arc<Live>, MultiplexedConnection), DirectoryError> {
        match self.live.load_full() {
            Some(live) => {
                let connection = live.connection.clone();
                Ok((live, connection))
            }
            None => Err(self.down.lock().clone()),
        }
    }

    /// Counts a failure, and gives the connection up where it is broken or fails too often.
    fn failed(&self, live: &Live, error: RedisError) -> DirectoryError {
        let error_of_ours = failure(error.clone());
        let open = fatal(&error) || (error.is_timeout() && self.breaker.lock().failed());
        if open {
            self.lost(live.number, error_of_ours.clone());
        }
        error_of_ours
    }

    /// Gives the connection up, if there is one, for a reason of ours.
    pub fn refuse(&self, why: DirectoryError) {
        if let Some(live) = self.live.load_full() {
            self.lost(live.number, why);
        }
    }

    fn lost(&self, number: u64, why: DirectoryError) {
        let live = self.live.load();
        if live.as_ref().is_some_and(|live| live.number == number) {
            *self.down.lock() = why;
            self.live.compare_and_swap(&live, None);
            self.probe.notify_one();
        }
    }

    /// Connects once, for whoever wants to know at the start.
    pub async fn connect(self: &Arc<Self>) -> Result<(), DirectoryError> {
        let connected = match timeout(self.purpose.connect, self.connected()).await {
            Ok(connected) => connected,
            Err(_) => {
                self.refuse(DirectoryError::Timeout); // perhaps in the greeting, which nobody then heard
                Err(DirectoryError::Timeout)
            }
        };
        connected.inspect_err(|error| *self.down.lock() = error.clone())
    }

    async fn connected(self: &Arc<Self>) -> Result<(), DirectoryError> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let link = Arc::downgrade(self);
        let push = move |push: PushInfo| {
            let Some(link) = link.upgrade() else { return };
            match push.kind {
                PushKind::Disconnection => {
                    link.lost(number, DirectoryError::Unreachable("connection closed".to_owned()));
                }
                _ => (link.hear)(push),
            }
        };
        let (connection, ends) = self.connector.connect(self.purpose.reply, push).await?;
        *self.breaker.lock() = Breaker::default();
        let live = Live { connection: connection.clone(), number, since: Instant::now(), _ends: ends };
        // Before the greeting: who is told that the store is there finds it so.
        self.live.store(Some(Arc::new(live)));
        let greeted = (self.greet)(connection).await;
        if let Err(error) = &greeted {
            self.lost(number, error.clone());
        }
        greeted
    }

    /// Keeps the connection: tries an idle one, replaces a broken one.
    pub async fn keep(self: Arc<Self>) {
        let name = self.purpose.name;
        let (mut pause, mut told) = (FIRST_PAUSE, false);
        loop {
            if let Some(since) = self.since() {
                let _ = timeout(PING, self.probe.notified()).await;
                self.ping().await;
                if since.elapsed() > LAST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                if self.since().is_some() {
                    continue;
                }
                warn!(link = name, error = %self.down.lock(), "directory connection lost");
                told = true;
            }
            match self.connect().await {
                Ok(()) => info!(link = name, "directory connected"),
                Err(error) if !told => warn!(link = name, %error, "cannot connect to the directory"),
                Err(_) => {}
            }
            told = self.since().is_none();
            if told {
                sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }

    async fn ping(&self) {
        let Some(live) = self.live.load_full() else { return };
        let mut connection = live.connection.clone();
        connection.set_response_timeout(PONG);
        if let Err(error) = answer(connection.send_packed_command(&redis::cmd("PING")).await) {
            self.lost(live.number, failure(error));
        }
    }
}

fn answer(value: Result<Value, RedisError>) -> Result<Value, RedisError> {
    value?.extract_error()
}

fn lacks_script(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

async fn send(
    connection: &mut MultiplexedConnection,
    commands: impl ExactSizeIterator<Item = &Cmd>,
) -> Result<Vec<Value>, RedisError> {
    let count = commands.len();
    let mut pipe = Pipeline::with_capacity(count);
    for command in commands {
        pipe.add_command(command.clone());
    }
    connection.send_packed_commands(&pipe, 0, count).await
}
