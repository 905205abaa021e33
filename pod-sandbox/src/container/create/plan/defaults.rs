//! What the configuration gives every container, where the request says nothing else.

use std::path::Path;

use linkspan_config::Container;
use linkspan_runtime_oci::spec::{MountInput, Rlimit};

use crate::model::ContainerConfig;

pub(super) fn rlimits(defaults: &Container) -> Vec<Rlimit> {
    let limit = |limit: &linkspan_config::Ulimit| Rlimit {
        kind: limit.kind.clone(),
        soft: limit.soft,
        hard: limit.hard,
    };
    defaults.default_ulimits.iter().map(limit).collect()
}

/// Those at whose places the request mounts nothing.
pub(super) fn mounts(defaults: &Container, config: &ContainerConfig) -> Vec<MountInput> {
    let taken = |path: &Path| config.mounts.iter().any(|mount| Path::new(&mount.container_path) == path);
    let free = defaults.default_mounts.iter().filter(|mount| !taken(&mount.container_path));
    free.map(|mount| MountInput {
        container_path: mount.container_path.display().to_string(),
        host_path: mount.host_path.clone(),
        readonly: mount.readonly,
        ..MountInput::default()
    })
    .collect()
}
