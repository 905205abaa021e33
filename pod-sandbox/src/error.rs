//! What can go wrong with a pod or a container.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{ContainerState, SandboxState};

/// Errors of this crate; each variant is something that a caller could act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no sandbox {0:?}")]
    NoSuchSandbox(String),
    #[error("no container {0:?}")]
    NoSuchContainer(String),
    /// CRI: a shortened ID that fits several is as good as none.
    #[error("{id:?} is the beginning of more than one ID")]
    Ambiguous { id: String },
    /// Exec wants a process to be there (CRI: NotFound, the kubelet relies on it).
    #[error("container {id} is not created or running, but {state:?}")]
    NotRunning { id: String, state: ContainerState },
    /// The object's present state does not allow the request.
    #[error("{0}")]
    Refused(Refusal),
    /// The caller's mistake, in the field named with CRI's words.
    #[error("{field}: {reason}")]
    BadConfig { field: String, reason: String },
    /// A deadline passed; `what` names the wait.
    #[error("{what} did not end within {after:?}")]
    TimedOut { what: String, after: Duration },
    /// CRI `ContainerConfig.image`: it is not on this node.
    #[error("image {0:?} is not on this node")]
    NoSuchImage(String),
    /// CRI `Mount.image`: it could not be mounted; the kubelet counts these.
    #[error("{field}: {source}")]
    ImageVolume { field: String, source: Box<Self> },
    #[error(transparent)]
    Image(#[from] linkspan_image::Error),
    #[error(transparent)]
    Runtime(linkspan_runtime_oci::Error),
    #[error(transparent)]
    Network(crate::network::Error),
    #[error(transparent)]
    Namespaces(crate::namespaces::Error),
    /// Others have a say in pods and containers, and do not agree.
    #[error(transparent)]
    Plugin(#[from] crate::plugins::PluginError),
    /// PortForward: nobody listens there, most likely.
    #[error("cannot connect to port {port} in the pod: {source}")]
    PortUnreachable { port: u16, source: io::Error },
    /// The pod's monitor was there when the daemon started and has not answered; or it is lost, and the pod ends.
    #[error("the monitor of sandbox {sandbox} does not answer, or is lost")]
    NoMonitor { sandbox: String },
    /// The configuration has lost the handler that a pod was made with.
    #[error(
        "runtime handler {name:?} of this pod is not configured any more: configure it again, or remove the pod, which works \
         without it"
    )]
    NoHandler { name: String },
    /// A path that the pod or the node named is on a file system that does not answer.
    #[error("{stage} {}: {reason}", path.display())]
    FileSystemHangs { stage: &'static str, path: PathBuf, reason: String },
    /// A file, directory or mount of ours.
    #[error("{what} {path}: {source}")]
    Store { what: &'static str, path: PathBuf, source: io::Error },
    /// The task that did the work ended without an answer; a bug.
    #[error("the task of {what} ended without an answer")]
    Lost { what: String },
    /// The same error as the request that this one joined.
    #[error(transparent)]
    Joined(Arc<Self>),
    /// The host or the handler's runtime cannot checkpoint or restore; it says what would help.
    #[error("no checkpoints: {0}")]
    NoCheckpoint(String),
    /// Known to us, and not built yet.
    #[error("not implemented: {0}")]
    Unimplemented(&'static str),
}

/// Why the present state does not allow a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// StartContainer wants a container that was created and never started.
    #[error("container {id} is not created, but {state:?}")]
    NotCreated { id: String, state: ContainerState },
    #[error("container {id} is not running, but {state:?}")]
    NotRunning { id: String, state: ContainerState },
    /// UpdateContainerResources.
    #[error("container {id} has exited")]
    Exited { id: String },
    /// UpdateContainerResources: the kernel would kill its processes to make it true.
    #[error(
        "container {id} uses {usage_bytes} bytes of memory, more than the limit of {limit_bytes} that is asked for"
    )]
    MemoryInUse { id: String, usage_bytes: u64, limit_bytes: i64 },
    /// The grace period is over and the container is being killed.
    #[error("container {id} is being killed")]
    BeingKilled { id: String },
    #[error("sandbox {id} is not ready, but {state:?}")]
    SandboxNotReady { id: String, state: SandboxState },
    #[error("sandbox {id} is being stopped")]
    SandboxStopping { id: String },
    /// RunPodSandbox.
    #[error("sandbox {id} has this metadata and is {state:?}: remove it, or ask for another attempt")]
    SandboxMetadataTaken { id: String, state: SandboxState },
    /// CreateContainer.
    #[error("container {id} has this metadata and is {state:?}: remove it, or ask for another attempt")]
    ContainerMetadataTaken { id: String, state: ContainerState },
    /// The daemon is on its way down.
    #[error("the daemon is shutting down")]
    ShuttingDown,
}

impl Error {
    /// For `map_err`: an I/O error with what was tried on which path.
    pub(crate) fn store(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Store { what, path, source }
    }

    /// The same for `rustix` calls.
    pub(crate) fn sys(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.into();
        move |errno| Self::Store { what, path, source: errno.into() }
    }

    /// A request's field that cannot be honoured.
    pub(crate) fn bad(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::BadConfig { field: field.into(), reason: reason.into() }
    }
}

/// The caller's mistakes keep their field, wherever they are noticed.
impl From<linkspan_runtime_oci::Error> for Error {
    fn from(error: linkspan_runtime_oci::Error) -> Self {
        use linkspan_runtime_oci::Error as Runtime;
        let reason = error.to_string();
        match error {
            Runtime::BadSpec { field, reason } => Self::BadConfig { field, reason },
            Runtime::NoSuchName { kind, .. } => Self::bad(format!("the container's {kind}"), reason),
            Runtime::BadSeccompProfile { reason } => {
                Self::bad("config.linux.security_context.seccomp.localhost_ref", reason)
            }
            Runtime::TimedOut { what, after } => Self::TimedOut { what, after },
            error => Self::Runtime(error),
        }
    }
}

impl From<crate::network::Error> for Error {
    fn from(error: crate::network::Error) -> Self {
        match error {
            crate::network::Error::BadRequest { pod, message } => {
                Self::bad("config", format!("network of pod {pod}: {message}"))
            }
            error => Self::Network(error),
        }
    }
}

impl From<crate::namespaces::Error> for Error {
    fn from(error: crate::namespaces::Error) -> Self {
        match error {
            crate::namespaces::Error::Sysctl { name, reason } => {
                Self::bad(format!("config.linux.sysctls[{name:?}]"), reason)
            }
            error => Self::Namespaces(error),
        }
    }
}
