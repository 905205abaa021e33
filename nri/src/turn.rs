//! The telling of one event: every plugin in its order, and what comes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use crate::api::{
    Container, ContainerAdjustment, ContainerEviction, ContainerUpdate, CreateContainerRequest,
    CreateContainerResponse, Event, LinuxResources, PluginInstance, PodSandbox, PostCreateContainerRequest,
    PostStartContainerRequest, PostUpdateContainerRequest, PostUpdatePodSandboxRequest,
    RemoveContainerRequest, RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest,
    StateChangeEvent, StopContainerRequest, StopContainerResponse, StopPodSandboxRequest,
    UpdateContainerRequest, UpdateContainerResponse, UpdatePodSandboxRequest, UpdatePodSandboxResponse,
    ValidateContainerAdjustmentRequest, ValidateContainerAdjustmentResponse,
};
use crate::error::Error;
use crate::merge::{Adjusting, Owners, Updating};
use crate::plugin::Plugin;
use crate::required::Required;

/// An event to which plugins have nothing to say but that they mind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    RunPodSandbox,
    PostUpdatePodSandbox,
    StopPodSandbox,
    RemovePodSandbox,
    PostCreateContainer,
    StartContainer,
    PostStartContainer,
    PostUpdateContainer,
    RemoveContainer,
}

/// What plugins want of other containers.
#[derive(Debug, Default)]
pub struct Updates {
    pub updates: Vec<Owned<ContainerUpdate>>,
    pub evictions: Vec<Owned<ContainerEviction>>,
}

/// A wish, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned<T> {
    /// Several, separated by commas, if they share it.
    pub plugin: String,
    pub wish: T,
}

/// What plugins make of a container.
#[derive(Debug)]
pub struct Creation {
    pub adjust: ContainerAdjustment,
    pub owners: Owners,
    pub updates: Updates,
}

/// The plugins, for as long as one event is told and its consequences are seen to: whoever holds it must not wait for
/// another one.
#[derive(Debug)]
pub struct Turn {
    plugins: OwnedMutexGuard<Vec<Arc<Plugin>>>,
    required: Required,
}

impl Turn {
    pub(crate) fn new(plugins: OwnedMutexGuard<Vec<Arc<Plugin>>>, required: Required) -> Self {
        Self { plugins, required }
    }

    /// Nobody listens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.plugins.iter().any(|plugin| plugin.is_connected())
    }

    /// Whether all plugins are there without which `container` of a pod with these annotations must not be created. To be
    /// asked after they were: one that was lost over it has had no say.
    ///
    /// # Errors
    /// [`Error::Missing`] names those that are not connected.
    pub fn check_required(
        &self,
        annotations: &BTreeMap<String, String>,
        container: &str,
    ) -> Result<(), Error> {
        let is_there = |wanted: &str| {
            let is_it = |plugin: &Arc<Plugin>| plugin.base == wanted || plugin.name() == wanted;
            self.plugins.iter().any(|plugin| plugin.is_connected() && is_it(plugin))
        };
        let wanted = self.required.of(annotations, container);
        let missing: Vec<String> = wanted.into_iter().filter(|name| !is_there(name)).collect();
        if missing.is_empty() { Ok(()) } else { Err(Error::Missing { plugins: missing }) }
    }

    /// Tells of something that happens to a pod, or to a container of it.
    ///
    /// # Errors
    /// [`Error::Plugin`] of the first one that minds. Of what has happened already, all hear nevertheless.
    pub async fn notify(
        &self,
        notice: Notice,
        pod: &PodSandbox,
        container: Option<&Container>,
    ) -> Result<(), Error> {
        let mut first = Ok(());
        for plugin in self.plugins.iter() {
            let told = tell(plugin, notice, pod, container).await;
            if told.is_err() && notice.can_be_refused() {
                return told;
            }
            first = first.and(told);
        }
        first
    }

    /// Tells that the resources of a pod are about to change.
    ///
    /// # Errors
    /// [`Error::Plugin`] of the first one that minds.
    pub async fn update_pod_sandbox(
        &self,
        pod: &PodSandbox,
        overhead: Option<LinuxResources>,
        resources: Option<LinuxResources>,
    ) -> Result<(), Error> {
        let request = UpdatePodSandboxRequest {
            pod: Some(pod.clone()),
            overhead_linux_resources: overhead,
            linux_resources: resources,
        };
        for plugin in self.plugins.iter() {
            plugin
                .relay::<_, UpdatePodSandboxResponse>(Event::UpdatePodSandbox, "UpdatePodSandbox", &request)
                .await?;
        }
        Ok(())
    }

    /// Asks what a container shall be.
    ///
    /// # Errors
    /// [`Error::Plugin`], [`Error::Conflict`], [`Error::Refused`], [`Error::Rejected`].
    pub async fn create_container(&self, pod: &PodSandbox, container: Container) -> Result<Creation, Error> {
        const CALL: &str = "CreateContainer";
        let pristine = container.clone();
        let id = container.id.clone();
        let (mut owners, mut updating) = (Owners::default(), Updating::default());
        let mut adjusting = Adjusting::new(container);
        let mut evictions = Vec::new();
        for plugin in self.plugins.iter() {
            let request = CreateContainerRequest {
                pod: Some(pod.clone()),
                container: Some(adjusting.container.clone()),
            };
            let answer =
                plugin.relay::<_, CreateContainerResponse>(Event::CreateContainer, CALL, &request).await?;
            let Some(CreateContainerResponse { adjust, update, evict }) = answer else { continue };
            let name = plugin.name();
            if let Some(adjust) = adjust {
                adjusting.take(&mut owners, &name, adjust)?;
            }
            updating.take(&mut owners, &name, update, Some(&id), None)?;
            evictions.extend(owned(&name, evict));
        }
        let request = ValidateContainerAdjustmentRequest {
            pod: Some(pod.clone()),
            container: Some(pristine),
            adjust: Some(adjusting.adjust),
            update: updating.messages(),
            owners: Some(owners.as_message()),
            plugins: self
                .plugins
                .iter()
                .map(|plugin| PluginInstance { name: plugin.base.clone(), index: plugin.index.clone() })
                .collect(),
        };
        self.validate(&request, &id).await?;
        let adjust = request.adjust.unwrap_or_default();
        Ok(Creation { adjust, owners, updates: Updates { updates: merged(updating), evictions } })
    }

    /// Fails closed: a validator that does not answer has not agreed.
    async fn validate(&self, request: &ValidateContainerAdjustmentRequest, id: &str) -> Result<(), Error> {
        const CALL: &str = "ValidateContainerAdjustment";
        const EVENT: Event = Event::ValidateContainerAdjustment;
        for plugin in self.plugins.iter().filter(|plugin| plugin.wants(EVENT)) {
            let answer: Option<ValidateContainerAdjustmentResponse> =
                plugin.relay(EVENT, CALL, request).await?;
            let rejected = |reason: String| Error::Rejected {
                plugin: plugin.name(),
                container_id: id.to_owned(),
                reason,
            };
            match answer {
                Some(answer) if answer.reject && answer.reason.is_empty() => {
                    return Err(rejected("it gives no reason".to_owned()));
                }
                Some(answer) if answer.reject => return Err(rejected(answer.reason)),
                Some(_) => {}
                None => return Err(rejected("it did not answer and was disconnected".to_owned())),
            }
        }
        Ok(())
    }

    /// Asks what shall become of a change of limits. Gives the limits as plugins want them.
    ///
    /// # Errors
    /// [`Error::Plugin`], [`Error::Conflict`].
    pub async fn update_container(
        &self,
        pod: &PodSandbox,
        container: &Container,
        mut resources: LinuxResources,
    ) -> Result<(LinuxResources, Updates), Error> {
        const CALL: &str = "UpdateContainer";
        let (mut owners, mut updating) = (Owners::default(), Updating::default());
        let mut evictions = Vec::new();
        for plugin in self.plugins.iter() {
            let request = UpdateContainerRequest {
                pod: Some(pod.clone()),
                container: Some(container.clone()),
                linux_resources: Some(resources.clone()),
            };
            let answer =
                plugin.relay::<_, UpdateContainerResponse>(Event::UpdateContainer, CALL, &request).await?;
            let Some(UpdateContainerResponse { update, evict }) = answer else { continue };
            let name = plugin.name();
            updating.take(&mut owners, &name, update, None, Some((&container.id, &mut resources)))?;
            evictions.extend(owned(&name, evict));
        }
        Ok((resources, Updates { updates: merged(updating), evictions }))
    }

    /// Tells that a container has stopped, and asks what shall become of others.
    ///
    /// # Errors
    /// [`Error::Plugin`], [`Error::Conflict`]; all plugins hear of it nevertheless.
    pub async fn stop_container(
        &self,
        pod: &PodSandbox,
        container: &Container,
    ) -> (Updates, Result<(), Error>) {
        const CALL: &str = "StopContainer";
        let request = StopContainerRequest { pod: Some(pod.clone()), container: Some(container.clone()) };
        let (mut owners, mut updating) = (Owners::default(), Updating::default());
        let mut first = Ok(());
        for plugin in self.plugins.iter() {
            let answer = plugin.relay::<_, StopContainerResponse>(Event::StopContainer, CALL, &request).await;
            let taken = answer.and_then(|answer| {
                let update = answer.map(|answer| answer.update).unwrap_or_default();
                updating.take(&mut owners, &plugin.name(), update, None, None)
            });
            first = first.and(taken);
        }
        (Updates { updates: merged(updating), evictions: Vec::new() }, first)
    }
}

impl Notice {
    /// What has not happened yet need not happen.
    fn can_be_refused(self) -> bool {
        matches!(self, Self::RunPodSandbox | Self::StartContainer)
    }
}

async fn tell(
    plugin: &Plugin,
    notice: Notice,
    pod: &PodSandbox,
    container: Option<&Container>,
) -> Result<(), Error> {
    let change = |event: Event| StateChangeEvent {
        event: event.into(),
        pod: Some(pod.clone()),
        container: container.cloned(),
    };
    macro_rules! of_pod {
        ($event:ident, $request:ident) => {{
            let request = $request { pod: Some(pod.clone()) };
            plugin.notify(stringify!($event), &request, &change(Event::$event)).await
        }};
    }
    macro_rules! of_container {
        ($event:ident, $request:ident) => {{
            let request = $request { pod: Some(pod.clone()), container: container.cloned() };
            plugin.notify(stringify!($event), &request, &change(Event::$event)).await
        }};
    }
    match notice {
        Notice::RunPodSandbox => of_pod!(RunPodSandbox, RunPodSandboxRequest),
        Notice::PostUpdatePodSandbox => of_pod!(PostUpdatePodSandbox, PostUpdatePodSandboxRequest),
        Notice::StopPodSandbox => of_pod!(StopPodSandbox, StopPodSandboxRequest),
        Notice::RemovePodSandbox => of_pod!(RemovePodSandbox, RemovePodSandboxRequest),
        Notice::PostCreateContainer => of_container!(PostCreateContainer, PostCreateContainerRequest),
        Notice::StartContainer => of_container!(StartContainer, StartContainerRequest),
        Notice::PostStartContainer => of_container!(PostStartContainer, PostStartContainerRequest),
        Notice::PostUpdateContainer => of_container!(PostUpdateContainer, PostUpdateContainerRequest),
        Notice::RemoveContainer => of_container!(RemoveContainer, RemoveContainerRequest),
    }
}

fn owned<T>(plugin: &str, wishes: Vec<T>) -> impl Iterator<Item = Owned<T>> {
    wishes.into_iter().map(move |wish| Owned { plugin: plugin.to_owned(), wish })
}

fn merged(updating: Updating) -> Vec<Owned<ContainerUpdate>> {
    let owned =
        |merged: crate::merge::Merged| Owned { plugin: merged.plugins.join(","), wish: merged.update };
    updating.into_updates().into_iter().map(owned).collect()
}
