//! The thread that writes all logs of the pod: it alone waits for the disk that they are on.
//!
//! Orders are carried out one after the other, so that what was ordered before a mark, a reopening or a removal has been
//! done by then. Nothing else of the monitor waits for it but what says so.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use linkspan_monitor::protocol::Failure;
use rustix::event::{EventfdFlags, eventfd};

use super::file::LogFile;
use crate::note::note;
use crate::pod::Caller;
use crate::poll::{Key, Kind, Poll, Source, Watch};

/// What of one container may wait for the disk before it is not read any more. One read, formatted, comes on top.
const FULL_BYTES: usize = 256 * 1024;
/// What pipes of the usual size hold makes less than this, unless the lines are very short.
const OVERFULL_BYTES: usize = 4 * 1024 * 1024;
/// It is read again from here on.
const ROOM_BYTES: usize = FULL_BYTES / 2;
/// It opens and writes files.
const STACK_BYTES: usize = 128 * 1024;
/// Of no container: [`Writer::finish`] marks with it.
const THE_END: Key = 0;

/// What is to be done with a container's log.
pub(super) enum Order {
    Open { key: Key, path: PathBuf, counts: Arc<Counts> },
    Write { key: Key, batch: Vec<u8> },
    Reopen { key: Key, caller: Caller },
    Close { key: Key },
    Discard { key: Key, then: Option<(Caller, Failure)> },
    Mark { key: Key },
}

/// What has been done.
pub(crate) enum Told {
    Opened {
        key: Key,
        outcome: io::Result<()>,
    },
    Reopened {
        caller: Caller,
        outcome: io::Result<()>,
    },
    Discarded {
        caller: Caller,
        failure: Failure,
    },
    /// All that was queued before the mark is in its file.
    Written {
        key: Key,
    },
    /// A queue that was full is not any more.
    Room {
        key: Key,
    },
}

/// Bytes of one container.
#[derive(Default)]
pub(super) struct Counts {
    queued: AtomicUsize,
    dropped: AtomicU64,
    /// Somebody wants to be told when there is room.
    is_awaited: AtomicBool,
}

impl Counts {
    pub(super) fn add(&self, bytes: usize) {
        self.queued.fetch_add(bytes, Ordering::SeqCst);
    }

    pub(super) fn are_full(&self) -> bool {
        if self.queued.load(Ordering::SeqCst) < FULL_BYTES {
            return false;
        }
        self.is_awaited.store(true, Ordering::SeqCst);
        // What is above this is still to be written, and whoever writes it will see who waits.
        self.queued.load(Ordering::SeqCst) > ROOM_BYTES
    }

    pub(super) fn are_overfull(&self) -> bool {
        self.queued.load(Ordering::SeqCst) >= OVERFULL_BYTES
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether somebody is to be told of it.
    pub(super) fn written(&self, bytes: usize, dropped: usize) -> bool {
        self.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
        let left = self.queued.fetch_sub(bytes, Ordering::SeqCst) - bytes;
        left <= ROOM_BYTES && self.is_awaited.swap(false, Ordering::SeqCst)
    }
}

/// The queue's near end.
#[derive(Clone)]
pub(super) struct Orders(mpsc::Sender<Order>);

impl Orders {
    /// False: the thread has ended.
    pub(super) fn send(&self, order: Order) -> bool {
        self.0.send(order).is_ok()
    }
}

/// The loop's side. The thread begins with the first log.
pub(crate) struct Writer {
    orders: Option<Orders>,
    told: mpsc::Receiver<Told>,
    teller: mpsc::Sender<Told>,
    /// Rung for all that is told.
    bell: Watch,
}

impl Writer {
    pub(crate) fn new(poll: &Poll) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let bell = poll.watch_readable(bell, Source::new(Kind::LogWriter, 0))?;
        let (teller, told) = mpsc::channel();
        Ok(Self { orders: None, told, teller, bell })
    }

    pub(super) fn orders(&mut self) -> io::Result<Orders> {
        if let Some(orders) = &self.orders {
            return Ok(orders.clone());
        }
        let (sender, orders) = mpsc::channel();
        let thread = Thread {
            logs: BTreeMap::new(),
            told: self.teller.clone(),
            bell: std::os::fd::AsFd::as_fd(&self.bell).try_clone_to_owned()?,
        };
        let named = std::thread::Builder::new().name("logs".to_owned()).stack_size(STACK_BYTES);
        named.spawn(move || thread.run(&orders))?;
        Ok(self.orders.insert(Orders(sender)).clone())
    }

    /// What has been told since the last time.
    pub(crate) fn take(&mut self) -> Vec<Told> {
        // First: what is told after this rings again.
        let _ = rustix::io::read(&self.bell, &mut [0_u8; 8]);
        self.told.try_iter().collect()
    }

    pub(super) fn send(&self, order: Order) -> bool {
        self.orders.as_ref().is_some_and(|orders| orders.send(order))
    }

    /// Before the monitor ends: what is queued is written, unless that takes too long.
    pub(crate) fn finish(&self, most: Duration) {
        let by = Instant::now() + most;
        if !self.send(Order::Mark { key: THE_END }) {
            return;
        }
        while let Ok(told) = self.told.recv_timeout(by.saturating_duration_since(Instant::now())) {
            if matches!(told, Told::Written { key: THE_END }) {
                return;
            }
        }
        note("the disk of the logs does not answer: the last output is not written");
    }
}

struct Thread {
    logs: BTreeMap<Key, (LogFile, Arc<Counts>)>,
    told: mpsc::Sender<Told>,
    bell: OwnedFd,
}

impl Thread {
    /// Until nobody can order anything.
    fn run(mut self, orders: &mpsc::Receiver<Order>) {
        for order in orders {
            // A mistake of ours about one log must not take the others with it.
            match catch_unwind(AssertUnwindSafe(|| self.carry_out(order))) {
                Ok(Some(told)) => self.tell(told),
                Ok(None) => {}
                Err(_) => note("went on after a panic over a log"),
            }
        }
    }

    fn tell(&self, told: Told) {
        // Nobody hears it only when the monitor ends.
        let _ = self.told.send(told);
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn carry_out(&mut self, order: Order) -> Option<Told> {
        match order {
            Order::Open { key, path, counts } => {
                let opened = LogFile::open(path).map(|file| drop(self.logs.insert(key, (file, counts))));
                Some(Told::Opened { key, outcome: opened })
            }
            Order::Write { key, batch } => {
                let (file, counts) = self.logs.get_mut(&key)?;
                let dropped = file.append(&batch);
                counts.written(batch.len(), dropped).then_some(Told::Room { key })
            }
            Order::Reopen { key, caller } => {
                let file = self.logs.get_mut(&key);
                let outcome = file.map_or(Ok(()), |(file, _)| file.reopen());
                Some(Told::Reopened { caller, outcome })
            }
            Order::Close { key } => {
                self.logs.remove(&key);
                None
            }
            Order::Discard { key, then } => {
                if let Some((file, _)) = self.logs.remove(&key) {
                    file.discard();
                }
                then.map(|(caller, failure)| Told::Discarded { caller, failure })
            }
            Order::Mark { key } => Some(Told::Written { key }),
        }
    }
}
