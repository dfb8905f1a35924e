//! How a gateway leaves: not ready, still accepting, then no longer, then sessions by turns.

use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use super::App;
use crate::lifecycle::{Outlived, Phase, Wish};

/// How a gateway ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// A second wish to stop: sessions were cut.
    CutShort,
    /// All sessions left in their turn.
    Drained,
    /// So many tasks outlived the window and were cut.
    Outlived(usize),
}

impl App {
    /// Leaves. A further wish to stop ends that at once.
    pub(super) async fn leave(mut self, mut wishes: mpsc::Receiver<Wish>) -> Ended {
        self.reloads.close();
        let ended = tokio::select! {
            biased;
            () = again(&mut wishes) => Ended::CutShort,
            ended = self.drain() => ended,
        };
        match ended {
            Ended::CutShort => warn!("told to stop again: exiting at once"),
            Ended::Drained => info!("drained"),
            Ended::Outlived(tasks) => warn!(tasks, "the drain window is over: cutting what is left"),
        }
        if ended != Ended::CutShort {
            self.keeper.leave().await;
            // It ends within a tick; what does not is cut with the runtime.
            let _ = self.house.finish().await;
        }
        drop(self.admin.take()); // to the last it said that we are leaving
        ended
    }

    async fn drain(&self) -> Ended {
        let super::DrainSettings { notice, window } = self.settings.drain;
        self.life.enter(Phase::Noticed);
        let spliced = self.sessions.spliced().len();
        info!(
            ?notice,
            ?window,
            sessions = self.sessions.len(),
            spliced,
            "leaving: not ready, still accepting"
        );
        sleep(notice).await;
        self.life.enter(Phase::Draining);
        info!(sessions = self.sessions.len(), "no longer accepting; sessions leave by turns");
        match self.drain.finish().await {
            Ok(()) => Ended::Drained,
            Err(Outlived(tasks)) => Ended::Outlived(tasks),
        }
    }
}

/// Ready at the next wish to stop; never when nobody is left to wish.
async fn again(wishes: &mut mpsc::Receiver<Wish>) {
    loop {
        match wishes.recv().await {
            Some(Wish::Stop) => return,
            Some(Wish::Reload) => info!("leaving: a reload would change nothing"),
            None => return std::future::pending().await,
        }
    }
}
