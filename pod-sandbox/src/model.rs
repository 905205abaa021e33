//! CRI's messages as types of our own: the same fields under the same names, without protobuf.
//!
//! Source: CRI api.proto. A string or list that was not sent is empty; `Option` is used only where
//! "not sent" means something else than the zero value. What a field may hold is checked by the operations,
//! with an [`crate::Error::BadConfig`] that names it.

mod container;
pub(crate) mod filter;
pub(crate) mod id;
mod sandbox;
mod security;
mod signal;
mod stats;
mod status;
mod streams;
#[cfg(test)]
mod tests;

pub use container::{
    ContainerConfig, ContainerMetadata, Device, EnvVar, IdMapping, ImageSpec, LinuxContainerConfig, Mount,
    Propagation,
};
pub use filter::{ContainerFilter, ContainerStatsFilter, SandboxFilter, SandboxStatsFilter};
pub use id::{ContainerId, SandboxId};
pub use linkspan_runtime_oci::{HugepageLimit, Resources, Timestamp};
pub use sandbox::{LinuxSandboxConfig, SandboxConfig, SandboxMetadata, SandboxSecurityContext};
pub use security::{
    Capability, NamespaceMode, NamespaceOptions, SecurityContext, SecurityProfile, SelinuxOptions,
    SupplementalGroupsPolicy, UserNamespace,
};
pub use signal::{BadSignal, Signal};
pub use stats::{
    ContainerAttributes, ContainerMetrics, ContainerStats, GroupCounters, SandboxAttributes, SandboxMetrics,
    SandboxStats, WritableLayer,
};
pub use status::{
    ContainerState, ContainerStatus, ContainerUser, HandlerStatus, SandboxState, SandboxStatus,
};
pub use streams::StreamSet;

pub use crate::network::{DnsConfig, PortMapping, Protocol};

/// Labels, annotations, sysctls: sorted, so that what is written is always the same.
pub type StringMap = std::collections::BTreeMap<String, String>;
