//! What happened to sandboxes and containers, told after it is on disk and in memory.

use linkspan_runtime_oci::Timestamp;

/// CRI `ContainerEventType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Created,
    Started,
    Stopped,
    Deleted,
}

/// CRI `ContainerEventResponse`, without the statuses: whoever wants them asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// A container's, or a sandbox's: CRI tells of both alike.
    pub id: String,
    pub kind: EventKind,
    pub at: Timestamp,
}
