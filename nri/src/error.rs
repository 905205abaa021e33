//! What can go wrong between us and a plugin.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Errors of this crate; each variant is something that a caller could act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A plugin said no, in its own words.
    #[error("NRI plugin {plugin}: {call}: {message}")]
    Plugin { plugin: String, call: &'static str, message: String },
    /// Two plugins want the same thing.
    #[error("NRI plugins {other} and {plugin} both set {field} of container {container_id}")]
    Conflict { plugin: String, other: String, field: String, container_id: String },
    /// What a plugin wants cannot be had.
    #[error("NRI plugin {plugin}: {field}: {reason}")]
    Refused { plugin: String, field: String, reason: String },
    /// A validator does not agree with what the others made of a container.
    #[error("NRI validator {plugin} rejected the adjustment of container {container_id}: {reason}")]
    Rejected { plugin: String, container_id: String, reason: String },
    /// Without them nothing is created (option `nri.required_plugins`).
    #[error("required NRI plugins are not connected: {}", plugins.join(", "))]
    Missing { plugins: Vec<String> },
    /// The socket for plugins.
    #[error("{what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    pub(crate) fn refused(plugin: &str, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused { plugin: plugin.to_owned(), field: field.into(), reason: reason.into() }
    }
}

/// Bytes that are not the protocol. Whoever sends them is disconnected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Nonsense {
    #[error("a frame of {length} bytes")]
    FrameTooLong { length: u32 },
    #[error("a message of {length} bytes")]
    MessageTooLong { length: u32 },
    #[error("a message of the unknown type {kind}")]
    MessageType { kind: u8 },
    #[error("an answer on connection {connection}, where requests belong, or the other way round")]
    WrongWay { connection: u32 },
    #[error("an answer to stream {stream}, on which nothing was asked")]
    NotAsked { stream: u32 },
    #[error("a request on stream {stream}, which must be odd and higher than the last one")]
    StreamOrder { stream: u32 },
    #[error("{what} that is no protobuf message: {reason}")]
    NotAMessage { what: &'static str, reason: String },
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ended {
    #[error("it closed the connection")]
    ByPeer,
    #[error("the connection failed: {0}")]
    Broken(String),
    #[error("it talked nonsense: {0}")]
    Nonsense(#[from] Nonsense),
    #[error("it did not answer {call} within {after:?}")]
    Late { call: &'static str, after: Duration },
    #[error("{0}")]
    Unfit(String),
    /// The daemon goes down, or the connection was dropped.
    #[error("we closed the connection")]
    ByUs,
}

/// What became of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The plugin's own answer: a gRPC code, and its words.
    Status { code: i32, message: String },
    /// It was not sent: the message would have so many bytes.
    TooLong { length: usize },
    /// There is no connection any more.
    Ended(Ended),
}
