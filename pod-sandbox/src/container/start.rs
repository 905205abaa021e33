//! StartContainer: once, and only what was created.

use std::sync::Arc;

use linkspan_runtime_oci::{Timestamp, crash_point};

use super::record::ContainerRecord;
use super::remove;
use super::state::{Request, State, Verdict, admit};
use crate::checkpoint::restore;
use crate::error::{Error, Refusal};
use crate::find;
use crate::model::ContainerId;
use crate::operations::stage;
use crate::plugins::{self, What};
use crate::pods::{Inner, Pods};
use crate::sandbox::state as sandbox;

impl Pods {
    /// Starts a created container (CRI api.proto, StartContainer). Cancel safe: it goes on.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`]; [`Error::Refused`] if it was started before, or its sandbox
    /// is not ready. If the runtime cannot start it, its words are in the error and the container is removed.
    pub async fn start_container(&self, id: &str) -> Result<(), Error> {
        let record = find::container(&self.inner.table.snapshot(), id)?;
        let (inner, subject) = (Arc::clone(&self.inner), record.id.clone());
        let work = Box::pin(async move {
            let _sandbox = inner.hold_pod(&record.sandbox_id).await;
            let _lock = record.entry.lock.exclusive().await;
            locked(&inner, &record.id).await
        });
        self.inner.detached("StartContainer", subject, work).await
    }
}

async fn locked(inner: &Arc<Inner>, id: &ContainerId) -> Result<(), Error> {
    let snapshot = inner.table.snapshot();
    let record = snapshot.containers.get(id).ok_or_else(|| Error::NoSuchContainer(id.to_string()))?;
    if admit(&record.state, Request::Start) != Verdict::Proceed {
        let state = record.state.for_cri();
        return Err(Error::Refused(Refusal::NotCreated { id: id.to_string(), state }));
    }
    let sandbox = snapshot.sandboxes.get(&record.sandbox_id);
    let sandbox = sandbox.ok_or_else(|| Error::NoSuchSandbox(record.sandbox_id.to_string()))?;
    if sandbox::admit(&sandbox.state, sandbox::Request::StartContainer) != sandbox::Verdict::Proceed {
        let state = sandbox.state.for_cri();
        return Err(Error::Refused(Refusal::SandboxNotReady { id: sandbox.id.to_string(), state }));
    }
    // Taken before: a container may end before the runtime does.
    let now = Timestamp::now();
    let starting = record.entry.starting.exclusive().await;
    if let Err(error) = start(inner, record).await {
        drop(starting);
        // Contract: a failed start leaves nothing behind.
        if let Err(left) = remove::locked(inner, id).await {
            tracing::warn!(container_id = %id, error = %left, "a container that did not start could not be removed");
        }
        return Err(error);
    }
    crash_point("container-runtime-started");
    let change = move |record: &ContainerRecord| {
        let state = record.state.started(now)?;
        Some(ContainerRecord { state, ..record.clone() })
    };
    inner.table.observe::<ContainerRecord>(id, change).await?;
    crash_point("container-running");
    tracing::info!(container_id = %id, "container started");
    plugins::container_happened(inner, id, What::PostStartContainer).await;
    drop(starting);
    Ok(())
}

async fn start(inner: &Arc<Inner>, record: &Arc<ContainerRecord>) -> Result<(), Error> {
    plugins::container_is_about_to(inner, record, What::StartContainer).await?;
    match record.state {
        State::AwaitsRestore => stage("runtime restore", restore::start(inner, record)).await,
        _ => {
            let runtime = inner.runtime(&record.handler)?;
            Ok(stage("runtime start", runtime.start(record.id.as_str())).await?)
        }
    }
}
