//! One task at a time acts on an ID.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::operations::stage;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

const TURN: &str = "waits for what else acts on it";

/// Locks by ID. Fair: who asked first goes first, so that a stop is not starved by creates.
///
/// Order, where both are held: the sandbox's before its container's.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    by_id: Mutex<HashMap<String, Weak<RwLock<()>>>>,
}

/// Held while a task changes the object.
pub(crate) type Exclusive = OwnedRwLockWriteGuard<()>;
/// Held while a task needs the object to stay as it is.
pub(crate) type Shared = OwnedRwLockReadGuard<()>;

/// A place in the row of those who want a lock.
pub(crate) struct InLine(Pin<Box<dyn Future<Output = Exclusive> + Send>>);

impl InLine {
    /// Waits until it is its turn.
    pub(crate) async fn turn(self) -> Exclusive {
        self.0.await
    }
}

impl Locks {
    /// Takes a place in the row at once, and waits for nobody: who asks later goes later.
    pub(crate) fn in_line(&self, id: &str) -> InLine {
        // The first poll takes the place. A task's budget must not put it off.
        let mut waiting = Box::pin(tokio::task::unconstrained(self.of(id).write_owned()));
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(held) => InLine(Box::pin(std::future::ready(held))),
            Poll::Pending => InLine(waiting),
        }
    }

    pub(crate) async fn exclusive(&self, id: &str) -> Exclusive {
        stage(TURN, self.of(id).write_owned()).await
    }

    pub(crate) async fn shared(&self, id: &str) -> Shared {
        stage(TURN, self.of(id).read_owned()).await
    }

    fn of(&self, id: &str) -> Arc<RwLock<()>> {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = by_id.get(id).and_then(Weak::upgrade) {
            return lock;
        }
        by_id.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(RwLock::new(()));
        by_id.insert(id.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures_test::poll_once;

    use super::Locks;

    mod futures_test {
        use std::future::Future;
        use std::pin::pin;
        use std::task::{Context, Poll, Waker};

        pub(super) fn poll_once<F: Future>(future: F) -> Option<F::Output> {
            match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            }
        }
    }

    #[test]
    fn an_id_has_one_writer_and_others_are_free() {
        let locks = Locks::default();
        let held = poll_once(locks.exclusive("a"));
        assert!(held.is_some());
        assert!(poll_once(locks.exclusive("a")).is_none());
        assert!(poll_once(locks.shared("a")).is_none());
        assert!(poll_once(locks.exclusive("b")).is_some());
        drop(held);
        assert!(poll_once(locks.exclusive("a")).is_some());
    }

    #[test]
    fn a_place_in_the_row_is_taken_at_once() {
        let locks = Locks::default();
        let held = poll_once(locks.exclusive("a"));
        let first = locks.in_line("a");
        let mut later = std::pin::pin!(locks.exclusive("a"));
        assert!(poll_once(later.as_mut()).is_none());
        drop(held);
        assert!(poll_once(later.as_mut()).is_none(), "another was there before");
        let held = poll_once(first.turn());
        assert!(held.is_some());
        drop(held);
        assert!(poll_once(later.as_mut()).is_some());
    }

    #[test]
    fn locks_nobody_holds_are_forgotten() {
        let locks = Locks::default();
        for id in 0..100 {
            drop(poll_once(locks.exclusive(&id.to_string())));
        }
        assert!(locks.by_id.lock().unwrap().len() <= 1);
    }
}
