//! What happened to sandboxes and containers, told after it is on disk and in memory.

use std::sync::Arc;

use linkspan_runtime_oci::Timestamp;

use crate::container::record::ContainerRecord;
use crate::model::{ContainerStatus, SandboxStatus};
use crate::sandbox::record::SandboxRecord;

/// CRI `ContainerEventType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Created,
    Started,
    Stopped,
    Deleted,
}

/// CRI `ContainerEventResponse`: what happened, and the pod as it was right after it.
#[derive(Clone, Debug)]
pub struct Event {
    /// A container's, or a sandbox's: CRI tells of both alike.
    pub id: String,
    pub kind: EventKind,
    /// Later than that of every event before, even if the clock was set back.
    pub at: Timestamp,
    pub(crate) pod: Pod,
}

/// A sandbox and its containers, of one moment. Statuses are made of it only for those who ask.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) sandbox: Arc<SandboxRecord>,
    pub(crate) containers: Vec<Arc<ContainerRecord>>,
}

impl Event {
    /// The pod's sandbox; of one that was deleted, the last that was known.
    #[must_use]
    pub fn sandbox(&self) -> SandboxStatus {
        self.pod.sandbox.status()
    }

    /// All that are in the pod after the event.
    #[must_use]
    pub fn containers(&self) -> Vec<ContainerStatus> {
        self.pod.containers.iter().map(|record| record.status()).collect()
    }
}
