//! What can go wrong while a pod's namespaces are made.

use std::io;
use std::path::PathBuf;

/// Errors of making, pinning and reading namespaces.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A sysctl that may not be set for this pod.
    #[error("sysctl {name:?}: {reason}")]
    Sysctl { name: String, reason: &'static str },
    /// A sysctl that the kernel refused.
    #[error("writing sysctl {name:?} = {value:?}: {source}")]
    SysctlWrite { name: String, value: String, source: io::Error },
    /// A step without a path.
    #[error("{what}: {source}")]
    Step { what: &'static str, source: io::Error },
    /// A step on a path.
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// The thread that did the work died; a bug.
    #[error("namespace thread for {path} ended without an answer")]
    Lost { path: PathBuf },
}

impl Error {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    pub(crate) fn step<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Step { what, source: source.into() }
    }
}
