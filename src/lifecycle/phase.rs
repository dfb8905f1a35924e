//! The phases of a gateway's life.

use tokio::sync::watch;

/// Where the gateway is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Binding, first look at the directory. Not ready.
    Starting,
    /// Serving. Ready.
    Serving,
    /// Told to stop; still accepting, so that the balancer can notice. Not ready.
    Noticed,
    /// No longer accepting; sessions leave by turns. Not ready.
    Draining,
}

/// The current phase: one writer (`app`), many watchers.
pub type Phases = watch::Receiver<Phase>;
