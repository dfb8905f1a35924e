//! When to stop sending: three failures within a second.

use std::time::Duration;

use tokio::time::Instant;

/// Failures that open it.
const FAILURES: usize = 3;
/// Within this.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts failures. Whoever opens it starts with a fresh one.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: [Option<Instant>; FAILURES],
    next: usize,
}

impl Breaker {
    /// A command failed just now; answers whether no more should be sent.
    pub fn failed(&mut self) -> bool {
        let now = Instant::now();
        self.failures[self.next] = Some(now);
        self.next = (self.next + 1) % FAILURES;
        let recent = |at: &Option<Instant>| at.is_some_and(|at| now.duration_since(at) <= WINDOW);
        self.failures.iter().all(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn three_failures_in_a_second_open_it_and_slower_ones_do_not() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            assert!(!breaker.failed());
            advance(Duration::from_millis(600)).await;
        }
        let mut breaker = Breaker::default();
        assert!(!breaker.failed());
        advance(Duration::from_millis(400)).await;
        assert!(!breaker.failed());
        advance(Duration::from_millis(500)).await;
        assert!(breaker.failed());
    }
}
