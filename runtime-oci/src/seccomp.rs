//! Seccomp profiles: from the containers project's JSON to the filter of one container.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// CRI `SecurityProfile`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    RuntimeDefault,
    Unconfined,
    /// A file on the host.
    Localhost(PathBuf),
}
