//! What a client was promised: the request behind a URL.

use linkspan_pod_sandbox::StreamSet;
use linkspan_pod_sandbox::model::{ContainerId, SandboxId};

/// A checked request, kept until its URL is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ticket {
    Exec { container: ContainerId, command: Vec<String>, streams: StreamSet },
    Attach { container: ContainerId, streams: StreamSet },
    PortForward { sandbox: SandboxId, ports: Vec<u16> },
}

impl Ticket {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Exec { .. } => Kind::Exec,
            Self::Attach { .. } => Kind::Attach,
            Self::PortForward { .. } => Kind::PortForward,
        }
    }

    /// What it is about: a word for it, and its ID.
    pub(super) fn subject(&self) -> (&'static str, &str) {
        match self {
            Self::Exec { container, .. } | Self::Attach { container, .. } => {
                ("container", container.as_str())
            }
            Self::PortForward { sandbox, .. } => ("pod", sandbox.as_str()),
        }
    }

    /// What its command takes of memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Exec { command, .. } => command.iter().map(|word| word.len() + size_of::<String>()).sum(),
            Self::Attach { .. } | Self::PortForward { .. } => 0,
        }
    }

    pub(crate) fn container_id(&self) -> Option<&ContainerId> {
        match self {
            Self::Exec { container, .. } | Self::Attach { container, .. } => Some(container),
            Self::PortForward { .. } => None,
        }
    }

    pub(crate) fn sandbox_id(&self) -> Option<&SandboxId> {
        match self {
            Self::Exec { .. } | Self::Attach { .. } => None,
            Self::PortForward { sandbox, .. } => Some(sandbox),
        }
    }
}

/// Which RPC a URL came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Exec,
    Attach,
    PortForward,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Exec, Self::Attach, Self::PortForward];

    /// The RPC's name, for logs and metrics.
    pub(crate) fn rpc(self) -> &'static str {
        match self {
            Self::Exec => "Exec",
            Self::Attach => "Attach",
            Self::PortForward => "PortForward",
        }
    }

    /// The first part of the URL's path, as in k8s.io/cri-streaming.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portforward",
        }
    }

    pub(super) fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.path() == path)
    }
}
