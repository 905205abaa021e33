//! What is live of one pod or container beside its record: who acts on it, who waits for it, how it is stopped, its monitor. All
//! versions of a record share one, from its first on; it goes with the last that somebody holds.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use linkspan_runtime_oci::monitor::Monitor;
use tokio::sync::watch;

use crate::container::stop::Stops;
use crate::locks::{Lock, lock};
use crate::plugins::StopNews;
use crate::stats::Sample;

/// A record's. It is not part of what is recorded: any two are equal.
#[derive(Default)]
pub(crate) struct Entry<T>(Arc<Live<T>>);

/// What both kinds have.
#[derive(Debug, Default)]
pub(crate) struct Live<T> {
    /// Who acts on it. Order, where both are held: the sandbox's before its container's.
    pub(crate) lock: Lock,
    /// Held while its record is read, changed and written.
    pub(crate) writing: Mutex<()>,
    /// Rings when its record has changed, or is gone.
    pub(crate) changed: watch::Sender<()>,
    /// The last reading of its cgroup, for rates.
    pub(crate) sample: Mutex<Option<Sample>>,
    of_kind: T,
}

pub(crate) type PodEntry = Entry<PodLive>;
pub(crate) type ContainerEntry = Entry<ContainerLive>;

#[derive(Debug, Default)]
pub(crate) struct PodLive {
    monitor: Mutex<Option<Monitor>>,
}

#[derive(Debug, Default)]
pub(crate) struct ContainerLive {
    /// While it is held, the container's end is not told: it comes after its start.
    pub(crate) starting: Lock,
    /// Changes of its limits.
    pub(crate) limits: Lock,
    pub(crate) stops: Stops,
    pub(crate) stop_news: StopNews,
}

impl<T> Deref for Entry<T> {
    type Target = Live<T>;

    fn deref(&self) -> &Live<T> {
        &self.0
    }
}

impl<T> Deref for Live<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.of_kind
    }
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> fmt::Debug for Entry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}

impl PodLive {
    /// While it is connected.
    pub(crate) fn monitor(&self) -> Option<Monitor> {
        self.lock().clone()
    }

    pub(crate) fn set_monitor(&self, monitor: Monitor) {
        *self.lock() = Some(monitor);
    }

    pub(crate) fn take_monitor(&self) -> Option<Monitor> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Monitor>> {
        lock(&self.monitor)
    }
}
