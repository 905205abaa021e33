//! A container's log, in CRI's format: lines are made here, and written by a thread of their own.
//!
//! ```text
//! a stream's bytes ─▶ lines ─▶ queue, bounded for each container ─▶ writer ─▶ file
//!        ▲                       │ full                               │ opened, reopened, written up to here, room again
//!        └── not read any more ──┘                                    └─▶ the loop
//! ```

mod file;
mod format;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;

use linkspan_monitor::protocol::Failure;

use crate::pod::Caller;
use crate::poll::Key;

pub(crate) use format::{Formatter, Stream};
use writer::{Counts, Order, Orders};
pub(crate) use writer::{Told, Writer};

/// Formatted output is queued when it is longer than this, so that a read full of newlines costs no megabytes at once.
const BATCH_BYTES: usize = 64 * 1024;

/// Where a container's output goes. Without a path it is dropped.
pub(crate) struct Log {
    /// Its container's.
    key: Key,
    /// `None`: nobody wants the output, or all of it is queued.
    orders: Option<Orders>,
    formatter: Formatter,
    counts: Arc<Counts>,
}

impl Log {
    /// Has the file opened: [`Told::Opened`] follows, if there is a path.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(crate) fn open(
        writer: &mut Writer,
        key: Key,
        path: Option<&Path>,
        max_line_bytes: usize,
    ) -> io::Result<Self> {
        let counts = Arc::<Counts>::default();
        let orders = match path {
            Some(path) => {
                let orders = writer.orders()?;
                orders.send(Order::Open { key, path: path.to_path_buf(), counts: Arc::clone(&counts) });
                Some(orders)
            }
            None => None,
        };
        Ok(Self { key, orders, formatter: Formatter::new(max_line_bytes), counts })
    }

    /// Whether there is a file, or will be.
    pub(crate) fn is_kept(&self) -> bool {
        self.orders.is_some()
    }

    /// So much waits for the disk that nothing more is to be read. [`Told::Room`] follows.
    pub(crate) fn is_full(&self) -> bool {
        self.counts.are_full()
    }

    /// The same of what an ended container has left in its pipes: its exit is told after that.
    pub(crate) fn is_overfull(&self) -> bool {
        self.counts.are_overfull()
    }

    /// After a rotation: whoever calls is answered by [`Told::Reopened`]. False: there is nothing to open.
    pub(crate) fn reopen(&self, caller: Caller) -> bool {
        self.send(Order::Reopen { key: self.key, caller })
    }

    /// Formats what was read from a stream, and queues it.
    pub(crate) fn write(&mut self, stream: Stream, now_ns: i64, data: &[u8]) {
        if !self.is_kept() {
            return;
        }
        let mut batch = Vec::new();
        // A chunk may be all newlines: each gets a prefix many times its own length.
        for chunk in data.chunks(BATCH_BYTES / 16) {
            self.formatter.feed(stream, now_ns, chunk, &mut batch);
            if batch.len() >= BATCH_BYTES {
                self.queue(std::mem::take(&mut batch));
            }
        }
        self.queue(batch);
    }

    /// The streams have ended: what had no newline is written as a partial line, and the file is closed.
    pub(crate) fn finish(&mut self, now_ns: i64) {
        let mut batch = Vec::new();
        self.formatter.finish(now_ns, &mut batch);
        self.queue(batch);
        self.send(Order::Close { key: self.key });
        self.orders = None;
    }

    /// [`Told::Written`] follows when all of it that was queued is in the file. `of` is the writer of all logs: this
    /// one's file may be closed already.
    pub(crate) fn mark(&self, of: &Writer) -> bool {
        of.send(Order::Mark { key: self.key })
    }

    /// The container was never made: a file that only we know of goes again, and then the caller is answered by
    /// [`Told::Discarded`]; given back if there is nothing to wait for.
    pub(crate) fn discard(self, caller: Caller, failure: Failure) -> Result<(), (Caller, Failure)> {
        if !self.is_kept() {
            return Err((caller, failure));
        }
        self.send(Order::Discard { key: self.key, then: Some((caller, failure)) });
        Ok(())
    }

    /// The same, whoever has been answered.
    pub(crate) fn abandon(self) {
        self.send(Order::Discard { key: self.key, then: None });
    }

    /// Output lost because the disk was full.
    pub(crate) fn dropped_bytes(&self) -> u64 {
        self.counts.dropped()
    }

    fn queue(&self, batch: Vec<u8>) {
        if let (false, Some(orders)) = (batch.is_empty(), &self.orders) {
            self.counts.add(batch.len());
            orders.send(Order::Write { key: self.key, batch });
        }
    }

    fn send(&self, order: Order) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.send(order))
    }
}

#[cfg(test)]
mod tests;
