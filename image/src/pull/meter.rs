//! Progress of one pull, for all who watch it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::{Progress, PullProgress, PullStage};

/// Cheap to clone; clones count together.
#[derive(Clone, Default)]
pub(super) struct Meter {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    progress: PullProgress,
    watchers: Vec<watch::Sender<PullProgress>>,
}

impl Meter {
    pub(super) fn watched_by(&self, watcher: Progress) {
        let mut state = self.state();
        if let Some(watcher) = watcher {
            watcher.send_replace(state.progress);
            state.watchers.push(watcher);
        }
    }

    pub(super) fn stage(&self, stage: PullStage) {
        self.change(|progress| progress.stage = stage);
    }

    /// The image's layers are known; `bytes` of them are to be fetched.
    pub(super) fn expect(&self, layers: usize, bytes: u64) {
        self.change(|progress| (progress.layers_total, progress.bytes_total) = (layers, bytes));
    }

    pub(super) fn received(&self, bytes: u64) {
        self.change(|progress| progress.bytes_done += bytes);
    }

    /// `bytes` were no good and come again.
    pub(super) fn took_back(&self, bytes: u64) {
        self.change(|progress| progress.bytes_done = progress.bytes_done.saturating_sub(bytes));
    }

    /// A layer that was expected came from elsewhere.
    pub(super) fn spared(&self, bytes: u64) {
        self.change(|progress| progress.bytes_total = progress.bytes_total.saturating_sub(bytes));
    }

    pub(super) fn layer_done(&self) {
        self.change(|progress| progress.layers_done += 1);
    }

    pub(super) fn bytes_done(&self) -> u64 {
        self.state().progress.bytes_done
    }

    fn change(&self, change: impl FnOnce(&mut PullProgress)) {
        let mut state = self.state();
        change(&mut state.progress);
        let progress = state.progress;
        state.watchers.retain(|watcher| !watcher.is_closed());
        for watcher in &state.watchers {
            watcher.send_replace(progress);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
