//! What Status and List answer.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    ContainerId, ContainerMetadata, ImageSpec, Mount, NamespaceOptions, Resources, SandboxId,
    SandboxMetadata, Signal, StringMap, Timestamp,
};

/// CRI `PodSandboxState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SandboxState {
    Ready,
    NotReady,
}

/// CRI `PodSandboxStatus`; `PodSandbox` is a part of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SandboxStatus {
    pub id: SandboxId,
    pub metadata: SandboxMetadata,
    pub state: SandboxState,
    pub created_at: Timestamp,
    /// The primary address first; empty with host network.
    pub ips: Vec<IpAddr>,
    pub namespace_options: NamespaceOptions,
    pub labels: StringMap,
    pub annotations: StringMap,
    /// As requested: empty for the default.
    pub runtime_handler: String,
}

/// CRI `ContainerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ContainerState {
    Created,
    Running,
    Exited,
    Unknown,
}

/// CRI `ContainerStatus`; `Container` is a part of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContainerStatus {
    pub id: ContainerId,
    pub sandbox_id: SandboxId,
    pub metadata: ContainerMetadata,
    pub state: ContainerState,
    pub created_at: Timestamp,
    /// Zero until it happens.
    pub started_at: Timestamp,
    /// Zero until it happens.
    pub finished_at: Timestamp,
    pub exit_code: i32,
    /// As requested.
    pub image: ImageSpec,
    /// A repo digest if there is one, else the image's ID.
    pub image_ref: String,
    pub image_id: String,
    /// `Completed`, `Error`, `OOMKilled`; empty while it has not exited.
    pub reason: String,
    pub message: String,
    pub labels: StringMap,
    pub annotations: StringMap,
    /// As requested, host paths resolved.
    pub mounts: Vec<Mount>,
    /// Absolute.
    pub log_path: String,
    pub resources: Resources,
    pub user: ContainerUser,
    /// The one that StopContainer sends.
    pub stop_signal: Signal,
}

/// CRI `LinuxContainerUser`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUser {
    pub uid: i64,
    pub gid: i64,
    pub supplemental_groups: Vec<i64>,
}

/// CRI `RuntimeHandler` with its features, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HandlerStatus {
    /// The default handler comes a second time under the empty name (RuntimeClass looks there).
    pub name: String,
    pub recursive_read_only_mounts: bool,
    pub user_namespaces: bool,
    pub path: PathBuf,
    /// Why its features could not be found out; it may still work.
    pub error: Option<String>,
}
