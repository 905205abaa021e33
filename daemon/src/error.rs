//! What can go wrong at the edge: starting the daemon, or talking to it.

use std::io;
use std::path::PathBuf;

/// Errors of the commands; each is shown on one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] linkspan_config::Error),
    /// A file that the configuration names.
    #[error(transparent)]
    ConfiguredFile(#[from] linkspan_runtime_oci::Error),
    #[error("log level {level:?}: {message}")]
    Log { level: String, message: String },
    /// Another daemon has the directory.
    #[error("{} is in use by another linkspan (process {holder})", path.display())]
    Locked { path: PathBuf, holder: String },
    /// Somebody answers on the socket.
    #[error("{} is in use: another server answers on it", path.display())]
    SocketInUse { path: PathBuf },
    #[error("{} is in the way: it is not a socket", path.display())]
    NotASocket { path: PathBuf },
    #[error("socket group {group:?}: no such group")]
    NoSuchGroup { group: String },
    #[error("{what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("metrics on {address}: {source}")]
    Metrics { address: std::net::SocketAddr, source: io::Error },
    #[error("streaming on {address}: {source}")]
    Streaming { address: std::net::SocketAddr, source: io::Error },
    #[error("TLS of the streaming server: {0}")]
    Tls(#[from] crate::streaming::TlsError),
    #[error("starting the async runtime: {0}")]
    Runtime(io::Error),
    #[error("opening the image store: {0}")]
    Images(#[from] linkspan_image::Error),
    #[error("opening the network: {0}")]
    Network(#[from] linkspan_pod_sandbox::network::Error),
    #[error("opening the pods: {0}")]
    Pods(#[from] linkspan_pod_sandbox::Error),
    #[error("NRI: {0}")]
    Nri(#[from] linkspan_nri::Error),
    /// The command line found no daemon.
    #[error("no daemon answers on {}: {reason}", socket.display())]
    NoDaemon { socket: PathBuf, reason: String },
    /// The daemon said no, in its own words.
    #[error("{0}")]
    Daemon(String),
    /// `linkspan check` found something wrong; it is on standard output already.
    #[error("this host cannot run pods as it is")]
    CheckFailed,
    /// `linkspan image inspect`.
    #[error("no such image: {0}")]
    NoSuchImage(String),
    #[error("writing the answer: {0}")]
    Output(io::Error),
}

impl Error {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::Daemon(status.message().to_owned())
    }
}
