//! What a caller asks of a pull, and what it hears while it runs.

use std::fmt;

/// One pull. Callers that ask for the same reference with the same credentials share one transfer.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// As the user wrote it; short names are normalised.
    pub reference: String,
    /// What the kubelet sent; `None` falls back to the configured `auth.json`.
    pub credentials: Option<RequestCredentials>,
    pub progress: Progress,
}

/// Credentials for one registry, as CRI `AuthConfig` carries them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    Basic {
        username: String,
        password: String,
    },
    /// An OAuth2 refresh token, exchanged for a bearer token at the registry's realm.
    IdentityToken(String),
    /// A bearer token, sent as it is.
    RegistryToken(String),
}

/// Credentials that came with a pull. They are for the registry of the image's name and for no other host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestCredentials {
    pub credentials: Credentials,
    /// The host, with its port if it has one, that they were made for (CRI `AuthConfig.server_address`); a registry
    /// that is another one does not get them.
    pub server: Option<String>,
}

/// For whatever registry the image's name has.
impl From<Credentials> for RequestCredentials {
    fn from(credentials: Credentials) -> Self {
        Self { credentials, server: None }
    }
}

/// Secrets stay out of logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username:?}, …)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(…)"),
            Self::RegistryToken(_) => f.write_str("RegistryToken(…)"),
        }
    }
}

/// Where progress goes; `None` when nobody looks. A slow reader misses intermediate values, never delays a pull.
pub type Progress = Option<tokio::sync::watch::Sender<PullProgress>>;

/// How far a pull or a load is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    pub stage: PullStage,
    pub layers_done: usize,
    /// 0 until the manifest is known.
    pub layers_total: usize,
    /// Compressed bytes received or read.
    pub bytes_done: u64,
    /// Compressed bytes of the layers that are not here yet; 0 until known.
    pub bytes_total: u64,
}

/// What a pull is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullStage {
    /// Asking for the manifest.
    #[default]
    Resolving,
    /// Fetching and unpacking layers.
    Fetching,
    /// Writing the records.
    Recording,
    Done,
}
