//! Live sessions of this replica: list, count, close one.
//!
//! Only proven sessions are here: the owner of a device is whoever proved itself. A session stands
//! here from the sight of byte 52 until its guard is dropped.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use crate::model::{DeviceId, Epoch, InstanceName, SessionId};
use crate::net::traffic::Traffic;

/// Why somebody other than its two ends closes a session. Closed set: a metric label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CloseReason {
    /// The drain's turn has come.
    Draining,
    /// Its instance was taken out of service.
    InstanceGone,
    /// An operator asked for it.
    Operator,
    /// A newer session of the same device was proven, here or at another replica.
    Superseded,
}

/// One proven session, as others see it.
#[derive(Debug)]
pub struct Session {
    /// Whose it is.
    pub device: DeviceId,
    /// Its number at this replica.
    pub id: SessionId,
    /// Where it ends.
    pub instance: InstanceName,
    /// Where the device called from (behind the balancer).
    pub source: IpAddr,
    /// When it was proven.
    pub proven: Instant,
    /// What flows.
    pub traffic: Arc<Traffic>,
    // private: epoch (0 = not yet claimed), close signal
}

impl Session {
    /// Asks the session to end. The first reason stays.
    pub fn close(&self, _reason: CloseReason) {
        todo!()
    }

    /// Ready when somebody asked the session to end. Safe to cancel.
    pub async fn closed(&self) -> CloseReason {
        todo!()
    }

    /// The epoch of its claim; `None` while the directory has not granted one.
    pub fn epoch(&self) -> Option<Epoch> {
        todo!()
    }

    /// The directory granted `epoch`.
    pub fn granted(&self, _epoch: Epoch) {
        todo!()
    }
}

/// The table. Sharded; no lock is held across an await.
#[derive(Default)]
pub struct Sessions {}

/// Takes the session out of the table when dropped, unless a newer one has taken its place there.
pub struct Listed {
    /// The session.
    pub session: Arc<Session>,
}

impl Sessions {
    /// The next session number of this replica.
    pub fn next_id(&self) -> SessionId {
        todo!()
    }

    /// Lists `session`. An older session of the same device here is told to close (superseded) and
    /// is returned.
    pub fn insert(self: &Arc<Self>, _session: Session) -> (Listed, Option<Arc<Session>>) {
        todo!()
    }

    /// The live session of `device` at this replica.
    pub fn get(&self, _device: DeviceId) -> Option<Arc<Session>> {
        todo!()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many end at each instance.
    pub fn by_instance(&self) -> Vec<(InstanceName, usize)> {
        todo!()
    }
}
