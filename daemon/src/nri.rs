//! NRI plugins between pods and the hub that they connect to: what happens goes one way, wishes go the other.
//!
//! ```text
//! Pods ─ Happening ─▶ Nri (wire::nri) ─ messages ─▶ Hub ─▶ plugins
//! Pods ◀─ Change, Eviction ─ Wishes (wire::nri) ◀─ messages ─ Hub ◀─ plugins
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linkspan_nri::{Hub, Notice, Owned, Runtime, Turn, Updates, api, oci};
use linkspan_pod_sandbox::Pods;
use linkspan_pod_sandbox::model::Resources;
use linkspan_pod_sandbox::plugins::{
    Answer, CdiDevice, Change, ContainerView, Creation, Eviction, Happening, LimitSupport, PluginError,
    Plugins, PodView, Told, What,
};

use crate::wire::nri as wire;

/// The plugins of this node.
#[derive(Debug)]
pub(crate) struct Nri {
    hub: Hub,
    /// Told to be made and not yet to be found among the pods' own.
    in_flight: Mutex<InFlight>,
}

#[derive(Debug, Default)]
struct InFlight {
    pods: BTreeMap<String, PodView>,
    containers: BTreeMap<String, ContainerView>,
}

/// What plugins want.
struct Wishes {
    nri: Arc<Nri>,
    pods: Pods,
}

impl Nri {
    pub(crate) fn new(settings: linkspan_config::Nri) -> Arc<Self> {
        Arc::new(Self { hub: Hub::new(settings), in_flight: Mutex::default() })
    }

    /// Plugins may come; what they want is done to `pods`.
    pub(crate) async fn start(self: &Arc<Self>, pods: Pods) -> Result<(), linkspan_nri::Error> {
        self.hub.start(Arc::new(Wishes { nri: Arc::clone(self), pods })).await
    }

    pub(crate) async fn shutdown(&self) {
        self.hub.shutdown().await;
    }

    async fn told(&self, event: Happening) -> Result<Answer, linkspan_nri::Error> {
        let Happening { what, pod: view, container } = event;
        let turn = self.hub.turn().await;
        // The two that are told even if nobody listens: whoever comes now must know of them.
        match (what, container) {
            (What::CreateContainer(support), Some(container)) => {
                self.create_container(turn, &view, container, support).await
            }
            (What::RunPodSandbox, _) => {
                if !turn.is_empty() {
                    turn.notify(Notice::RunPodSandbox, &wire::pod(&view), None).await?;
                }
                self.in_flight().pods.insert(view.id.to_string(), view);
                Ok(Answer::default())
            }
            _ if turn.is_empty() => Ok(Answer::default()),
            (What::UpdateContainer(wanted), Some(container)) => {
                update_container(turn, &view, &container, wanted).await
            }
            (What::StopContainer, Some(container)) => {
                let stopped = turn.stop_container(&wire::pod(&view), &wire::container(&container)).await;
                let (updates, result) = stopped;
                if let Err(error) = result {
                    tracing::warn!(container_id = %container.status.id, %error, "a plugin minds that a container has stopped");
                }
                Ok(with_wishes(updates, turn))
            }
            (What::UpdatePodSandbox { overhead, resources }, _) => {
                let wire_of = |resources: Option<Resources>| resources.as_ref().map(wire::resources);
                turn.update_pod_sandbox(&wire::pod(&view), wire_of(overhead), wire_of(resources)).await?;
                Ok(Answer::default())
            }
            (what, container) => {
                let container = container.as_ref().map(wire::container);
                match notice(&what) {
                    Some(notice) => turn.notify(notice, &wire::pod(&view), container.as_ref()).await?,
                    None => tracing::error!(?what, "an event of a container without one"),
                }
                Ok(Answer::default())
            }
        }
    }

    async fn create_container(
        &self,
        turn: Turn,
        pod: &PodView,
        mut view: ContainerView,
        support: LimitSupport,
    ) -> Result<Answer, linkspan_nri::Error> {
        let id = view.status.id.to_string();
        let name = &view.status.metadata.name;
        let mut answer = Answer::default();
        if turn.is_empty() {
            turn.check_required(&pod.config.annotations, name)?;
        } else {
            let creation = turn.create_container(&wire::pod(pod), wire::container(&view)).await?;
            // Only now: one that was lost over it has had no say.
            turn.check_required(&pod.config.annotations, name)?;
            if creation.adjust != api::ContainerAdjustment::default() {
                answer.creation = Some(adjusted(&view, &creation, support)?);
            }
            if let Some(creation) = &answer.creation {
                view.spec = Arc::new(creation.spec.clone());
            }
            answer = Answer { creation: answer.creation, ..with_wishes(creation.updates, turn) };
        }
        self.in_flight().containers.insert(id, view);
        Ok(answer)
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plugins for Nri {
    fn is_listening(&self) -> bool {
        self.hub.is_listening()
    }

    fn tell(&self, event: Happening) -> Told<'_> {
        let told = Box::pin(self.told(event));
        Box::pin(async move {
            told.await.map_err(|error| match error {
                linkspan_nri::Error::Missing { .. } => PluginError::Missing(error.to_string()),
                error => PluginError::Refused(error.to_string()),
            })
        })
    }

    fn settled(&self, id: &str) {
        let mut in_flight = self.in_flight();
        in_flight.pods.remove(id);
        in_flight.containers.remove(id);
    }
}

/// Those without an answer.
fn notice(what: &What) -> Option<Notice> {
    match what {
        What::RunPodSandbox => Some(Notice::RunPodSandbox),
        What::PostUpdatePodSandbox => Some(Notice::PostUpdatePodSandbox),
        What::StopPodSandbox => Some(Notice::StopPodSandbox),
        What::RemovePodSandbox => Some(Notice::RemovePodSandbox),
        What::PostCreateContainer => Some(Notice::PostCreateContainer),
        What::StartContainer => Some(Notice::StartContainer),
        What::PostStartContainer => Some(Notice::PostStartContainer),
        What::PostUpdateContainer => Some(Notice::PostUpdateContainer),
        What::RemoveContainer => Some(Notice::RemoveContainer),
        What::CreateContainer(_)
        | What::UpdateContainer(_)
        | What::StopContainer
        | What::UpdatePodSandbox { .. } => None,
    }
}

async fn update_container(
    turn: Turn,
    pod: &PodView,
    view: &ContainerView,
    wanted: Resources,
) -> Result<Answer, linkspan_nri::Error> {
    let (pod, container) = (wire::pod(pod), wire::container(view));
    let (limits, updates) = turn.update_container(&pod, &container, wire::resources(&wanted)).await?;
    let mut resources = wanted;
    wire::overlay(&limits, &mut resources);
    Ok(Answer { resources: Some(resources), ..with_wishes(updates, turn) })
}

/// The container as plugins want it.
fn adjusted(
    view: &ContainerView,
    creation: &linkspan_nri::Creation,
    support: LimitSupport,
) -> Result<Creation, linkspan_nri::Error> {
    let (id, adjust) = (view.status.id.as_str(), &creation.adjust);
    let host = oci::Host { cgroup_v2: support.cgroup_v2, swap: support.swap, hugetlb: support.hugetlb };
    let mut spec = view.spec.as_ref().clone();
    oci::adjust(&mut spec, id, adjust, &creation.owners, host)?;
    let mut resources = view.status.resources.clone();
    if let Some(limits) = adjust.linux.as_ref().and_then(|linux| linux.resources.as_ref()) {
        wire::overlay(limits, &mut resources);
    }
    let owner = |name: &str| creation.owners.of(id, api::Field::CdiDevices, Some(name)).unwrap_or_default();
    let cdi_devices = adjust
        .cdi_devices
        .iter()
        .map(|device| CdiDevice { plugin: owner(&device.name).to_owned(), name: device.name.clone() });
    Ok(Creation { spec, resources, cdi_devices: cdi_devices.collect() })
}

fn with_wishes(updates: Updates, turn: Turn) -> Answer {
    Answer {
        changes: updates.updates.into_iter().map(change).collect(),
        evictions: updates.evictions.into_iter().map(eviction).collect(),
        held: Some(Box::new(turn)),
        ..Answer::default()
    }
}

fn change(Owned { plugin, wish }: Owned<api::ContainerUpdate>) -> Change {
    let mut resources = Resources::default();
    if let Some(limits) = wish.linux.as_ref().and_then(|linux| linux.resources.as_ref()) {
        wire::overlay(limits, &mut resources);
    }
    Change { plugin, container_id: wish.container_id, resources, ignore_failure: wish.ignore_failure }
}

fn eviction(Owned { plugin, wish }: Owned<api::ContainerEviction>) -> Eviction {
    Eviction { plugin, container_id: wish.container_id, reason: wish.reason }
}

impl Runtime for Wishes {
    fn objects(
        &self,
    ) -> Pin<Box<dyn Future<Output = (Vec<api::PodSandbox>, Vec<api::Container>)> + Send + '_>> {
        Box::pin(async move {
            // First: what is in flight now is either still so when the others are looked at, or among them.
            let (mut pods, mut containers) = {
                let in_flight = self.nri.in_flight();
                let pods = in_flight.pods.iter().map(|(id, view)| (id.clone(), wire::pod(view)));
                let containers =
                    in_flight.containers.iter().map(|(id, view)| (id.clone(), wire::container(view)));
                (pods.collect::<BTreeMap<_, _>>(), containers.collect::<BTreeMap<_, _>>())
            };
            match self.pods.plugin_views().await {
                Ok((pod_views, container_views)) => {
                    pods.extend(pod_views.iter().map(|view| (view.id.to_string(), wire::pod(view))));
                    let views = container_views
                        .iter()
                        .map(|view| (view.status.id.to_string(), wire::container(view)));
                    containers.extend(views);
                }
                Err(error) => tracing::error!(%error, "a plugin does not get to know what there is"),
            }
            (pods.into_values().collect(), containers.into_values().collect())
        })
    }

    fn update<'a>(
        &'a self,
        plugin: &'a str,
        updates: Vec<api::ContainerUpdate>,
        evictions: Vec<api::ContainerEviction>,
    ) -> Pin<Box<dyn Future<Output = Vec<api::ContainerUpdate>> + Send + 'a>> {
        Box::pin(async move {
            for wish in evictions {
                let container_id = wish.container_id.clone();
                let wanted = eviction(Owned { plugin: plugin.to_owned(), wish });
                if let Err(error) = self.pods.evict_for_plugin(wanted).await {
                    tracing::warn!(plugin, container_id, %error, "a container that a plugin wants to be gone stays");
                }
            }
            let mut failed = Vec::new();
            for update in updates {
                let outcome = match oci::refused_in_updates(&update) {
                    Some(reason) => Err(reason),
                    None => {
                        let wanted = change(Owned { plugin: plugin.to_owned(), wish: update.clone() });
                        self.pods.change_for_plugin(wanted).await.map_err(|error| error.to_string())
                    }
                };
                if let Err(reason) = outcome {
                    let container_id = update.container_id.as_str();
                    tracing::warn!(plugin, container_id, reason, "a plugin's update does not succeed");
                    failed.push(update);
                }
            }
            failed
        })
    }
}
