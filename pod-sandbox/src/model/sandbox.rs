//! What RunPodSandbox is asked for.

use serde::{Deserialize, Serialize};

use super::{
    DnsConfig, NamespaceOptions, PortMapping, Resources, SecurityProfile, SelinuxOptions, StringMap,
    SupplementalGroupsPolicy,
};

/// CRI `PodSandboxConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxConfig {
    pub metadata: SandboxMetadata,
    /// Empty: the host's name with host network, else none is set.
    pub hostname: String,
    /// Where the containers' logs go; a container's `log_path` is relative to it.
    pub log_directory: String,
    /// `None`: the host's `resolv.conf` is copied.
    pub dns_config: Option<DnsConfig>,
    pub port_mappings: Vec<PortMapping>,
    pub labels: StringMap,
    pub annotations: StringMap,
    pub linux: LinuxSandboxConfig,
}

/// CRI `PodSandboxMetadata`. All of it together is the sandbox's name: the same again is a retry.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SandboxMetadata {
    pub name: String,
    pub uid: String,
    pub namespace: String,
    pub attempt: u32,
}

/// CRI `LinuxPodSandboxConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinuxSandboxConfig {
    /// The pod's cgroup, made by the kubelet; empty: we make one.
    pub cgroup_parent: String,
    pub security_context: SandboxSecurityContext,
    pub sysctls: StringMap,
    pub overhead: Option<Resources>,
    /// The sum of the containers' resources, for sandboxes that must be sized beforehand.
    pub resources: Option<Resources>,
}

/// CRI `LinuxSandboxSecurityContext`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxSecurityContext {
    pub namespace_options: NamespaceOptions,
    pub selinux_options: Option<SelinuxOptions>,
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub readonly_rootfs: bool,
    pub supplemental_groups: Vec<i64>,
    pub supplemental_groups_policy: SupplementalGroupsPolicy,
    /// Containers of the pod may be privileged.
    pub privileged: bool,
    pub seccomp: Option<SecurityProfile>,
    pub apparmor: Option<SecurityProfile>,
}
