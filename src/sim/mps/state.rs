//! What a simulated MPS remembers: who is connected, and all that tests want to ask about.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::channels::Command;
use super::database::Database;
use super::rest::Asked;
use crate::model::DeviceId;
use crate::sim::transfer::pattern::Pattern;

/// Messages and records remembered of one connection.
pub(super) const REMEMBERED: usize = 256;

/// Connections that have ended and are still remembered.
const ENDED: usize = 1024;

/// Why a CIRA connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// The other side closed it, or it broke.
    Closed,
    /// It asked for a web page.
    Http,
    /// Nothing was said for too long.
    Idle,
    /// A message nobody knows, or one too long.
    Malformed,
    /// It refused a login, and lets nobody try twice.
    Refused,
    /// A USERAUTH_REQUEST came in pieces.
    SplitLogin,
    /// We were told to stop.
    Stopped,
    /// The device authenticated on a newer connection, or was disconnected through the API.
    Superseded,
    /// The GUID is not in the database.
    UnknownDevice,
}

/// One CIRA connection, as seen by the MPS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connection {
    /// Its number at this MPS, from 1.
    pub number: u64,
    /// Who called.
    pub peer: SocketAddr,
    /// Who it last said it was.
    pub device: Option<DeviceId>,
    /// Whether it logged in.
    pub proven: bool,
    /// Type bytes of the messages received, in order; the first 256.
    pub messages: Vec<u8>,
    /// Sizes of the TLS records received (of reads, without TLS), in bytes; the first 256.
    pub records: Vec<usize>,
    /// Why it ended; `None`: it is there.
    pub ended: Option<Ending>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// CIRA connections accepted.
    pub accepted: u64,
    /// Handshakes that failed.
    pub failed_handshakes: u64,
    /// Logins accepted.
    pub proofs: u64,
    /// Logins refused.
    pub refused_logins: u64,
    /// DISCONNECT messages received. A gateway lets none pass.
    pub disconnects: u64,
    /// KEEPALIVE_REQUEST messages received.
    pub keepalives: u64,
    /// Messages received, of any type; payload for the services that devices call not counted.
    pub messages: u64,
    /// Bytes of payload moved by the services that devices call, both ways.
    pub moved: u64,
    /// Blocks of that payload which were received and not right.
    pub corrupt: u64,
}

struct Registered {
    number: u64,
    commands: mpsc::Sender<Command>,
    end: CancellationToken,
}

#[derive(Default)]
struct Inner {
    counts: Counts,
    /// As MPS's `devices`: the connection that authenticated last.
    devices: HashMap<DeviceId, Registered>,
    live: BTreeMap<u64, Connection>,
    ended: VecDeque<Connection>,
}

pub(super) struct State {
    pub name: String,
    pub database: Arc<Database>,
    pub frozen: watch::Sender<bool>,
    pub health: watch::Sender<u16>,
    /// What devices send to our services, and hear from them.
    pub pattern: Pattern,
    /// The last requests.
    pub asked: Mutex<VecDeque<Asked>>,
    /// Redirections under way: MPS takes one of each mode for a device.
    pub redirections: Mutex<HashSet<(DeviceId, String)>>,
    changed: watch::Sender<()>,
    inner: Mutex<Inner>,
}

impl State {
    pub fn new(name: &str, database: Arc<Database>) -> Self {
        Self {
            name: name.to_owned(),
            database,
            frozen: watch::Sender::new(false),
            health: watch::Sender::new(200),
            pattern: Pattern::new(),
            asked: Mutex::default(),
            redirections: Mutex::default(),
            changed: watch::Sender::new(()),
            inner: Mutex::default(),
        }
    }

    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn change<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        let result = change(&mut self.inner.lock());
        self.changed.send_replace(());
        result
    }

    pub fn counts(&self) -> Counts {
        self.inner.lock().counts
    }

    pub fn count(&self, count: impl FnOnce(&mut Counts)) {
        self.change(|inner| count(&mut inner.counts));
    }

    /// The services moved payload. Nobody is told of each piece.
    pub fn moved(&self, bytes: u64, corrupt: u64) {
        let mut inner = self.inner.lock();
        inner.counts.moved += bytes;
        inner.counts.corrupt += corrupt;
    }

    pub fn count_connected(&self) -> usize {
        self.inner.lock().devices.len()
    }

    pub fn connected(&self) -> Vec<DeviceId> {
        self.inner.lock().devices.keys().copied().collect()
    }

    /// All connections remembered, oldest first.
    pub fn connections(&self) -> Vec<Connection> {
        let inner = self.inner.lock();
        let mut all: Vec<_> = inner.ended.iter().chain(inner.live.values()).cloned().collect();
        all.sort_by_key(|connection| connection.number);
        all
    }

    /// How to speak with a device; `None`: it is not connected here.
    pub fn device(&self, device: DeviceId) -> Option<mpsc::Sender<Command>> {
        self.inner.lock().devices.get(&device).map(|registered| registered.commands.clone())
    }

    /// Ends the connection of a device; `false`: it is not connected here.
    pub fn end(&self, device: DeviceId) -> bool {
        let inner = self.inner.lock();
        inner.devices.get(&device).inspect(|registered| registered.end.cancel()).is_some()
    }

    /// A connection begins: its number.
    pub fn begin(&self, peer: SocketAddr) -> u64 {
        self.change(|inner| {
            inner.counts.accepted += 1;
            let number = inner.counts.accepted;
            let connection = Connection {
                number,
                peer,
                device: None,
                proven: false,
                messages: Vec::new(),
                records: Vec::new(),
                ended: None,
            };
            inner.live.insert(number, connection);
            number
        })
    }

    pub fn record(&self, number: u64, size: usize) {
        self.change(|inner| {
            let Some(connection) = inner.live.get_mut(&number) else { return };
            if connection.records.len() < REMEMBERED {
                connection.records.push(size);
            }
        });
    }

    pub fn message(&self, number: u64, kind: u8) {
        self.change(|inner| {
            inner.counts.messages += 1;
            let Some(connection) = inner.live.get_mut(&number) else { return };
            if connection.messages.len() < REMEMBERED {
                connection.messages.push(kind);
            }
        });
    }

    pub fn identify(&self, number: u64, device: DeviceId) {
        self.change(|inner| {
            if let Some(connection) = inner.live.get_mut(&number) {
                connection.device = Some(device);
            }
        });
    }

    /// The connection authenticated: it is the device's from now on, and an older one ends.
    pub fn register(
        &self,
        number: u64,
        device: DeviceId,
        commands: mpsc::Sender<Command>,
        end: CancellationToken,
    ) {
        self.database.connected(device, &self.name);
        self.change(|inner| {
            inner.counts.proofs += 1;
            if let Some(connection) = inner.live.get_mut(&number) {
                connection.proven = true;
            }
            let old = inner.devices.insert(device, Registered { number, commands, end });
            if let Some(old) = old.filter(|old| old.number != number) {
                old.end.cancel();
            }
        });
    }

    /// DISCONNECT: believed whoever sends it, as MPS does; the device's connection stays up, unreachable.
    pub fn forget(&self, device: DeviceId) {
        let known = self.change(|inner| inner.devices.remove(&device).is_some());
        if known {
            self.database.disconnected(device);
        }
    }

    /// A connection is over: the device is gone if this was the one that authenticated last *here*.
    pub fn finish(&self, number: u64, device: Option<DeviceId>, ending: Ending) {
        let gone = self.change(|inner| {
            if let Some(mut connection) = inner.live.remove(&number) {
                connection.ended = Some(ending);
                inner.ended.push_back(connection);
                if inner.ended.len() > ENDED {
                    inner.ended.pop_front();
                }
            }
            let device =
                device.filter(|device| inner.devices.get(device).is_some_and(|r| r.number == number));
            device.inspect(|device| drop(inner.devices.remove(device)))
        });
        if let Some(device) = gone {
            self.database.disconnected(device);
        }
    }

    /// Killed: nothing is connected, and nobody cleaned up the database.
    pub fn die(&self) {
        self.change(|inner| {
            inner.devices.clear();
            let live = std::mem::take(&mut inner.live);
            inner
                .ended
                .extend(live.into_values().map(|one| Connection { ended: Some(Ending::Stopped), ..one }));
            while inner.ended.len() > ENDED {
                inner.ended.pop_front();
            }
        });
    }
}
