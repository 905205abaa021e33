//! Between NRI's messages and an OCI spec, as JSON.
//!
//! Source: runtime-spec, config.md and config-linux.md; nri v0.12.0, pkg/api and pkg/runtime-tools/generate.

mod adjust;
mod cgroup;
mod describe;
mod json;
mod linux;
mod mount;

use crate::error::Error;
use crate::merge::Owners;

pub use adjust::adjust;
pub use cgroup::refused_in_updates;
pub use describe::{describe, resources};

/// What the host's control groups can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Controllers are on cgroup v2, and not on v1.
    pub cgroup_v2: bool,
    /// Swap is accounted for.
    pub swap: bool,
    pub hugetlb: bool,
}

/// Whose wish is applied, for errors.
struct Wishes<'a> {
    container_id: &'a str,
    owners: &'a Owners,
}

impl Wishes<'_> {
    fn refuse(
        &self,
        claim: crate::api::Field,
        key: Option<&str>,
        field: &str,
        reason: impl Into<String>,
    ) -> Error {
        let plugin = self.owners.of(self.container_id, claim, key).unwrap_or("unknown");
        Error::refused(plugin, format!("adjustment of {field} of container {}", self.container_id), reason)
    }
}

#[cfg(test)]
mod tests;
