//! What sessions may hold of the daemon's memory: bounds, each with who waits for it, and the pool that all sessions
//! borrow from.
//!
//! Some of each bound is a session's own: with it alone every session gets on, slowly, whatever others hold. More is
//! borrowed from the pool as long as that has it, so nobody waits for the pool, and nobody can starve others by it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

/// Of all sessions together, beyond what is each one's own, in bytes.
const POOL_BYTES: usize = 64 << 20;

/// Bytes that all sessions share. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    left: Arc<AtomicUsize>,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self::of(POOL_BYTES)
    }

    pub(crate) fn of(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)) }
    }

    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    /// All of `bytes`, or nothing; given back when the loan is dropped.
    pub(crate) fn lend(&self, bytes: usize) -> Option<Loan> {
        let take = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Loan { pool: self.clone(), bytes })
    }

    /// `bytes`, or what there is of them.
    fn take(&self, bytes: usize) -> usize {
        let take = |left: usize| Some(left.saturating_sub(bytes));
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        before.unwrap_or_default().min(bytes)
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Some of the pool.
#[derive(Debug)]
pub(crate) struct Loan {
    pool: Pool,
    bytes: usize,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes);
    }
}

/// How much of a bound is used, and who waits until some of it is left. Whoever lowers `used` wakes them: there is no
/// other way to lower it.
#[derive(Debug)]
pub(crate) struct Budget {
    used: usize,
    most: usize,
    /// What does not need the pool.
    own: usize,
    loan: Option<Loan>,
    waiting: BTreeMap<u32, Waker>,
}

impl Budget {
    pub(crate) fn new(most: usize) -> Self {
        Self { used: 0, most, own: most, loan: None, waiting: BTreeMap::new() }
    }

    /// What goes beyond `own` is borrowed.
    pub(crate) fn backed(most: usize, own: usize, pool: &Pool) -> Self {
        let loan = Some(Loan { pool: pool.clone(), bytes: 0 });
        Self { used: 0, most, own, loan, waiting: BTreeMap::new() }
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// How much may be taken now.
    pub(crate) fn left(&self) -> usize {
        let beyond_own = self.loan.as_ref().map_or(0, |loan| loan.bytes + loan.pool.left());
        self.most.min(self.own + beyond_own).saturating_sub(self.used)
    }

    /// How much may be taken now; if it is nothing, `waker` is woken once it is something. `who` waits once, with the last
    /// waker.
    pub(crate) fn left_for(&mut self, who: u32, waker: &Waker) -> usize {
        let left = self.left();
        if left > 0 {
            self.waiting.remove(&who);
        } else {
            self.waiting.insert(who, waker.clone());
        }
        left
    }

    /// To be called while something is left: the last one to take may go beyond the bound.
    pub(crate) fn take(&mut self, amount: usize) {
        self.used += amount;
        if let Some(loan) = &mut self.loan {
            let missing = self.used.saturating_sub(self.own + loan.bytes);
            loan.bytes += loan.pool.take(missing);
        }
    }

    pub(crate) fn give_back(&mut self, amount: usize) {
        self.used -= amount;
        if let Some(loan) = &mut self.loan {
            let excess = loan.bytes.saturating_sub(self.used.saturating_sub(self.own));
            loan.bytes -= excess;
            loan.pool.give_back(excess);
        }
        if self.left() > 0 {
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

#[cfg(test)]
mod tests;
