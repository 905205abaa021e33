//! What others want of containers that exist.

use std::sync::Arc;
use std::time::Duration;

use super::{Change, Eviction, PluginError};
use crate::container::record::ContainerRecord;
use crate::container::stop;
use crate::container::update::LimitsChange;
use crate::error::Error;
use crate::find;
use crate::pods::{Inner, Pods};

impl Pods {
    /// Changes the limits of a container as somebody wants it, unasked.
    ///
    /// # Errors
    /// As for [`Pods::update_container_resources`].
    pub async fn change_for_plugin(&self, wanted: Change) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let subject = wanted.container_id.clone();
        let work = async move { change(&inner, in_line(&inner, &wanted), wanted).await };
        self.inner.detached("a plugin's update", subject, work).await
    }

    /// Stops a container as somebody wants it, unasked; returns when that has begun.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`].
    pub async fn evict_for_plugin(&self, wanted: Eviction) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let subject = wanted.container_id.clone();
        self.inner.detached("a plugin's eviction", subject, async move { evict(&inner, wanted).await }).await
    }
}

/// Does all that is wanted. `held` keeps others from being told until each change has its place in its container's row.
///
/// # Errors
/// As [`InLine::run`].
pub(crate) async fn apply(
    inner: &Arc<Inner>,
    changes: Vec<Change>,
    evictions: Vec<Eviction>,
    held: Option<Box<dyn Send + Sync>>,
) -> Result<(), Error> {
    let changes = InLine::begin(inner, changes, evictions).await;
    drop(held);
    changes.run(inner).await
}

/// Changes that have their places in their containers' rows: what is decided later is done later, and yet nobody waits for a
/// runtime that only another container's change waits for.
pub(crate) struct InLine(Vec<(Result<LimitsChange, Error>, Change)>);

impl InLine {
    /// Waits for no runtime. The evictions have begun then.
    pub(crate) async fn begin(inner: &Arc<Inner>, changes: Vec<Change>, evictions: Vec<Eviction>) -> Self {
        for wanted in evictions {
            let (plugin, container_id) = (wanted.plugin.clone(), wanted.container_id.clone());
            if let Err(error) = evict(inner, wanted).await {
                tracing::warn!(plugin, container_id, %error, "a container that a plugin wants to be gone stays");
            }
        }
        Self(changes.into_iter().map(|wanted| (in_line(inner, &wanted), wanted)).collect())
    }

    /// # Errors
    /// [`Error::Plugin`] with the plugin's name for the first that cannot be had and whose failure is not to be ignored.
    pub(crate) async fn run(self, inner: &Inner) -> Result<(), Error> {
        for (place, wanted) in self.0 {
            let Change { plugin, container_id, ignore_failure, .. } = wanted.clone();
            match change(inner, place, wanted).await {
                Ok(()) => {}
                Err(error) if ignore_failure => {
                    tracing::info!(plugin, container_id, %error, "a plugin's update does not succeed, which it does not mind");
                }
                Err(error) => {
                    let words = format!("NRI plugin {plugin}: update of container {container_id}: {error}");
                    return Err(PluginError::Refused(words).into());
                }
            }
        }
        Ok(())
    }
}

fn in_line(inner: &Inner, wanted: &Change) -> Result<LimitsChange, Error> {
    let record = find::container(&inner.table.snapshot(), &wanted.container_id)?;
    Ok(LimitsChange::in_line(&record))
}

async fn change(inner: &Inner, place: Result<LimitsChange, Error>, wanted: Change) -> Result<(), Error> {
    place?.run(inner, wanted.resources).await?;
    tracing::info!(
        container_id = wanted.container_id,
        plugin = wanted.plugin,
        "container resources updated by a plugin"
    );
    Ok(())
}

async fn evict(inner: &Arc<Inner>, wanted: Eviction) -> Result<(), Error> {
    let record = find::container(&inner.table.snapshot(), &wanted.container_id)?;
    let Eviction { plugin, reason, .. } = wanted;
    tracing::warn!(container_id = %record.id, plugin, reason, "container evicted by a plugin");
    let words = format!("evicted by NRI plugin {plugin}: {reason}");
    let note =
        move |record: &ContainerRecord| Some(ContainerRecord { evicted: Some(words), ..record.clone() });
    inner.table.update::<ContainerRecord>(&record.id, note).await?;
    let task_inner = Arc::clone(inner);
    inner.tasks.spawn(async move {
        if let Err(error) = stop::by_id(&task_inner, &record.id, Duration::ZERO).await {
            tracing::warn!(container_id = %record.id, %error, "an evicted container was not stopped");
        }
    });
    Ok(())
}
