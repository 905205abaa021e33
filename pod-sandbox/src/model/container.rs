//! What CreateContainer is asked for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Resources, SecurityContext, Signal, StringMap};

pub use linkspan_runtime_oci::spec::Propagation;

/// CRI `ContainerConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    pub metadata: ContainerMetadata,
    pub image: ImageSpec,
    /// Replaces the image's entrypoint (and with it, its command).
    pub command: Vec<String>,
    /// Replaces the image's command.
    pub args: Vec<String>,
    pub working_dir: String,
    pub envs: Vec<EnvVar>,
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    /// CRI `CDI_devices`: fully qualified names.
    pub cdi_devices: Vec<String>,
    pub labels: StringMap,
    pub annotations: StringMap,
    /// Relative to the sandbox's `log_directory`.
    pub log_path: String,
    pub stdin: bool,
    pub stdin_once: bool,
    pub tty: bool,
    pub linux: LinuxContainerConfig,
    /// `None`: the image's, else SIGTERM.
    pub stop_signal: Option<Signal>,
}

/// CRI `ContainerMetadata`. Unique within its sandbox: the same again is a retry.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerMetadata {
    pub name: String,
    pub attempt: u32,
}

/// CRI `ImageSpec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageSpec {
    /// A reference, or an image ID.
    pub image: String,
    pub annotations: StringMap,
    /// What the user wrote in the pod's manifest.
    pub user_specified_image: String,
    pub runtime_handler: String,
    pub image_ref: String,
}

/// CRI `KeyValue`, as an environment variable. The value is left out of `Debug`: it may be a secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    pub key: String,
    pub value: String,
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvVar").field("key", &self.key).finish_non_exhaustive()
    }
}

/// CRI `LinuxContainerConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinuxContainerConfig {
    pub resources: Resources,
    pub security_context: SecurityContext,
}

/// CRI `Mount`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    pub container_path: String,
    /// Empty exactly if `image` is given.
    pub host_path: String,
    pub readonly: bool,
    pub selinux_relabel: bool,
    pub propagation: Propagation,
    pub uid_mappings: Vec<IdMapping>,
    pub gid_mappings: Vec<IdMapping>,
    /// Needs `readonly` and private propagation.
    pub recursive_read_only: bool,
    pub image: Option<ImageSpec>,
    pub image_sub_path: String,
    /// Further bind mount options: `noexec`, `nodev`, `nosuid`.
    pub mount_options: Vec<String>,
}

/// CRI `IDMapping`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    pub host_id: u32,
    pub container_id: u32,
    pub length: u32,
}

/// CRI `Device`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    pub container_path: String,
    pub host_path: String,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}
