//! One pull at a time of the same image with the same credentials, and any number of callers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::meter::Meter;
use crate::{Error, ImageId, Progress, Reference, RequestCredentials};

/// What makes two pulls the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) candidates: Vec<Reference>,
    pub(super) credentials: Option<RequestCredentials>,
}

type Outcome = Option<Result<ImageId, Error>>;

/// Pulls under way.
#[derive(Default)]
pub(super) struct Running {
    pulls: Mutex<HashMap<Key, Entry>>,
}

struct Entry {
    outcome: watch::Receiver<Outcome>,
    meter: Meter,
}

/// Takes the entry away even if the work panics: nothing may wait for it for ever.
struct Registration {
    running: Arc<Running>,
    key: Key,
}

impl Running {
    /// The result of the pull `key`: of the one that runs, else of `work`, started in a task of its own. Cancel
    /// safe.
    pub(super) async fn join<F>(
        self: &Arc<Self>,
        key: Key,
        progress: Progress,
        work: impl FnOnce(Meter) -> F,
    ) -> Result<ImageId, Error>
    where
        F: Future<Output = Result<ImageId, Error>> + Send + 'static,
    {
        let mut outcome = self.enter(key, progress, work);
        let ended = outcome.wait_for(Option::is_some).await;
        let lost = || Error::TaskLost { what: "pulling an image".to_owned() };
        ended.ok().and_then(|outcome| outcome.clone()).unwrap_or_else(|| Err(lost()))
    }

    fn enter<F>(
        self: &Arc<Self>,
        key: Key,
        progress: Progress,
        work: impl FnOnce(Meter) -> F,
    ) -> watch::Receiver<Outcome>
    where
        F: Future<Output = Result<ImageId, Error>> + Send + 'static,
    {
        let mut pulls = self.pulls();
        if let Some(entry) = pulls.get(&key) {
            entry.meter.watched_by(progress);
            return entry.outcome.clone();
        }
        let (sender, outcome) = watch::channel(None);
        let meter = Meter::default();
        meter.watched_by(progress);
        let work = work(meter.clone());
        let registration = Registration { running: self.clone(), key: key.clone() };
        pulls.insert(key, Entry { outcome: outcome.clone(), meter });
        drop(pulls);
        tokio::spawn(async move {
            let result = work.await;
            // Before the result: who asks from now on wants a new pull.
            drop(registration);
            sender.send_replace(Some(result));
        });
        outcome
    }

    fn pulls(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.running.pulls().remove(&self.key);
    }
}
