//! What can go wrong between a pod and its network.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Errors of attach, detach and their relatives.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable configuration turned up, or the plugins say that they are not ready.
    #[error("network is not ready after {waited:?}: {message}")]
    NotReady { waited: Duration, message: String },
    /// A configuration file that cannot be used.
    #[error("cni configuration {path}: {message}")]
    BadConfig { path: PathBuf, message: String },
    /// The pod asks for something that cannot be given.
    #[error("network of pod {pod}: {message}")]
    BadRequest { pod: String, message: String },
    /// A plugin ran and reported an error.
    #[error("cni network {network:?}, plugin {plugin:?}, {verb}: {message}")]
    Plugin { network: String, plugin: String, verb: &'static str, code: u32, message: String },
    /// A plugin, or the built-in network, did not end in time.
    #[error("cni network {network:?}, plugin {plugin:?}, {verb}: no end after {after:?}, killed{stderr}")]
    TimedOut { network: String, plugin: String, verb: &'static str, after: Duration, stderr: String },
    /// A plugin's binary is in none of the directories.
    #[error("cni plugin {plugin:?} not found in {dirs}")]
    NoPlugin { plugin: String, dirs: String },
    /// Two pods want one port of the host.
    #[error("host port {host} is taken by pod {holder}")]
    PortTaken { host: String, holder: String },
    /// A subnet of the built-in network that cannot be used.
    #[error("built-in network, subnet {subnet:?}: {message}")]
    BadSubnet { subnet: String, message: String },
    /// The built-in network's subnet is used up.
    #[error("no free address in {subnet}")]
    NoAddress { subnet: String },
    /// The kernel refused a netlink request.
    #[error("{what}: {source}")]
    Netlink { what: String, source: io::Error },
    /// A file could not be read or written.
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// The task that did the work died; a bug.
    #[error("network task of {what} ended without an answer")]
    Lost { what: String },
    /// Asked of a network that has no such thing.
    #[error("{what} is not implemented")]
    Unimplemented { what: &'static str },
}

impl Error {
    /// For `map_err`: an I/O error with what was tried on which path.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// For `map_err`: a netlink request with what was tried.
    pub(crate) fn netlink(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Netlink { what, source }
    }
}
