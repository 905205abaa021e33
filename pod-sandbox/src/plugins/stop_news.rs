//! A container's exit that is still being told: it is removed, and its pod said to be stopped, only after that.

use std::sync::{Arc, Mutex};

use crate::locks::lock;
use tokio::sync::watch;

type Pending = Mutex<Option<watch::Receiver<()>>>;

/// Of one container.
#[derive(Debug, Default)]
pub(crate) struct StopNews {
    pending: Arc<Pending>,
}

/// It is under way. Dropping it is its end.
#[derive(Debug)]
pub(crate) struct Telling {
    pending: Arc<Pending>,
    _done: watch::Sender<()>,
}

impl StopNews {
    /// To be begun before the exit can be seen. `None` if somebody else has begun.
    pub(crate) fn begin(&self) -> Option<Telling> {
        let mut pending = lock(&self.pending);
        if pending.is_some() {
            return None;
        }
        let (done, waits) = watch::channel(());
        *pending = Some(waits);
        Some(Telling { pending: Arc::clone(&self.pending), _done: done })
    }

    /// Waits until the exit, if it is being told, is told.
    pub(crate) async fn told(&self) {
        let waits = lock(&self.pending).clone();
        if let Some(mut waits) = waits {
            // Fails when the other end is dropped, which is what we wait for.
            let _ = waits.changed().await;
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        *lock(&self.pending) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::StopNews;

    #[tokio::test]
    async fn who_asks_while_it_is_told_waits_for_the_end() {
        let news = StopNews::default();
        news.told().await;
        let telling = news.begin().unwrap();
        assert!(news.begin().is_none());
        let mut waits = Box::pin(news.told());
        let waker = std::task::Waker::noop();
        let mut context = std::task::Context::from_waker(waker);
        assert!(waits.as_mut().poll(&mut context).is_pending());
        drop(telling);
        waits.await;
        assert!(news.begin().is_some());
    }
}
