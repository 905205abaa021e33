//! Bounds, each with who waits for it.

use std::collections::BTreeMap;
use std::task::Waker;

/// How much of a bound is used, and who waits until some of it is left. Whoever lowers `used` wakes them: there is no
/// other way to lower it.
#[derive(Debug)]
pub(crate) struct Budget {
    used: usize,
    most: usize,
    waiting: BTreeMap<u32, Waker>,
}

impl Budget {
    pub(crate) fn new(most: usize) -> Self {
        Self { used: 0, most, waiting: BTreeMap::new() }
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn is_left(&self) -> bool {
        self.used < self.most
    }

    /// Whether something is left; if not, `waker` is woken once something is. `who` waits once, with the last waker.
    pub(crate) fn is_left_for(&mut self, who: u32, waker: &Waker) -> bool {
        if self.is_left() {
            self.waiting.remove(&who);
            return true;
        }
        self.waiting.insert(who, waker.clone());
        false
    }

    /// To be called while something is left: the last one to take may go beyond the bound.
    pub(crate) fn take(&mut self, amount: usize) {
        self.used += amount;
    }

    pub(crate) fn give_back(&mut self, amount: usize) {
        self.used -= amount;
        if self.is_left() {
            self.dismiss_all();
        }
    }

    /// All who wait; for another reason than that something is left.
    pub(crate) fn dismiss_all(&mut self) {
        std::mem::take(&mut self.waiting).into_values().for_each(Waker::wake);
    }

    /// `who` need not wait any more, and finds out why.
    pub(crate) fn dismiss(&mut self, who: u32) {
        self.waiting.remove(&who).into_iter().for_each(Waker::wake);
    }
}
