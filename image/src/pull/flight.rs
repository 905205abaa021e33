//! Layers on their way in, so that two pulls do not fetch the same one.
//!
//! A layer's turn is held from before the fetch until it is published, and publishing waits for the layers
//! below. That cannot end in a circle: chain IDs name all that is below them, so a pull only ever waits for
//! turns of lower layers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::Digest;

type Turns = HashMap<Digest, Arc<tokio::sync::Mutex<()>>>;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Flight {
    turns: Arc<Mutex<Turns>>,
}

/// The right to bring one layer in.
pub(super) struct Turn {
    flight: Flight,
    chain_id: Digest,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Flight {
    /// Waits until nobody else is bringing this layer in. Then look whether it is there.
    pub(super) async fn turn(&self, chain_id: &Digest) -> Turn {
        let lock = self.turns().entry(chain_id.clone()).or_default().clone();
        let mut turn = Turn { flight: self.clone(), chain_id: chain_id.clone(), guard: None };
        turn.guard = Some(lock.lock_owned().await);
        turn
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.flight.turns();
        drop(self.guard.take());
        // Only the map knows it: nobody holds it and nobody waits.
        if turns.get(&self.chain_id).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            turns.remove(&self.chain_id);
        }
    }
}
