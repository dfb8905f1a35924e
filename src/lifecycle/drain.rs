//! One signal down, one count up: tasks learn that a drain began, the owner learns when all have left.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A fixed point in the drain window, from 0 (first) to `u64::MAX` (last).
pub type Ticket = u64;

/// Tasks outlived the window.
#[derive(Debug, thiserror::Error)]
#[error("{0} tasks outlived the drain window")]
pub struct Outlived(pub usize);

/// Handed down to everything that runs. Cheap to clone.
#[derive(Clone)]
pub struct Drain {
    begun: CancellationToken,
    tasks: TaskTracker,
    window: Duration,
}

impl Drain {
    /// A drain that has not begun, whose sessions leave over `window`.
    pub fn new(window: Duration) -> Self {
        Self { begun: CancellationToken::new(), tasks: TaskTracker::new(), window }
    }

    /// Runs `task`, counted: the drain waits for it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that counts tasks")]
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tasks.track_future(task))
    }

    /// Ready once the drain has begun. Safe to cancel.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// When it is this session's turn to leave: a point in the window, not everyone at once.
    pub async fn turn(&self, ticket: Ticket) {
        self.begun.cancelled().await;
        tokio::time::sleep(self.window.mul_f64(0.75 * ticket as f64 / u64::MAX as f64)).await;
    }

    /// Begins the drain and waits for every task, at most the window.
    pub async fn finish(&self) -> Result<(), Outlived> {
        self.begun.cancel();
        self.tasks.close();
        tokio::time::timeout(self.window, self.tasks.wait()).await.map_err(|_| Outlived(self.tasks.len()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(120);

    #[tokio::test(start_paused = true)]
    async fn sessions_leave_by_turns_over_three_quarters_of_the_window() {
        let drain = Drain::new(WINDOW);
        let began = Instant::now();
        let turns = [(0, 0.0), (u64::MAX / 4, 22.5), (u64::MAX / 2, 45.0), (u64::MAX, 90.0)];
        let mut left = vec![];
        for (ticket, _) in turns {
            let mine = drain.clone();
            left.push(drain.spawn(async move {
                mine.turn(ticket).await;
                began.elapsed().as_secs_f64()
            }));
        }
        drain.finish().await.expect("all leave within the window");
        for (task, (ticket, second)) in left.into_iter().zip(turns) {
            let at = task.await.expect("it ends");
            assert!((at - second).abs() < 0.1, "ticket {ticket} left after {at} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_leaves_before_the_drain_begins() {
        let drain = Drain::new(WINDOW);
        let early = tokio::time::timeout(Duration::from_secs(3600), drain.turn(0)).await;
        assert!(early.is_err());
        assert!(tokio::time::timeout(Duration::from_secs(1), drain.begun()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn finish_waits_for_the_last_task_and_no_longer() {
        let drain = Drain::new(WINDOW);
        let mine = drain.clone();
        drain.spawn(async move {
            mine.begun().await;
            tokio::time::sleep(Duration::from_secs(7)).await;
        });
        let began = Instant::now();
        drain.finish().await.expect("it ends in time");
        assert_eq!(began.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_will_not_leave_is_counted_when_the_window_is_over() {
        let drain = Drain::new(WINDOW);
        drain.spawn(std::future::pending::<()>());
        let began = Instant::now();
        let Outlived(tasks) = drain.finish().await.expect_err("one task stays for ever");
        assert_eq!((tasks, began.elapsed()), (1, WINDOW));
    }
}
