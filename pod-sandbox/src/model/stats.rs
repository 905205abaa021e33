//! What the stats RPCs answer.

use std::path::PathBuf;

use linkspan_runtime_oci::{CgroupCounters, CgroupStats, OpenFiles, Resources};
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

/// What the samples of CRI `PodSandboxMetrics` are taken from.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxMetrics {
    pub attributes: SandboxAttributes,
    /// Of the pod's cgroup.
    pub counters: GroupCounters,
    /// Empty with host network.
    pub interfaces: Vec<InterfaceStats>,
    /// The running ones.
    pub containers: Vec<ContainerMetrics>,
}

/// What the samples of CRI `ContainerMetrics` are taken from.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerMetrics {
    pub attributes: ContainerAttributes,
    /// What the user called it, if that is known.
    pub image: String,
    pub counters: GroupCounters,
    pub writable_layer: Option<WritableLayer>,
    pub open_files: OpenFiles,
    /// The soft limit of the container's first process; `None` without a limit.
    pub descriptor_limit: Option<u64>,
}

/// A cgroup's counters and limits.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupCounters {
    pub cgroup_path: String,
    /// Of the pod or container.
    pub started_at: Timestamp,
    pub counters: CgroupCounters,
    /// Those in force: negative is unlimited, zero is unknown.
    pub limits: Resources,
}
