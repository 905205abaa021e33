//! Who a container's process is: numbers for the names in a request, looked up inside the root file system.

use serde::{Deserialize, Serialize};

/// The user a process runs as, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResolvedUser {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, the primary one not necessarily among them.
    pub additional_gids: Vec<u32>,
    pub umask: Option<u32>,
}
