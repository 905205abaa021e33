//! RemoveContainer: all that it holds, the record last; its log stays.

use std::sync::Arc;
use std::time::Duration;

use linkspan_runtime_oci::crash_point;

use super::create::image_volumes;
use super::record::ContainerRecord;
use super::state::{Request, State, Verdict, admit};
use super::stop;
use crate::error::Error;
use crate::model::ContainerId;
use crate::operations::stage;
use crate::plugins::{self, What};
use crate::pods::{Inner, Pods};
use crate::table::blocking;
use crate::{exits, find, mounts};

impl Pods {
    /// Removes a container, by force if it runs. Unknown: Ok (CRI api.proto, RemoveContainer). Cancel safe: it goes
    /// on.
    ///
    /// # Errors
    /// [`Error::BadConfig`] for an empty ID, [`Error::Ambiguous`]; what could not be removed. It may be repeated.
    pub async fn remove_container(&self, id: &str) -> Result<(), Error> {
        let found = find::container(&self.inner.table.snapshot(), id);
        let Some(record) = find::if_there(found)? else { return Ok(()) };
        let (inner, subject) = (Arc::clone(&self.inner), record.id.clone());
        let work = Box::pin(async move {
            let _lock = record.entry.lock.exclusive().await;
            locked(&inner, &record.id).await
        });
        self.inner.detached("RemoveContainer", subject, work).await
    }
}

/// With the container's lock held.
pub(crate) async fn locked(inner: &Arc<Inner>, id: &ContainerId) -> Result<(), Error> {
    let awaits = |record: &Arc<ContainerRecord>| matches!(record.state, State::AwaitsRestore);
    match inner.table.snapshot().containers.get(id).is_some_and(awaits) {
        true => exits::never_restored(inner, id).await?,
        false => stop::by_id(inner, id, Duration::ZERO).await?,
    }
    let snapshot = inner.table.snapshot();
    let Some(record) = snapshot.containers.get(id) else { return Ok(()) };
    if admit(&record.state, Request::Remove) != Verdict::Proceed {
        return Ok(());
    }
    crash_point("container-remove-stopped");
    let view = plugins::both(inner, record).await?;
    release_runtime(inner, record).await?;
    release_files(inner, record).await?;
    crash_point("container-remove-files-gone");
    inner.table.remove::<ContainerRecord>(id).await?;
    crash_point("container-removed");
    tracing::info!(container_id = %id, "container removed");
    if let Some((pod, container)) = view {
        plugins::tell_after(inner, What::RemoveContainer, pod, Some(container)).await;
    }
    Ok(())
}

/// What an exited container still holds of the kernel: the runtime's state, its cgroup, its mounted root file
/// system. Each step succeeds if what it is about is gone already.
pub(crate) async fn release_runtime(inner: &Arc<Inner>, record: &ContainerRecord) -> Result<(), Error> {
    if record.shares_pid_namespace() {
        stage("killing what is in its cgroup", inner.cgroups.kill_all(&record.cgroup_path)).await?;
    }
    inner.delete_from_runtime(&record.handler, record.id.as_str(), Some(&record.cgroup_path)).await?;
    stage("removing its cgroup", inner.cgroups.remove(&record.cgroup_path)).await?;
    crash_point("container-runtime-released");
    let bundle = inner.layout.bundle(&record.sandbox_id, &record.id);
    image_volumes::unmount(inner, record, &bundle).await?;
    Ok(stage("unmounting its root file system", inner.images.unmount_rootfs(&bundle.join("rootfs"))).await?)
}

/// What it holds on disk.
pub(crate) async fn release_files(inner: &Arc<Inner>, record: &ContainerRecord) -> Result<(), Error> {
    if let Some(monitor) = inner.monitor(&record.sandbox_id) {
        stage("the monitor forgets it", monitor.forget(record.id.as_str())).await?;
    }
    stage("removing its root file system", inner.images.remove_rootfs(record.id.as_str())).await?;
    let dirs = [inner.layout.bundle(&record.sandbox_id, &record.id), inner.layout.volumes(&record.id)];
    blocking("removing a container's directories", move || {
        dirs.iter().try_for_each(|dir| mounts::remove_tree(dir))
    })
    .await
}
