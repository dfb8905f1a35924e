//! A heartbeat of the data runtime, for those who look from another thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// When the data runtime last ran a task.
#[derive(Debug)]
pub struct Pulse {
    began: Instant,
    last: AtomicU64,
}

impl Pulse {
    /// How often it beats.
    pub const EVERY: Duration = Duration::from_millis(500);

    /// A pulse that beats for the first time now.
    pub fn start() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0) }
    }

    /// Beats until it is dropped. To be run on the runtime in question.
    pub async fn beat(&self) {
        let mut ticks = interval(Self::EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.last.store(self.now(), Ordering::Relaxed);
        }
    }

    /// How long ago it last beat.
    pub fn age(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pulse_ages_once_it_stops_beating() {
        let pulse = Pulse::start();
        assert!(timeout(Duration::from_secs(60), pulse.beat()).await.is_err());
        assert!(pulse.age() <= Pulse::EVERY, "{:?}", pulse.age());
        sleep(Duration::from_secs(7)).await;
        assert!(pulse.age() >= Duration::from_secs(7), "{:?}", pulse.age());
    }
}
