//! What the stats RPCs answer.

use std::path::PathBuf;

use linkspan_runtime_oci::CgroupStats;
use serde::Serialize;

use super::{ContainerId, ContainerMetadata, SandboxId, SandboxMetadata, StringMap, Timestamp};
use crate::namespaces::InterfaceStats;

/// CRI `ContainerAttributes`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContainerAttributes {
    pub id: ContainerId,
    pub sandbox_id: SandboxId,
    pub metadata: ContainerMetadata,
    pub labels: StringMap,
    pub annotations: StringMap,
}

/// CRI `PodSandboxAttributes`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SandboxAttributes {
    pub id: SandboxId,
    pub metadata: SandboxMetadata,
    pub labels: StringMap,
    pub annotations: StringMap,
}

/// CRI `ContainerStats`: `cpu`, `memory`, `swap` and `io` are all in `cgroup`, read at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerStats {
    pub attributes: ContainerAttributes,
    pub cgroup: CgroupStats,
    /// Since the previous sample; `None` for the first.
    pub usage_nano_cores: Option<u64>,
    pub writable_layer: Option<WritableLayer>,
}

/// CRI `FilesystemUsage` of a container's upper directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritableLayer {
    pub at: Timestamp,
    pub mountpoint: PathBuf,
    pub used_bytes: u64,
    pub inodes_used: u64,
}

/// CRI `PodSandboxStats` for Linux.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxStats {
    pub attributes: SandboxAttributes,
    /// Of the pod's cgroup.
    pub cgroup: CgroupStats,
    pub usage_nano_cores: Option<u64>,
    /// When `interfaces` was read.
    pub network_at: Timestamp,
    /// Empty with host network. The default interface is `eth0`.
    pub interfaces: Vec<InterfaceStats>,
    pub process_count: u64,
    /// The running ones.
    pub containers: Vec<ContainerStats>,
}
