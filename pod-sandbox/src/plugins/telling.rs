//! How operations tell of what they do. Where nobody listens, none of it costs anything.

use std::pin::Pin;
use std::sync::Arc;

use linkspan_runtime_oci::Resources;

use super::wishes::InLine;
use super::{Answer, ContainerView, Happening, PodView, What, apply, ask, views};
use crate::container::record::ContainerRecord;
use crate::container::update::LimitsChange;
use crate::error::Error;
use crate::model::ContainerId;
use crate::pods::Inner;
use crate::sandbox::record::SandboxRecord;
use crate::undo::Undo;

/// What was told to be made and is not to be seen yet.
pub(crate) struct InFlight {
    inner: Arc<Inner>,
    id: String,
}

impl InFlight {
    pub(crate) fn new(inner: &Arc<Inner>, id: &str) -> Self {
        Self { inner: Arc::clone(inner), id: id.to_owned() }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.inner.plugins.settled(&self.id);
    }
}

/// Tells that a pod is about to be ready. To be undone by telling that it is gone again. The pod is in flight until the
/// guard is dropped.
///
/// # Errors
/// [`Error::Plugin`] if somebody minds.
pub(crate) async fn pod_is_about_to(
    inner: &Arc<Inner>,
    record: &SandboxRecord,
    undo: &mut Undo,
) -> Result<InFlight, Error> {
    let guard = InFlight::new(inner, record.id.as_str());
    let pod = views::pod(record);
    let (undo_inner, gone) = (Arc::clone(inner), pod.clone());
    undo.push("tell plugins that the pod is gone", move || async move {
        if undo_inner.plugins.is_listening() {
            tell_after(&undo_inner, What::StopPodSandbox, gone.clone(), None).await;
            tell_after(&undo_inner, What::RemovePodSandbox, gone, None).await;
        }
        Ok(())
    });
    ask(inner, Happening { what: What::RunPodSandbox, pod, container: None }).await?;
    Ok(guard)
}

/// Tells what is about to be done to a pod.
///
/// # Errors
/// [`Error::Plugin`] if somebody minds.
pub(crate) async fn pod_is_asked(
    inner: &Arc<Inner>,
    record: &SandboxRecord,
    what: What,
) -> Result<(), Error> {
    if inner.plugins.is_listening() {
        let pod = views::pod(record);
        ask(inner, Happening { what, pod, container: None }).await?;
    }
    Ok(())
}

/// Tells what has been done to a pod. What anybody says to it is logged.
pub(crate) async fn happened(inner: &Arc<Inner>, record: &SandboxRecord, what: What) {
    if inner.plugins.is_listening() {
        tell_after(inner, what, views::pod(record), None).await;
    }
}

/// Tells what is about to be done to a container.
///
/// # Errors
/// [`Error::Plugin`] if somebody minds.
pub(crate) async fn container_is_about_to(
    inner: &Arc<Inner>,
    record: &Arc<ContainerRecord>,
    what: What,
) -> Result<(), Error> {
    if let Some((pod, container)) = both(inner, record).await? {
        ask(inner, Happening { what, pod, container: Some(container) }).await?;
    }
    Ok(())
}

/// Tells what has been done to a container.
pub(crate) async fn container_happened(inner: &Arc<Inner>, id: &ContainerId, what: What) {
    let Some(record) = inner.table.snapshot().containers.get(id).cloned() else { return };
    match both(inner, &record).await {
        Ok(Some((pod, container))) => tell_after(inner, what, pod, Some(container)).await,
        Ok(None) => {}
        Err(error) => tracing::warn!(container_id = %id, %error, "plugins are not told"),
    }
}

/// Asks what shall become of a change of limits. What the answer wants of other containers is done when this returns, and
/// this change has its place before what is decided later.
///
/// # Errors
/// [`Error::Plugin`] if somebody minds, or wants what cannot be had.
pub(crate) async fn updating(
    inner: &Arc<Inner>,
    record: &Arc<ContainerRecord>,
    wanted: Resources,
) -> Result<(Resources, LimitsChange), Error> {
    let Some((pod, container)) = both(inner, record).await? else {
        return Ok((wanted, LimitsChange::in_line(record)));
    };
    let what = What::UpdateContainer(wanted.clone());
    let answer = ask(inner, Happening { what, pod, container: Some(container) }).await?;
    let Answer { resources, changes, evictions, held, .. } = answer;
    let others = InLine::begin(inner, changes, evictions).await;
    let change = LimitsChange::in_line(record);
    drop(held);
    others.run(inner).await?;
    Ok((resources.unwrap_or(wanted), change))
}

/// Tells that a container has stopped, and does what is wanted of others. Boxed: what is wanted may be a stop, which
/// comes back here.
pub(crate) fn container_stopped<'a>(
    inner: &'a Arc<Inner>,
    record: &'a Arc<ContainerRecord>,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
    Box::pin(async move {
        drop(record.entry.starting.exclusive().await);
        match both(inner, record).await {
            Ok(Some((pod, container))) => {
                tell_after(inner, What::StopContainer, pod, Some(container)).await;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(container_id = %record.id, %error, "plugins are not told"),
        }
    })
}

/// Pod and container as they are now; `None` where nobody listens.
pub(crate) async fn both(
    inner: &Arc<Inner>,
    record: &Arc<ContainerRecord>,
) -> Result<Option<(PodView, ContainerView)>, Error> {
    if !inner.plugins.is_listening() {
        return Ok(None);
    }
    let Some(sandbox) = inner.table.snapshot().sandboxes.get(&record.sandbox_id).cloned() else {
        return Ok(None);
    };
    Ok(Some((views::pod(&sandbox), views::container_now(inner, record).await?)))
}

/// Of what cannot be undone any more.
pub(crate) async fn tell_after(
    inner: &Arc<Inner>,
    what: What,
    pod: PodView,
    container: Option<ContainerView>,
) {
    let sandbox_id = pod.id.clone();
    let told = ask(inner, Happening { what: what.clone(), pod, container }).await;
    let done = match told {
        Ok(Answer { changes, evictions, held, .. }) => apply(inner, changes, evictions, held).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = done {
        tracing::warn!(%sandbox_id, ?what, %error, "a plugin minds what has happened");
    }
}
