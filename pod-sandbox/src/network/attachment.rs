//! What a pod asks of the network, and what it was given.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The name of a pod's interface. Kubernetes and every CNI client of it use this one.
pub const INTERFACE: &str = "eth0";

/// One pod's place in the network: everything that attach and detach need, and all that a record
/// must keep so that detach works after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// CNI container ID.
    pub sandbox_id: String,
    pub pod_name: String,
    pub pod_namespace: String,
    pub pod_uid: String,
    /// The pinned network namespace; it may be gone by the time of detach.
    pub netns: PathBuf,
    #[serde(default)]
    pub port_mappings: Vec<PortMapping>,
    #[serde(default)]
    pub dns: DnsConfig,
    /// The sandbox's annotations. `kubernetes.io/ingress-bandwidth` and
    /// `kubernetes.io/egress-bandwidth` are read from here.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The pod's cgroup, for plugins with the `cgroupPath` capability; may be empty.
    #[serde(default)]
    pub cgroup_path: String,
    /// For plugins with the `mac` capability.
    #[serde(default)]
    pub mac: Option<String>,
    /// Addresses wanted, for plugins with the `ips` capability and for the built-in network.
    #[serde(default)]
    pub ips: Vec<IpAddr>,
}

/// CRI `PortMapping`. A `host_port` of 0 asks for nothing and is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    pub protocol: Protocol,
    pub container_port: u16,
    pub host_port: u16,
    /// Only on this address of the host; on all when `None`.
    #[serde(default)]
    pub host_ip: Option<IpAddr>,
}

/// CRI `Protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The name that CNI plugins expect.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// CRI `DNSConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    #[serde(default)]
    pub servers: Vec<String>,
    #[serde(default)]
    pub searches: Vec<String>,
    #[serde(default)]
    pub options: Vec<String>,
}

/// What attach brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// The pod's addresses on `eth0`, the primary one first.
    pub ips: Vec<IpAddr>,
    /// Name of the network: the configuration list's, or the bridge's.
    pub network: String,
    /// The last plugin's result as it came, or its likeness for the built-in network.
    pub result: serde_json::Value,
}

/// CRI runtime condition `NetworkReady`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    NotReady {
        /// A CamelCase word for machines: `NetworkPluginNotReady`.
        reason: &'static str,
        message: String,
    },
}

impl Readiness {
    /// The reason that the kubelet and its users know.
    pub const PLUGIN_NOT_READY: &str = "NetworkPluginNotReady";

    /// Not ready, with the usual reason.
    pub fn not_ready(message: impl Into<String>) -> Self {
        Self::NotReady { reason: Self::PLUGIN_NOT_READY, message: message.into() }
    }
}
