//! All that is known of a sandbox, as it is on disk and in memory.

use std::path::PathBuf;

use linkspan_config::SandboxKind;
use linkspan_runtime_oci::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::State;
use crate::entry::PodEntry;
use crate::model::{SandboxConfig, SandboxId, SandboxStatus};
use crate::namespaces::Pinned;
use crate::network::{Attachment, NetworkStatus};
use crate::records::Recorded;

/// Written before the first thing is acquired, so that whatever is there after a crash is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) id: SandboxId,
    pub(crate) config: SandboxConfig,
    /// As requested: empty for the default.
    pub(crate) runtime_handler: String,
    /// The one that it runs with, whatever the default is later.
    pub(crate) handler: String,
    /// Its binary, should the handler be taken out of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runtime_path: Option<PathBuf>,
    /// How the handler made it, whatever the handler does later.
    #[serde(default)]
    pub(crate) kind: SandboxKind,
    pub(crate) created_at: Timestamp,
    pub(crate) cgroup: PodCgroup,
    /// The pod's own, with its categories; `None` where there is no SELinux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) selinux_level: Option<String>,
    /// What is pinned once `state` is `Ready`.
    pub(crate) namespaces: Pinned,
    /// `None` with host network.
    pub(crate) attachment: Option<Attachment>,
    /// What attach brought.
    pub(crate) network: Option<NetworkStatus>,
    pub(crate) state: State,
    #[serde(skip)]
    pub(crate) entry: PodEntry,
}

/// The pod's groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PodCgroup {
    /// All of the pod is below it: the kubelet's `cgroup_parent`, or one that we made.
    pub(crate) parent: String,
    /// Pause's.
    pub(crate) pause: String,
    /// Those that we make and therefore remove, the outermost first.
    pub(crate) made: Vec<String>,
}

impl SandboxRecord {
    pub(crate) fn status(&self) -> SandboxStatus {
        SandboxStatus {
            id: self.id.clone(),
            metadata: self.config.metadata.clone(),
            state: self.state.for_cri(),
            created_at: self.created_at,
            ips: self.network.as_ref().map(|network| network.ips.clone()).unwrap_or_default(),
            namespace_options: self.config.linux.security_context.namespace_options.clone(),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            runtime_handler: self.runtime_handler.clone(),
        }
    }
}

impl Recorded for SandboxRecord {
    const DIR: &'static str = "sandboxes";

    fn name(&self) -> &str {
        self.id.as_str()
    }
}

#[cfg(test)]
impl SandboxRecord {
    /// One about which only its state is worth telling.
    pub(crate) fn example(state: State) -> Self {
        Self {
            id: SandboxId::generate(),
            config: SandboxConfig::default(),
            runtime_handler: String::new(),
            handler: "crun".to_owned(),
            runtime_path: None,
            kind: SandboxKind::Native,
            created_at: Timestamp(1),
            cgroup: PodCgroup::default(),
            selinux_level: None,
            namespaces: Pinned::default(),
            attachment: None,
            network: None,
            state,
            entry: PodEntry::default(),
        }
    }
}
