//! RemovePodSandbox: all that is left, the record last.

use std::sync::Arc;

use linkspan_runtime_oci::crash_point;

use super::record::SandboxRecord;
use super::state::{Request, Verdict, admit};
use super::stop;
use crate::container::remove as container;
use crate::error::Error;
use crate::plugins::{self, What};
use crate::pods::{Inner, Pods};
use crate::table::blocking;
use crate::{exits, find, mounts, own_cgroups};

impl Pods {
    /// Removes a sandbox with its containers, by force if they run. Unknown: Ok (CRI api.proto, RemovePodSandbox).
    /// Cancel safe: it goes on.
    ///
    /// # Errors
    /// [`Error::BadConfig`] for an empty ID, [`Error::Ambiguous`]; what could not be removed. It may be repeated.
    pub async fn remove_sandbox(&self, id: &str) -> Result<(), Error> {
        let found = find::sandbox(&self.inner.table.snapshot(), id);
        let Some(record) = find::if_there(found)? else { return Ok(()) };
        let (inner, id) = (Arc::clone(&self.inner), record.id.clone());
        let work = Box::pin(async move {
            let _lock = stop::begin(&inner, &record).await?;
            locked(&inner, &record).await
        });
        self.inner.detached("RemovePodSandbox", id, work).await
    }
}

async fn locked(inner: &Arc<Inner>, before: &SandboxRecord) -> Result<(), Error> {
    let id = &before.id;
    stop::locked(inner, before).await?;
    let snapshot = inner.table.snapshot();
    let Some(record) = snapshot.sandboxes.get(id) else { return Ok(()) };
    if admit(&record.state, Request::Remove) != Verdict::Proceed {
        return Ok(());
    }
    for container in snapshot.containers.values().filter(|container| container.sandbox_id == *id) {
        let _lock = container.entry.lock.exclusive().await;
        container::locked(inner, &container.id).await?;
    }
    if let Some(monitor) = record.entry.monitor() {
        // It answered only after the stop.
        exits::end_monitor(id, &monitor).await?;
        record.entry.take_monitor();
    }
    crash_point("sandbox-remove-containers-gone");
    remnants(inner, record).await?;
    crash_point("sandbox-remove-files-gone");
    inner.table.remove::<SandboxRecord>(id).await?;
    crash_point("sandbox-removed");
    tracing::info!(sandbox_id = %id, "sandbox removed");
    plugins::happened(inner, record, What::RemovePodSandbox).await;
    Ok(())
}

/// Removes cgroups and directories of a sandbox that holds nothing else any more. Gone: Ok.
pub(crate) async fn remnants(inner: &Arc<Inner>, record: &SandboxRecord) -> Result<(), Error> {
    own_cgroups::remove_pods(inner, record).await?;
    let dir = inner.layout.pod_dir(&record.id);
    blocking("removing a pod's directory", move || mounts::remove_tree(&dir)).await
}
