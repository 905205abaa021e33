//! UpdateContainerResources.

use std::sync::Arc;

use linkspan_runtime_oci::Resources;

use super::record::ContainerRecord;
use super::state::{Refused, Request, Verdict, admit};
use crate::error::{Error, Refusal};
use crate::model::ContainerId;
use crate::pods::{Inner, Pods};
use crate::resources::merge;
use crate::{find, validate};

impl Pods {
    /// Changes the limits of a created or running container; what the request leaves unset stays (CRI api.proto,
    /// UpdateContainerResources). Status shows the new ones. Cancel safe: it goes on.
    ///
    /// # Errors
    /// [`Error::BadConfig`] names the field; [`Error::NoSuchContainer`], [`Error::Ambiguous`]; [`Error::Refused`]
    /// once it has exited. If the runtime refuses, nothing is changed.
    pub async fn update_container_resources(&self, id: &str, resources: Resources) -> Result<(), Error> {
        let record = find::container(&self.inner.table.snapshot(), id)?;
        validate::resources("linux", &resources)?;
        let inner = Arc::clone(&self.inner);
        let work = Box::pin(async move {
            let _lock = inner.locks.exclusive(record.id.as_str()).await;
            locked(&inner, &record.id, resources).await
        });
        self.inner.detached("UpdateContainerResources", work).await
    }
}

async fn locked(inner: &Arc<Inner>, id: &ContainerId, wanted: Resources) -> Result<(), Error> {
    let snapshot = inner.table.snapshot();
    let record = snapshot.containers.get(id).ok_or_else(|| Error::NoSuchContainer(id.to_string()))?;
    match admit(&record.state, Request::Update) {
        Verdict::Proceed | Verdict::AlreadyDone => {}
        Verdict::Refuse(Refused::HasExited) => {
            return Err(Error::Refused(Refusal::Exited { id: id.to_string() }));
        }
        Verdict::Refuse(_) => {
            let state = record.state.for_cri();
            return Err(Error::Refused(Refusal::NotRunning { id: id.to_string(), state }));
        }
    }
    let merged = merge(record.resources(), &wanted);
    validate::resources("linux", &merged)?;
    // All of it: runtimes differ in what they do about values that are left out.
    inner.handler(&record.handler)?.runtime.update(id.as_str(), &merged, &inner.cgroups).await?;
    let change = move |record: &ContainerRecord| {
        let mut changed = record.clone();
        changed.config.linux.resources = merged;
        Some(changed)
    };
    inner.table.update::<ContainerRecord>(id, change).await?;
    tracing::info!(container_id = %id, "container resources updated");
    Ok(())
}
