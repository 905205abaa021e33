//! UpdateContainerResources.

use std::sync::Arc;

use linkspan_runtime_oci::{CgroupMode, Resources, spec};

use super::record::ContainerRecord;
use super::state::{Refused, Request, Verdict, admit};
use crate::error::{Error, Refusal};
use crate::locks::InLine;
use crate::model::ContainerId;
use crate::operations::stage;
use crate::plugins::{self, What};
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
        let (inner, subject) = (Arc::clone(&self.inner), record.id.clone());
        let work = Box::pin(async move {
            let _lock = record.entry.lock.exclusive().await;
            locked(&inner, &record.id, resources).await
        });
        self.inner.detached("UpdateContainerResources", subject, work).await
    }
}

async fn locked(inner: &Arc<Inner>, id: &ContainerId, wanted: Resources) -> Result<(), Error> {
    let snapshot = inner.table.snapshot();
    let record = snapshot.containers.get(id).ok_or_else(|| Error::NoSuchContainer(id.to_string()))?;
    check_state(record)?;
    let (wanted, change) = plugins::updating(inner, record, wanted).await?;
    change.run(inner, wanted).await?;
    tracing::info!(container_id = %id, "container resources updated");
    plugins::container_happened(inner, id, What::PostUpdateContainer).await;
    Ok(())
}

/// A change of the limits alone. Whoever holds the container's lock may ask for one, and whoever holds none: they are made in
/// the order in which they were asked for.
pub(crate) struct LimitsChange {
    id: ContainerId,
    place: InLine,
}

impl LimitsChange {
    /// Waits for nobody.
    pub(crate) fn in_line(record: &ContainerRecord) -> Self {
        Self { id: record.id.clone(), place: record.entry.limits.in_line() }
    }

    pub(crate) async fn run(self, inner: &Inner, wanted: Resources) -> Result<(), Error> {
        let _turn = self.place.turn().await;
        set(inner, &self.id, wanted).await
    }
}

async fn set(inner: &Inner, id: &ContainerId, wanted: Resources) -> Result<(), Error> {
    let snapshot = inner.table.snapshot();
    let record = snapshot.containers.get(id).ok_or_else(|| Error::NoSuchContainer(id.to_string()))?;
    check_state(record)?;
    let merged = merge(record.resources(), &wanted);
    validate::resources("linux", &merged)?;
    spec::check_support("linux", &merged, inner.cgroups.support(), inner.cgroups.mode())?;
    let usage = inner.cgroups.stats(&record.cgroup_path).ok();
    // cgroup v2 takes any limit and kills until it is kept. What it can drop instead, files that nobody uses, does not count.
    if inner.cgroups.mode() == CgroupMode::V2 {
        fits(id, &merged, usage.as_ref().map(|usage| usage.memory_working_set_bytes))?;
    }
    // All of it: runtimes differ in what they do about values that are left out.
    let runtime = inner.runtime(&record.handler)?;
    let updated = stage("runtime update", runtime.update(id.as_str(), &merged, &inner.cgroups)).await;
    if let Err(error) = updated {
        // cgroup v1 itself refuses it, in the runtime's words.
        fits(id, &merged, usage.as_ref().map(|usage| usage.memory_usage_bytes))?;
        return Err(error.into());
    }
    let change = move |record: &ContainerRecord| {
        let mut changed = record.clone();
        changed.config.linux.resources = merged;
        Some(changed)
    };
    inner.table.update::<ContainerRecord>(id, change).await.map(drop)
}

fn fits(id: &ContainerId, wanted: &Resources, usage_bytes: Option<u64>) -> Result<(), Error> {
    let limit_bytes = wanted.memory_limit_bytes;
    let is_limit = u64::try_from(limit_bytes).ok().filter(|limit| *limit > 0);
    match (is_limit, usage_bytes) {
        (Some(limit), Some(usage_bytes)) if usage_bytes > limit => {
            Err(Error::Refused(Refusal::MemoryInUse { id: id.to_string(), usage_bytes, limit_bytes }))
        }
        _ => Ok(()),
    }
}

fn check_state(record: &ContainerRecord) -> Result<(), Error> {
    let id = record.id.to_string();
    match admit(&record.state, Request::Update) {
        Verdict::Proceed | Verdict::AlreadyDone => Ok(()),
        Verdict::Refuse(Refused::HasExited) => Err(Error::Refused(Refusal::Exited { id })),
        Verdict::Refuse(_) => {
            let state = record.state.for_cri();
            Err(Error::Refused(Refusal::NotRunning { id, state }))
        }
    }
}
