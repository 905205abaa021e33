//! One task at a time acts on an object.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::operations::stage;

const TURN: &str = "waits for what else acts on it";

/// What it guards, also if somebody has panicked who held it.
pub(crate) fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of one object. Fair: who asked first goes first, so that a stop is not starved by creates.
#[derive(Debug, Default)]
pub(crate) struct Lock(Arc<RwLock<()>>);

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

impl Lock {
    /// Takes a place in the row at once, and waits for nobody: who asks later goes later.
    pub(crate) fn in_line(&self) -> InLine {
        // The first poll takes the place. A task's budget must not put it off.
        let mut waiting = Box::pin(tokio::task::unconstrained(Arc::clone(&self.0).write_owned()));
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(held) => InLine(Box::pin(std::future::ready(held))),
            Poll::Pending => InLine(waiting),
        }
    }

    pub(crate) async fn exclusive(&self) -> Exclusive {
        stage(TURN, Arc::clone(&self.0).write_owned()).await
    }

    pub(crate) async fn shared(&self) -> Shared {
        stage(TURN, Arc::clone(&self.0).read_owned()).await
    }
}

#[cfg(test)]
mod tests {
    use futures_test::poll_once;

    use super::Lock;

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
    fn one_writes_and_nobody_beside_it() {
        let lock = Lock::default();
        let held = poll_once(lock.exclusive());
        assert!(held.is_some());
        assert!(poll_once(lock.exclusive()).is_none());
        assert!(poll_once(lock.shared()).is_none());
        drop(held);
        assert!(poll_once(lock.exclusive()).is_some());
    }

    #[test]
    fn a_place_in_the_row_is_taken_at_once() {
        let lock = Lock::default();
        let held = poll_once(lock.exclusive());
        let first = lock.in_line();
        let mut later = std::pin::pin!(lock.exclusive());
        assert!(poll_once(later.as_mut()).is_none());
        drop(held);
        assert!(poll_once(later.as_mut()).is_none(), "another was there before");
        let held = poll_once(first.turn());
        assert!(held.is_some());
        drop(held);
        assert!(poll_once(later.as_mut()).is_some());
    }
}
