//! StopPodSandbox: containers, then network, then pause, then namespaces and mounts.

use std::sync::Arc;
use std::time::Duration;

use linkspan_runtime_oci::{Timestamp, crash_point};

use super::record::SandboxRecord;
use super::run::first_container;
use super::state::{Request, Verdict, admit};
use crate::container::stop;
use crate::error::Error;
use crate::exits;
use crate::locks::Exclusive;
use crate::model::SandboxId;
use crate::operations::stage;
use crate::plugins::{self, What};
use crate::pods::{Inner, Pods};
use crate::table::blocking;
use crate::{find, mounts, namespaces};

/// For what others do to a sandbox once the runtime's call has ended, or was given up.
const OTHERS_LAST_WORDS: Duration = Duration::from_secs(30);

impl Pods {
    /// Stops a sandbox: its containers are killed, its network and namespaces let go of. Stopped or unknown: Ok.
    /// May be repeated after it failed half-way (CRI api.proto, StopPodSandbox). `budget` is what the caller will
    /// wait at most. Cancel safe: it goes on.
    ///
    /// # Errors
    /// [`Error::BadConfig`] for an empty ID, [`Error::Ambiguous`]; what could not be let go of.
    pub async fn stop_sandbox(&self, id: &str, budget: Option<Duration>) -> Result<(), Error> {
        let found = find::sandbox(&self.inner.table.snapshot(), id);
        let Some(record) = find::if_there(found)? else { return Ok(()) };
        let inner = Arc::clone(&self.inner);
        let id = record.id.clone();
        let work = Box::pin(async move {
            let _lock = begin(&inner, &record).await?;
            locked(&inner, &record).await
        });
        let what = "StopPodSandbox";
        match budget {
            None => self.inner.detached(what, &id, work).await,
            Some(after) => match tokio::time::timeout(after, self.inner.detached(what, &id, work)).await {
                Ok(result) => result,
                Err(_) => Err(Error::TimedOut { what: stopping(&self.inner, &id), after }),
            },
        }
    }
}

/// From here on no container is created or started in it: what is being created gives up what may hang, and all that
/// runs is killed, while this waits until nobody else acts on the sandbox.
pub(super) async fn begin(inner: &Arc<Inner>, record: &SandboxRecord) -> Result<Exclusive, Error> {
    let id = &record.id;
    if admit(&record.state, Request::Stop) != Verdict::AlreadyDone {
        exits::not_ready(inner, id).await?;
        crash_point("sandbox-stop-begun");
        let (task_inner, sandbox_id) = (Arc::clone(inner), id.clone());
        inner.tasks.spawn(async move {
            if let Err(error) = containers(&task_inner, &sandbox_id).await {
                tracing::debug!(%sandbox_id, %error, "not all containers are stopped yet");
            }
        });
    }
    // Whatever the runtime is doing there has ended by then, with its undoing.
    let after = inner.settings.runtime_timeout + OTHERS_LAST_WORDS;
    match tokio::time::timeout(after, record.entry.lock.exclusive()).await {
        Ok(lock) => Ok(lock),
        Err(_) => Err(Error::TimedOut { what: stopping(inner, id), after }),
    }
}

/// For an error: with what it waits for, and the creates that are in the way.
fn stopping(inner: &Inner, id: &SandboxId) -> String {
    let under_way = inner.operations.words_about(id.as_str()).join("; ");
    let creates = inner.creating_containers.names().into_iter();
    let names: Vec<String> =
        creates.filter(|(sandbox, _)| sandbox == id).map(|(_, container)| container.name).collect();
    match names.is_empty() {
        true => format!("stopping sandbox {id} [{under_way}]"),
        false => {
            let names = names.join(", ");
            format!("stopping sandbox {id} [{under_way}], where containers are being created ({names}),")
        }
    }
}

/// With the sandbox's lock held; `before` is what it was when the stop began.
pub(super) async fn locked(inner: &Arc<Inner>, before: &SandboxRecord) -> Result<(), Error> {
    let id = &before.id;
    let snapshot = inner.table.snapshot();
    let Some(record) = snapshot.sandboxes.get(id) else { return Ok(()) };
    if admit(&record.state, Request::Stop) == Verdict::AlreadyDone {
        return Ok(());
    }
    stage("stopping its containers", containers(inner, id)).await?;
    crash_point("sandbox-stop-containers-gone");
    // With all that is still to be let go of.
    let held = SandboxRecord { state: before.state.clone(), ..SandboxRecord::clone(record) };
    // Its network is still there: plugins may have put something into it.
    plugins::happened(inner, &held, What::StopPodSandbox).await;
    release(inner, &held).await?;
    crash_point("sandbox-stop-released");
    let change = |record: &SandboxRecord| {
        let state = record.state.stopped(Timestamp::now())?;
        Some(SandboxRecord { state, ..record.clone() })
    };
    inner.table.observe::<SandboxRecord>(id, change).await?;
    crash_point("sandbox-stopped");
    tracing::info!(sandbox_id = %id, "sandbox stopped");
    Ok(())
}

/// CRI: containers that still run are terminated by force.
async fn containers(inner: &Arc<Inner>, id: &SandboxId) -> Result<(), Error> {
    let snapshot = inner.table.snapshot();
    if let Some(record) = snapshot.sandboxes.get(id) {
        thaw(inner, record);
    }
    let stops: Vec<_> = snapshot
        .containers
        .values()
        .filter(|record| record.sandbox_id == *id)
        .map(|record| {
            let (inner, container) = (Arc::clone(inner), record.id.clone());
            tokio::spawn(async move { stop::by_id(&inner, &container, Duration::ZERO).await })
        })
        .collect();
    for stop in stops {
        stop.await.unwrap_or_else(|_| Err(Error::Lost { what: "stopping a container".to_owned() }))?;
    }
    Ok(())
}

/// What is the pod's own, whoever froze it: on cgroup v1 nothing that is frozen dies. A group that the request named may
/// be others' as well.
fn thaw(inner: &Inner, record: &SandboxRecord) {
    let own = inner.pod_cgroup(record.id.as_str());
    let group = if record.cgroup.parent == own { &own } else { &record.cgroup.pause };
    if let Err(error) = inner.cgroups.thaw(group) {
        tracing::debug!(sandbox_id = %record.id, %error, "a pod is not thawed");
    }
}

/// Lets go of all that a ready sandbox holds. Each step succeeds if what it is about is gone already. Namespaces go
/// after the network: plugins look into them.
pub(crate) async fn release(inner: &Arc<Inner>, record: &SandboxRecord) -> Result<(), Error> {
    if let Some(attachment) = &record.attachment {
        stage("network DEL", inner.network.detach(attachment)).await?;
        crash_point("sandbox-stop-detached");
    }
    // A runtime with a kernel of its own ends it in good order, as long as it is there.
    if let Err(error) = first_container::delete(inner, record).await {
        tracing::debug!(sandbox_id = %record.id, %error, "the runtime's sandbox is killed first");
    }
    if let Some(monitor) = record.entry.monitor() {
        stage("ending the monitor", exits::end_monitor(&record.id, &monitor)).await?;
    }
    // Not before: if it does not end, the next try finds it again.
    record.entry.take_monitor();
    // Without a monitor, or if it was killed before it had ended what is below it.
    stage("killing pause", exits::end_pause(inner, record)).await?;
    crash_point("sandbox-stop-monitor-gone");
    first_container::delete(inner, record).await?;
    namespaces::unpin(&inner.layout.namespaces_dir(&record.id)).await?;
    let shm = inner.layout.shm(&record.id);
    blocking("unmounting shm", move || mounts::unmount_all_at(&shm)).await
}
