//! A container's life.
//!
//! ```text
//! AwaitsRestore ─start─▶ Running: made of a checkpoint; its processes come with the start
//! Created ─start─▶ Running ─exit─▶ Exited ─remove─▶ (gone)
//!    └──────────────stop──────────────▲
//! Unknown: its monitor is lost and its process is still there; it is killed and becomes Exited.
//! ```

use linkspan_runtime_oci::{Process, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::ContainerState;

/// What is true of a container, and exactly what is known then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// The request was accepted; a crash now is undone by recovery. Never visible.
    Creating,
    /// The runtime's `create` is done; `process` waits to become the container's command.
    Created {
        process: Process,
    },
    /// Made of a checkpoint: its root file system and images are there, the runtime does not know it yet.
    AwaitsRestore,
    Running {
        process: Process,
        since: Timestamp,
    },
    Exited(Exited),
    Unknown {
        process: Process,
        since: Timestamp,
    },
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Exited {
    /// Zero if it never ran.
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Timestamp,
    pub(crate) exit_code: i32,
    pub(crate) oom_killed: bool,
    /// For people; empty if the exit code says it all.
    pub(crate) message: String,
}

impl Exited {
    /// CRI `ContainerStatus.reason`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self { oom_killed: true, .. } => "OOMKilled",
            Self { exit_code: 0, .. } => "Completed",
            Self { .. } => "Error",
        }
    }
}

/// Exit code of a container whose own was lost.
pub(crate) const EXIT_CODE_LOST: i32 = 255;

impl State {
    pub(crate) fn for_cri(&self) -> ContainerState {
        match self {
            Self::Creating | Self::Created { .. } | Self::AwaitsRestore => ContainerState::Created,
            Self::Running { .. } => ContainerState::Running,
            Self::Exited(_) => ContainerState::Exited,
            Self::Unknown { .. } => ContainerState::Unknown,
        }
    }

    /// The container's init, while it may be alive.
    pub(crate) fn process(&self) -> Option<&Process> {
        match self {
            Self::Created { process } | Self::Running { process, .. } | Self::Unknown { process, .. } => {
                Some(process)
            }
            Self::Creating | Self::AwaitsRestore | Self::Exited(_) => None,
        }
    }

    /// Zero until it happens.
    pub(crate) fn started_at(&self) -> Timestamp {
        match self {
            Self::Running { since, .. } | Self::Unknown { since, .. } => *since,
            Self::Exited(exited) => exited.started_at,
            Self::Creating | Self::Created { .. } | Self::AwaitsRestore => Timestamp::default(),
        }
    }

    /// After `start` succeeded at `now`. A container may be gone before we come to note that it ran.
    pub(crate) fn started(&self, now: Timestamp) -> Option<Self> {
        match self {
            Self::Created { process } => Some(Self::Running { process: *process, since: now }),
            Self::Exited(exited) if exited.started_at == Timestamp::default() => {
                let started_at = now.min(exited.finished_at);
                Some(Self::Exited(Exited { started_at, ..exited.clone() }))
            }
            Self::Creating
            | Self::AwaitsRestore
            | Self::Running { .. }
            | Self::Exited(_)
            | Self::Unknown { .. } => None,
        }
    }

    /// After the runtime has restored it at `now`.
    pub(crate) fn restored(&self, process: Process, now: Timestamp) -> Option<Self> {
        matches!(self, Self::AwaitsRestore).then_some(Self::Running { process, since: now })
    }

    /// After its process ended. The first report counts.
    pub(crate) fn exited(
        &self,
        finished_at: Timestamp,
        exit_code: i32,
        oom_killed: bool,
        message: &str,
    ) -> Option<Self> {
        match self {
            Self::Exited(_) => None,
            Self::Creating
            | Self::AwaitsRestore
            | Self::Created { .. }
            | Self::Running { .. }
            | Self::Unknown { .. } => {
                let message = message.to_owned();
                let started_at = self.started_at();
                Some(Self::Exited(Exited { started_at, finished_at, exit_code, oom_killed, message }))
            }
        }
    }
}

/// What may be asked of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Start,
    Stop,
    Remove,
    Update,
    Exec,
    ReopenLog,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proceed,
    AlreadyDone,
    Refuse(Refused),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NotCreated,
    NotRunning,
    HasExited,
}

/// What a request may do in the present state. Pure: no clock, lock or I/O.
pub(crate) fn admit(state: &State, request: Request) -> Verdict {
    use Request::{Exec, Remove, ReopenLog, Start, Stop, Update};
    use State::{AwaitsRestore, Created, Creating, Exited, Running, Unknown};
    use Verdict::{AlreadyDone, Proceed, Refuse};
    match (state, request) {
        (Created { .. }, Start | Exec | ReopenLog | Update) | (AwaitsRestore, Start | Stop) => Proceed,
        (Running { .. }, Exec | ReopenLog | Update) => Proceed,
        (Created { .. } | Running { .. } | Unknown { .. }, Stop) => Proceed,
        (Exited(_), Stop) => AlreadyDone, // CRI: StopContainer is idempotent.
        (_, Remove) => Proceed,           // CRI: a running container is removed by force.
        (Creating | Running { .. } | Exited(_) | Unknown { .. }, Start) => Refuse(Refused::NotCreated),
        (Exited(_), Update) => Refuse(Refused::HasExited),
        (Exited(_) | Creating | AwaitsRestore | Unknown { .. }, Exec | ReopenLog) => {
            Refuse(Refused::NotRunning)
        }
        (Creating, Stop | Update) | (AwaitsRestore | Unknown { .. }, Update) => Refuse(Refused::NotRunning),
    }
}

#[cfg(test)]
mod tests;
