//! Others who hear of pods and containers, and have a say in them: the port that the daemon's NRI server fills.
//!
//! ```text
//! operation ─ what happens, with pod and container ─▶ Plugins ─▶ changed spec, changed limits, wishes about others
//! plugin ─ wishes ─▶ Pods::change_for_plugin, Pods::evict_for_plugin
//! ```
//! Nothing here knows what a plugin is or how it is reached (docs/adr/0006-nri.md).

mod creating;
mod devices;
mod stop_news;
mod telling;
mod views;
mod wishes;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use linkspan_runtime_oci::Resources;
use serde_json::Value;

use crate::model::{ContainerStatus, SandboxConfig, SandboxId, SecurityProfile};
use crate::operations::stage;
use crate::pods::Inner;

pub(crate) use creating::creating;
pub(crate) use stop_news::StopNews;
pub(crate) use telling::{
    InFlight, both, container_happened, container_is_about_to, container_stopped, happened, pod_is_about_to,
    pod_is_asked, tell_after, updating,
};
pub(crate) use wishes::apply;

/// Tells of an event, and waits for what is said to it.
async fn ask(inner: &Inner, event: Happening) -> Result<Answer, PluginError> {
    stage("NRI plugins", inner.plugins.tell(event)).await
}

/// What an operation waits for.
pub type Told<'a> = Pin<Box<dyn Future<Output = Result<Answer, PluginError>> + Send + 'a>>;

/// Those who listen.
pub trait Plugins: fmt::Debug + Send + Sync {
    /// Whether anybody may hear of an event: without, no operation goes to any expense. It does not matter for
    /// [`What::RunPodSandbox`] and [`What::CreateContainer`], which are always told.
    fn is_listening(&self) -> bool;

    /// Tells of an event and waits for what is said to it, in bounded time.
    fn tell(&self, event: Happening) -> Told<'_>;

    /// What began with [`What::RunPodSandbox`] or [`What::CreateContainer`] is now among [`crate::Pods::plugin_views`], or
    /// will never be.
    fn settled(&self, id: &str);
}

/// What happens, and to whom.
#[derive(Clone, Debug)]
pub struct Happening {
    pub what: What,
    pub pod: PodView,
    /// Of events of containers.
    pub container: Option<ContainerView>,
}

/// Events by NRI's names. Those without `Post` come before what they tell of, and may be minded; all others after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    RunPodSandbox,
    UpdatePodSandbox {
        overhead: Option<Resources>,
        resources: Option<Resources>,
    },
    PostUpdatePodSandbox,
    /// Its containers have stopped; its network is still there.
    StopPodSandbox,
    RemovePodSandbox,
    /// The answer may change the spec.
    CreateContainer(LimitSupport),
    PostCreateContainer,
    StartContainer,
    PostStartContainer,
    /// The answer may change the limits.
    UpdateContainer(Resources),
    PostUpdateContainer,
    StopContainer,
    RemoveContainer,
}

/// What limits the host's control groups know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSupport {
    /// Controllers are on cgroup v2, and not on v1.
    pub cgroup_v2: bool,
    /// Swap is accounted for.
    pub swap: bool,
    pub hugetlb: bool,
}

/// A pod as others see it.
#[derive(Clone, Debug)]
pub struct PodView {
    pub id: SandboxId,
    pub config: SandboxConfig,
    /// As requested: empty for the default.
    pub runtime_handler: String,
    /// Pause's.
    pub pid: Option<i32>,
    pub ips: Vec<IpAddr>,
    /// The group that all of the pod is below.
    pub cgroup_parent: String,
    /// Pause's group.
    pub cgroup_path: String,
    /// Kinds by the OCI spec's names, with where they are pinned.
    pub namespaces: Vec<(&'static str, PathBuf)>,
}

/// A container as others see it.
#[derive(Clone, Debug)]
pub struct ContainerView {
    pub status: ContainerStatus,
    /// Its OCI spec; null if it is not there any more, after a reboot for instance.
    pub spec: Arc<Value>,
    pub pid: Option<i32>,
    /// CRI `CDI_devices`.
    pub cdi_devices: Vec<String>,
    pub seccomp: Option<SecurityProfile>,
}

/// What came back.
#[derive(Default)]
pub struct Answer {
    /// Of [`What::CreateContainer`]: the container as it shall be.
    pub creation: Option<Creation>,
    /// Of [`What::UpdateContainer`]: the limits as they shall be.
    pub resources: Option<Resources>,
    /// In the order in which they are to be applied.
    pub changes: Vec<Change>,
    pub evictions: Vec<Eviction>,
    /// Dropped when evictions have begun and each change has its place in its container's row: nothing else is told until then,
    /// so that what is decided later is applied later.
    pub held: Option<Box<dyn Send + Sync>>,
}

/// A container that others have changed before it was made.
#[derive(Clone, Debug)]
pub struct Creation {
    pub spec: Value,
    /// Its limits, in CRI's words, as far as CRI has words for them.
    pub resources: Resources,
    pub cdi_devices: Vec<CdiDevice>,
}

/// A CDI device that somebody adds to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdiDevice {
    pub plugin: String,
    pub name: String,
}

/// Other limits for a container that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub plugin: String,
    pub container_id: String,
    /// What is not set stays.
    pub resources: Resources,
    /// Whether what it came with goes on if it cannot be had.
    pub ignore_failure: bool,
}

/// A container that somebody wants stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    pub plugin: String,
    pub container_id: String,
    /// For people.
    pub reason: String,
}

/// Why an operation does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// Somebody said no, or wants what cannot be had.
    #[error("{0}")]
    Refused(String),
    /// Somebody who must be heard is not there. It may come.
    #[error("{0}")]
    Missing(String),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("creation", &self.creation)
            .field("resources", &self.resources)
            .field("changes", &self.changes)
            .field("evictions", &self.evictions)
            .finish_non_exhaustive()
    }
}

/// Nobody: NRI is switched off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nobody;

impl Plugins for Nobody {
    fn is_listening(&self) -> bool {
        false
    }

    fn tell(&self, _: Happening) -> Told<'_> {
        Box::pin(async { Ok(Answer::default()) })
    }

    fn settled(&self, _: &str) {}
}
