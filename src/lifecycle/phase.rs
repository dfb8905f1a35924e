//! The phases of a gateway's life.

use tokio::sync::watch;

/// Where the gateway is in its life.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
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

impl Phase {
    /// Its name, for people and for `/readyz`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Noticed => "noticed",
            Self::Draining => "draining",
        }
    }

    /// Whether a balancer should send new connections.
    pub const fn ready(self) -> bool {
        matches!(self, Self::Serving)
    }
}

/// The current phase: one writer (`app`), many watchers.
pub type Phases = watch::Receiver<Phase>;

/// The one writer of the phase. A life only goes forward.
#[derive(Debug)]
pub struct Life(watch::Sender<Phase>);

impl Life {
    /// A life that starts, and what watches it.
    pub fn start() -> (Self, Phases) {
        let (sender, receiver) = watch::channel(Phase::Starting);
        (Self(sender), receiver)
    }

    /// Enters `phase`. A phase already passed is not entered again.
    pub fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let forward = phase > *now;
            if forward {
                *now = phase;
            }
            forward
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_only_goes_forward_and_is_ready_in_its_middle() {
        let (life, phases) = Life::start();
        let mut seen = vec![(*phases.borrow(), phases.borrow().ready())];
        for phase in [Phase::Serving, Phase::Noticed, Phase::Serving, Phase::Draining] {
            life.enter(phase);
            seen.push((*phases.borrow(), phases.borrow().ready()));
        }
        assert_eq!(
            seen,
            [
                (Phase::Starting, false),
                (Phase::Serving, true),
                (Phase::Noticed, false),
                (Phase::Noticed, false),
                (Phase::Draining, false),
            ]
        );
    }

    #[test]
    fn a_phase_outlives_its_writer_as_it_was() {
        let (life, phases) = Life::start();
        drop(life);
        assert!(!phases.borrow().ready(), "a gateway that never served is not ready");
    }
}
