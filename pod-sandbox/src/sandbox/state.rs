//! A sandbox's life.
//!
//! ```text
//! Creating ──▶ Ready ─stop begins, pause died, reboot─▶ NotReady ─stop ends─▶ Stopped ─remove─▶ (gone)
//! ```

use linkspan_runtime_oci::{Process, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::SandboxState;

/// What is true of a sandbox, and exactly what is held then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// The request was accepted; a crash now is undone by recovery. Never visible.
    Creating,
    /// Network, namespaces, cgroup and pause are there; with kind `oci`, the container in pause's place.
    Ready { pause: Process },
    /// No container may be created any more. All that it held is still to be let go of by StopPodSandbox.
    NotReady { since: Timestamp },
    /// StopPodSandbox has ended: only directories, records and cgroups are left.
    Stopped { since: Timestamp },
}

impl State {
    pub(crate) fn for_cri(&self) -> SandboxState {
        match self {
            Self::Ready { .. } => SandboxState::Ready,
            Self::Creating | Self::NotReady { .. } | Self::Stopped { .. } => SandboxState::NotReady,
        }
    }

    pub(crate) fn pause(&self) -> Option<&Process> {
        match self {
            Self::Ready { pause } => Some(pause),
            Self::Creating | Self::NotReady { .. } | Self::Stopped { .. } => None,
        }
    }

    /// Stop begins, or pause died, or the host was rebooted.
    pub(crate) fn not_ready(&self, now: Timestamp) -> Option<Self> {
        match self {
            Self::Creating | Self::Ready { .. } => Some(Self::NotReady { since: now }),
            Self::NotReady { .. } | Self::Stopped { .. } => None,
        }
    }

    /// Stop has ended.
    pub(crate) fn stopped(&self, now: Timestamp) -> Option<Self> {
        match self {
            Self::Creating | Self::Ready { .. } | Self::NotReady { .. } => Some(Self::Stopped { since: now }),
            Self::Stopped { .. } => None,
        }
    }
}

/// What may be asked of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    CreateContainer,
    StartContainer,
    Update,
    Stop,
    Remove,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proceed,
    AlreadyDone,
    RefuseNotReady,
}

/// What a request may do in the present state. Pure: no clock, lock or I/O.
pub(crate) fn admit(state: &State, request: Request) -> Verdict {
    use Request::{CreateContainer, Remove, StartContainer, Stop, Update};
    use State::{Creating, NotReady, Ready, Stopped};
    match (state, request) {
        (Ready { .. }, CreateContainer | StartContainer | Update) => Verdict::Proceed,
        (Creating | NotReady { .. } | Stopped { .. }, CreateContainer | StartContainer | Update) => {
            Verdict::RefuseNotReady
        }
        (Stopped { .. }, Stop) => Verdict::AlreadyDone, // CRI: StopPodSandbox is idempotent.
        (Creating | Ready { .. } | NotReady { .. }, Stop) => Verdict::Proceed,
        (_, Remove) => Verdict::Proceed, // CRI: containers still running are removed by force.
    }
}

#[cfg(test)]
mod tests;
