//! What a spec is made of: plain, checked data, gathered by the caller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxSeccomp;
use serde::{Deserialize, Serialize};

use crate::cgroup::{CgroupMode, Support};
use crate::user::ResolvedUser;

/// Everything that decides a container's spec. The same input gives the same spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpecInput {
    /// Spec version to claim: what the runtime accepts, see [`crate::runtime::Features::oci_version`].
    pub oci_version: String,
    /// Set only together with a UTS namespace of the container's own; a pod's shared one has its name already.
    pub hostname: Option<String>,
    pub args: Vec<String>,
    /// Absolute; `/` if empty.
    pub cwd: String,
    /// Final, `KEY=value`; a later entry with the same key wins.
    pub env: Vec<String>,
    pub terminal: bool,
    pub user: ResolvedUser,
    pub capabilities: CapabilityInput,
    /// CRI `privileged`: the whole bounding set, writable sysfs and cgroups, nothing masked.
    pub privileged: bool,
    pub rlimits: Vec<Rlimit>,
    pub no_new_privileges: bool,
    /// Already clamped by [`super::clamp_oom_score_adj`].
    pub oom_score_adj: Option<i32>,
    pub apparmor_profile: Option<String>,
    pub selinux_process_label: Option<String>,
    pub selinux_mount_label: Option<String>,
    /// Absolute path of the mounted root file system.
    pub rootfs: PathBuf,
    pub readonly_rootfs: bool,
    /// `private`, `slave` or `shared`; when `None` the mounts decide.
    pub rootfs_propagation: Option<String>,
    pub namespaces: Namespaces,
    /// Only with a user namespace.
    pub uid_mappings: Vec<IdMapping>,
    pub gid_mappings: Vec<IdMapping>,
    /// In the order given; sorted by depth, and each replaces a default mount at the same place.
    pub mounts: Vec<MountInput>,
    /// Whether the runtime knows the mount option `rro`.
    pub recursive_read_only_supported: bool,
    pub devices: Vec<DeviceInput>,
    /// Allow every device in the device cgroup.
    pub all_devices: bool,
    pub resources: Resources,
    /// What the host's cgroups can limit: the rest is left out, as the kubelet expects.
    pub support: Support,
    /// Absolute below each hierarchy's root, `/kubepods/pod1/<id>`.
    pub cgroups_path: String,
    pub cgroup: CgroupMode,
    /// The container may make groups below its own.
    pub cgroup_writable: bool,
    /// Absolute paths hidden from the container; ignored when privileged.
    pub masked_paths: Vec<String>,
    /// Absolute paths made read-only; ignored when privileged.
    pub readonly_paths: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Ignored when privileged.
    pub seccomp: Option<LinuxSeccomp>,
}

/// Which capabilities the container shall have. Names with or without `CAP_`, any case; `ALL` is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CapabilityInput {
    pub add: Vec<String>,
    pub drop: Vec<String>,
    /// CRI `add_ambient_capabilities`: added to every set, ambient and inheritable too.
    pub add_ambient: Vec<String>,
    /// What a container has that asks for nothing.
    pub defaults: Vec<String>,
    /// The daemon's own bounding set: nothing outside it can be given away. See [`crate::host::bounding_set`].
    pub bounding: Vec<String>,
}

/// One resource limit, as `setrlimit(2)` has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE` and the like.
    pub kind: String,
    pub soft: u64,
    pub hard: u64,
}

/// One namespace of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceInput {
    /// The host's: no entry in the spec.
    #[default]
    Host,
    /// A new one, made by the runtime.
    New,
    /// Joined: a pinned file or `/proc/<pid>/ns/<kind>`.
    Path(PathBuf),
}

/// All namespaces of the container. The default is the host's everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    pub network: NamespaceInput,
    pub ipc: NamespaceInput,
    pub uts: NamespaceInput,
    pub pid: NamespaceInput,
    pub mount: NamespaceInput,
    pub cgroup: NamespaceInput,
    pub user: NamespaceInput,
}

/// A range of IDs in a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    pub container_id: u32,
    pub host_id: u32,
    pub size: u32,
}

/// CRI `MountPropagation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    /// What the host mounts below appears inside (`rslave`).
    HostToContainer,
    /// Also the other way round (`rshared`).
    Bidirectional,
}

/// A bind mount from the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountInput {
    /// Absolute, inside the container.
    pub container_path: String,
    /// Absolute, on the host; symbolic links already resolved.
    pub host_path: PathBuf,
    pub readonly: bool,
    /// Sub-mounts read-only too; needs `readonly`, private propagation and a runtime that knows `rro`.
    pub recursive_read_only: bool,
    pub propagation: Propagation,
    /// Further options, `noexec` and the like; they follow ours.
    pub options: Vec<String>,
    /// None: those of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owners: Option<MountOwners>,
}

/// How the owners of mounted files are seen (runtime-spec, config.md, "Linux mount options").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountOwners {
    pub uid_mappings: Vec<IdMapping>,
    pub gid_mappings: Vec<IdMapping>,
    /// `idmap` or `ridmap`, if the runtime knows it.
    pub option: Option<String>,
}

/// Character or block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    #[default]
    Char,
    Block,
}

/// A device node in the container, and the leave to use it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceInput {
    /// Absolute, inside the container.
    pub path: String,
    /// Where it is on the host. With a user namespace, which can make no nodes, it is mounted from there.
    #[serde(skip_serializing_if = "path_is_empty")]
    pub host_path: PathBuf,
    pub kind: DeviceKind,
    pub major: i64,
    pub minor: i64,
    /// Permission bits; the runtime's choice (0666) when `None`.
    pub file_mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Some of `r`, `w`, `m`; all of them if empty.
    pub permissions: String,
}

fn path_is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// CRI `LinuxContainerResources`. Zero and the empty string mean "not set".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds per period; negative: unlimited.
    pub cpu_quota: i64,
    /// Relative weight as cgroup v1 counts it, 2 to 262144; a runtime converts it for v2.
    pub cpu_shares: i64,
    /// Negative: unlimited.
    pub memory_limit_bytes: i64,
    /// Memory and swap together; negative: unlimited.
    pub memory_swap_limit_bytes: i64,
    /// As requested; what is set is [`SpecInput::oom_score_adj`].
    pub oom_score_adj: i64,
    /// `0-3,7`.
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub hugepage_limits: Vec<HugepageLimit>,
    /// Files of a cgroup v2 group with their values; no meaning on v1.
    pub unified: BTreeMap<String, String>,
    /// Most tasks; negative: unlimited.
    pub pids_limit: i64,
}

/// Limit of one huge page size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugepageLimit {
    /// `2MB`, `1GB`.
    pub page_size: String,
    pub limit_bytes: u64,
}
