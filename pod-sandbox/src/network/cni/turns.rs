//! GC runs alone: "the runtime must ensure that no add or delete operations are in progress before executing gc, and must wait for
//! gc to complete before issuing new ones" (CNI specification, section 3, "Lifecycle & Ordering"). Pods do not wait long for it.

use std::time::Duration;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, watch};
use tokio::time::{sleep, timeout};

/// GC waits so long for ADDs and DELs to end, and is tried again later.
const IDLE_WITHIN: Duration = Duration::from_secs(1);
/// An ADD or DEL waits so long for GC to end; then it is ended by force.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who runs plugins.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    lock: RwLock<()>,
    /// How many ADDs and DELs run, or wait for their turn.
    pods: watch::Sender<usize>,
}

/// Of an ADD or a DEL.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    _lock: RwLockReadGuard<'a, ()>,
    _counted: Counted<'a>,
}

#[derive(Debug)]
struct Counted<'a>(&'a watch::Sender<usize>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Turns {
    /// Beside other pods'. Cancelling is safe.
    pub(crate) async fn of_pod(&self) -> Turn<'_> {
        self.pods.send_modify(|count| *count += 1);
        let counted = Counted(&self.pods);
        Turn { _lock: self.lock.read().await, _counted: counted }
    }

    /// Runs `gc` while no pod has its turn. `None`: pods were in the way, before it or for too long during it; it was dropped.
    pub(crate) async fn alone<T>(&self, gc: impl Future<Output = T>) -> Option<T> {
        let _alone = timeout(IDLE_WITHIN, self.idle()).await.ok()?;
        tokio::select! {
            done = gc => Some(done),
            () = self.awaited() => None,
        }
    }

    /// Never queues at the lock: who waits there holds up all who come later.
    async fn idle(&self) -> RwLockWriteGuard<'_, ()> {
        let mut pods = self.pods.subscribe();
        loop {
            // Fails only if the sender is gone.
            let _ = pods.wait_for(|count| *count == 0).await;
            if let Ok(alone) = self.lock.try_write() {
                return alone;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn awaited(&self) {
        let mut pods = self.pods.subscribe();
        let _ = pods.wait_for(|count| *count > 0).await;
        sleep(PATIENCE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::Turns;

    #[tokio::test]
    async fn gc_runs_when_no_pod_does() {
        let turns = Turns::default();
        assert_eq!(turns.alone(async { 1 }).await, Some(1));
        let (one, other) = (turns.of_pod().await, turns.of_pod().await);
        assert_eq!(turns.alone(async { 2 }).await, None);
        drop((one, other));
        assert_eq!(turns.alone(async { 3 }).await, Some(3));
    }

    #[tokio::test]
    async fn a_gc_that_hangs_is_ended_for_a_pod() {
        let turns = Turns::default();
        let (ended, _turn) = tokio::join!(turns.alone(pending::<()>()), turns.of_pod());
        assert_eq!(ended, None);
    }
}
