//! One attach or detach of a pod at a time: a detach may come while an abandoned attach still runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::locks::lock;
use tokio::sync::OwnedMutexGuard;

type Locks = Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>;

/// Locks by name, kept only while somebody has or wants them.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamedLocks {
    locks: Locks,
}

/// Unlocks and forgets.
#[derive(Debug)]
pub(crate) struct NamedGuard {
    name: String,
    locks: Locks,
    guard: Option<OwnedMutexGuard<()>>,
}

impl NamedLocks {
    /// Waits for the name. Cancelling is safe.
    pub(crate) async fn lock(&self, name: &str) -> NamedGuard {
        let lock = {
            let mut locks = lock(&self.locks);
            locks.entry(name.to_owned()).or_default().clone()
        };
        // Made before the wait, so that a waiter who leaves is forgotten, too.
        let mut guard = NamedGuard { name: name.to_owned(), locks: self.locks.clone(), guard: None };
        guard.guard = Some(lock.lock_owned().await);
        guard
    }
}

impl Drop for NamedGuard {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = lock(&self.locks);
        // One is the map's own: nobody has it or waits for it.
        if locks.get(&self.name).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.name);
        }
    }
}
