//! Exits that are still being told: a container is removed, and its pod said to be stopped, only after that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::model::ContainerId;

type Pending = HashMap<ContainerId, watch::Receiver<()>>;

/// The exits that are under way.
#[derive(Debug, Default)]
pub(crate) struct StopNews {
    pending: Arc<Mutex<Pending>>,
}

/// One that is under way. Dropping it is its end.
#[derive(Debug)]
pub(crate) struct Telling {
    pending: Arc<Mutex<Pending>>,
    id: ContainerId,
    _done: watch::Sender<()>,
}

impl StopNews {
    /// To be begun before the exit can be seen. `None` if somebody else has begun.
    pub(crate) fn begin(&self, id: &ContainerId) -> Option<Telling> {
        let mut pending = lock(&self.pending);
        if pending.contains_key(id) {
            return None;
        }
        let (done, waits) = watch::channel(());
        pending.insert(id.clone(), waits);
        Some(Telling { pending: Arc::clone(&self.pending), id: id.clone(), _done: done })
    }

    /// Waits until the exit of `id`, if it is being told, is told.
    pub(crate) async fn told(&self, id: &ContainerId) {
        let waits = lock(&self.pending).get(id).cloned();
        if let Some(mut waits) = waits {
            // Fails when the other end is dropped, which is what we wait for.
            let _ = waits.changed().await;
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        lock(&self.pending).remove(&self.id);
    }
}

fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::StopNews;
    use crate::model::ContainerId;

    #[tokio::test]
    async fn who_asks_while_it_is_told_waits_for_the_end() {
        let (news, id) = (StopNews::default(), ContainerId::generate());
        news.told(&id).await;
        let telling = news.begin(&id).unwrap();
        assert!(news.begin(&id).is_none());
        let mut waits = Box::pin(news.told(&id));
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(telling);
        waits.await;
        assert!(news.begin(&id).is_some());
    }
}
