//! All that is known of a container, as it is on disk and in memory.

use std::path::PathBuf;

use linkspan_image::ImageId;
use linkspan_runtime_oci::{Resources, Timestamp};
use serde::{Deserialize, Serialize};

use super::state::State;
use crate::entry::ContainerEntry;
use crate::model::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, ContainerUser, NamespaceMode, SandboxId,
    Signal,
};
use crate::records::Recorded;

/// Written before the first thing is acquired, so that whatever is there after a crash is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) id: ContainerId,
    pub(crate) sandbox_id: SandboxId,
    /// As requested, but host paths of mounts resolved and resources as updated.
    pub(crate) config: ContainerConfig,
    /// The sandbox's.
    pub(crate) handler: String,
    pub(crate) image_id: ImageId,
    /// A repo digest if there was one, else the ID; stays when the tag moves away.
    pub(crate) image_ref: String,
    /// Mounted as volumes: they stay as long as the record does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) volume_images: Vec<ImageId>,
    pub(crate) created_at: Timestamp,
    /// Absolute; empty: no log.
    pub(crate) log_path: String,
    pub(crate) cgroup_path: String,
    pub(crate) user: ContainerUser,
    pub(crate) stop_signal: Signal,
    /// By whom and why it is stopped, if not by the kubelet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) evicted: Option<String>,
    pub(crate) state: State,
    #[serde(skip)]
    pub(crate) entry: ContainerEntry,
}

impl ContainerRecord {
    pub(crate) fn uses(&self, image: &ImageId) -> bool {
        self.image_id == *image || self.volume_images.contains(image)
    }

    pub(crate) fn resources(&self) -> &Resources {
        &self.config.linux.resources
    }

    /// Whether processes of it may outlive its init: those of a PID namespace of its own do not.
    pub(crate) fn shares_pid_namespace(&self) -> bool {
        self.config.linux.security_context.namespace_options.pid != NamespaceMode::Container
    }

    pub(crate) fn status(&self) -> ContainerStatus {
        let (exit_code, finished_at, reason, message) = match &self.state {
            State::Exited(exited) => {
                (exited.exit_code, exited.finished_at, exited.reason().to_owned(), exited.message.clone())
            }
            _ => (0, Timestamp::default(), String::new(), String::new()),
        };
        ContainerStatus {
            id: self.id.clone(),
            sandbox_id: self.sandbox_id.clone(),
            metadata: self.config.metadata.clone(),
            state: self.state.for_cri(),
            created_at: self.created_at,
            started_at: self.state.started_at(),
            finished_at,
            exit_code,
            image: self.config.image.clone(),
            image_ref: self.image_ref.clone(),
            image_id: self.image_id.to_string(),
            reason,
            message,
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            mounts: self.config.mounts.clone(),
            log_path: self.log_path.clone(),
            resources: self.resources().clone(),
            user: self.user.clone(),
            stop_signal: self.stop_signal,
        }
    }

    pub(crate) fn log_file(&self) -> Option<PathBuf> {
        Some(PathBuf::from(&self.log_path)).filter(|path| !path.as_os_str().is_empty())
    }

    pub(crate) fn is(&self, state: ContainerState) -> bool {
        self.state.for_cri() == state
    }
}

impl Recorded for ContainerRecord {
    const DIR: &'static str = "containers";

    fn name(&self) -> &str {
        self.id.as_str()
    }
}

#[cfg(test)]
impl ContainerRecord {
    /// One in a sandbox of its own, about which only its state is worth telling.
    pub(crate) fn example(state: State) -> Self {
        Self {
            id: ContainerId::generate(),
            sandbox_id: SandboxId::generate(),
            config: ContainerConfig::default(),
            handler: "crun".to_owned(),
            image_id: "1f".repeat(32).parse().unwrap(),
            image_ref: String::new(),
            volume_images: Vec::new(),
            created_at: Timestamp(1),
            log_path: String::new(),
            cgroup_path: String::new(),
            user: ContainerUser::default(),
            stop_signal: Signal::default(),
            evicted: None,
            state,
            entry: ContainerEntry::default(),
        }
    }
}
