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
