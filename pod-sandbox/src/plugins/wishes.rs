//! What others want of containers that exist.

use std::sync::Arc;
use std::time::Duration;

use super::{Change, Eviction, PluginError};
use crate::container::record::ContainerRecord;
use crate::container::{stop, update};
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
        self.inner.detached("a plugin's update", subject, async move { change(&inner, wanted).await }).await
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

/// Does all that is wanted.
///
/// # Errors
/// [`Error::Plugin`] with the plugin's name for the first that cannot be had and whose failure is not to be ignored.
pub(crate) async fn apply(
    inner: &Arc<Inner>,
    changes: Vec<Change>,
    evictions: Vec<Eviction>,
) -> Result<(), Error> {
    for wanted in evictions {
        let (plugin, container_id) = (wanted.plugin.clone(), wanted.container_id.clone());
        if let Err(error) = evict(inner, wanted).await {
            tracing::warn!(plugin, container_id, %error, "a container that a plugin wants to be gone stays");
        }
    }
    for wanted in changes {
        let Change { plugin, container_id, ignore_failure, .. } = wanted.clone();
        match change(inner, wanted).await {
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

async fn change(inner: &Arc<Inner>, wanted: Change) -> Result<(), Error> {
    let record = find::container(&inner.table.snapshot(), &wanted.container_id)?;
    update::limits(inner, &record.id, wanted.resources).await?;
    tracing::info!(container_id = %record.id, plugin = wanted.plugin, "container resources updated by a plugin");
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
