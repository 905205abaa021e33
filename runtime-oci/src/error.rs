//! What can go wrong between us and an OCI runtime.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use linkspan_monitor::protocol::FailureKind;

/// Errors of this crate; each variant is something that a caller could act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request asks for something that no spec can express: the caller's mistake.
    #[error("{field}: {reason}")]
    BadSpec {
        /// The field of [`crate::spec::SpecInput`], in CRI's words.
        field: String,
        reason: String,
    },
    /// The runtime cannot make recursive read-only mounts (`rro`).
    #[error(
        "mounts.recursive_read_only of {container_path}: the runtime does not support recursive read-only mounts (among \
         the mount options that its `features` names, there is no `rro`)"
    )]
    RecursiveReadOnlyUnsupported { container_path: String },
    /// A name that the root file system's passwd or group does not have.
    #[error("no {kind} named {name:?} in the image's {file}")]
    NoSuchName {
        /// `user` or `group`.
        kind: &'static str,
        name: String,
        file: &'static str,
    },
    /// A seccomp profile that is not JSON, or names an unknown action or architecture.
    #[error("seccomp profile: {reason}")]
    BadSeccompProfile { reason: String },
    /// A file of an OCI hooks directory: the node's administrator has to mend it.
    #[error("OCI hook file {}: {reason}", path.display())]
    BadHookFile { path: PathBuf, reason: String },
    /// A handler's `base_spec`: the node's administrator has to mend it.
    #[error("base_spec {}: {reason}", path.display())]
    BadBaseSpec { path: PathBuf, reason: String },
    /// The runtime's binary could not be started.
    #[error("starting runtime {}: {source}", path.display())]
    RuntimeMissing { path: PathBuf, source: io::Error },
    /// What the runtime can do is not known: its `features` hangs, or died. It is asked again.
    #[error("runtime handler {runtime:?}: asking {} for its features: {reason}", path.display())]
    NoFeatures { runtime: String, path: PathBuf, reason: String },
    /// The runtime ran and said no; `message` is in its own words.
    #[error("{runtime} {verb} {id}: {message}")]
    Runtime { runtime: String, verb: &'static str, id: String, message: String },
    /// The runtime does not know the container.
    #[error("{runtime}: no container {id}")]
    NoSuchContainer { runtime: String, id: String },
    /// A deadline passed; `what` names the wait.
    #[error("{what} did not end within {after:?}")]
    TimedOut { what: String, after: Duration },
    /// The group does not exist.
    #[error("no cgroup {path}")]
    NoSuchCgroup { path: String },
    /// Processes were still in the group when the time to remove it had passed.
    #[error("cgroup {path} still has processes: {pids:?}")]
    CgroupBusy { path: String, pids: Vec<i32> },
    /// The container has exited.
    #[error("container {id} is not running")]
    NotRunning { id: String },
    /// The container runs, or the runtime still makes it.
    #[error("container {id} still runs")]
    StillRuns { id: String },
    /// There is no monitor, or it died during the call.
    #[error("{what}: the monitor is gone: {reason}")]
    MonitorLost { what: String, reason: String },
    /// The monitor said no, in its own words.
    #[error("{what}: {message}")]
    MonitorRefused { what: String, kind: FailureKind, message: String },
    /// The monitor could not be started, or does not keep to the protocol.
    #[error("{what}: {message}")]
    Monitor { what: String, message: String },
    /// Known to us, and not built yet.
    #[error("not implemented: {0}")]
    Unimplemented(&'static str),
    /// A system call or file access failed; `what` says what was tried, with the path.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl Error {
    /// For `map_err` after a file access: says what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The same for `rustix` calls.
    pub(crate) fn sys(what: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let what = what.into();
        move |errno| Self::Io { what, source: errno.into() }
    }

    /// A request's field that cannot be honoured.
    pub(crate) fn bad(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::BadSpec { field: field.into(), reason: reason.into() }
    }
}
