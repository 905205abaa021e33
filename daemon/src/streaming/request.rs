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
