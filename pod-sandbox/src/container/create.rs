//! CreateContainer: a root file system first, since facts are read in it; then facts → plan → apply.
//!
//! ```text
//! record ─ root file system mounted ─ facts ─ plan ─ directories, volumes ─ spec ─ runtime's create ─▶ Created
//! ```

mod apply;
mod facts;
pub(crate) mod image_volumes;
mod plan;
mod reserve;
mod volumes;

pub(crate) use apply::remove_unused_log;

use std::path::PathBuf;
use std::sync::Arc;

use super::record::ContainerRecord;
use super::validate;
use crate::error::{Error, Refusal};
use crate::exits;
use crate::find;
use crate::model::{ContainerConfig, ContainerId, ContainerState, SandboxId};
use crate::operations::stage;
use crate::plugins::{self, What};
use crate::pods::{Inner, Pods};
use crate::sandbox::record::SandboxRecord;
use crate::sandbox::state::{Request, Verdict, admit};
use crate::table::Snapshot;
use crate::undo::Undo;

impl Pods {
    /// Makes a container up to the point where only its command has to be started. The same metadata in the same
    /// sandbox again joins the running call, or returns the container that is there and has not ended (CRI api.proto,
    /// CreateContainer). Cancel safe: it is finished, and found by the retry.
    ///
    /// # Errors
    /// [`Error::NoSuchSandbox`], [`Error::Ambiguous`]; [`Error::BadConfig`] names the field; [`Error::NoSuchImage`];
    /// [`Error::Refused`] once the sandbox is not ready, and if a container that has ended has the metadata. Everything leaves
    /// nothing behind.
    pub async fn create_container(
        &self,
        sandbox_id: &str,
        config: ContainerConfig,
    ) -> Result<ContainerId, Error> {
        let inner = Arc::clone(&self.inner);
        inner.check_open()?;
        let sandbox = find::sandbox(&inner.table.snapshot(), sandbox_id)?;
        validate::check(&config, &sandbox.config)?;
        let name = (sandbox.id.clone(), config.metadata.clone());
        let same = || {
            let snapshot = inner.table.snapshot();
            let same = |record: &&Arc<ContainerRecord>| {
                record.sandbox_id == name.0 && record.config.metadata == name.1
            };
            snapshot.containers.values().find(same).cloned()
        };
        if let Some(record) = same() {
            // Let a removal of it that is under way end first: its ID would be of no use.
            drop(record.entry.lock.shared().await);
        }
        let find = || same().map(|record| reused(&record));
        let subject = format!("{} in {}", config.metadata.name, sandbox.id);
        let work = || {
            let work = Box::pin(run(Arc::clone(&inner), sandbox.id.clone(), config, None));
            inner.operations.run("CreateContainer", &subject, work)
        };
        inner.creating_containers.join(name.clone(), &inner.tasks, find, work).await
    }
}

fn reused(record: &ContainerRecord) -> Result<ContainerId, Error> {
    match record.state.for_cri() {
        ContainerState::Created | ContainerState::Running => Ok(record.id.clone()),
        state => {
            let id = record.id.to_string();
            Err(Error::Refused(Refusal::ContainerMetadataTaken { id, state }))
        }
    }
}

/// A container whose processes are in `archive` and come with its start.
///
/// # Errors
/// As for [`Pods::create_container`]; [`Error::BadConfig`] for what is no archive.
pub(crate) async fn restored(
    pods: &Pods,
    sandbox: &SandboxId,
    config: ContainerConfig,
    archive: PathBuf,
) -> Result<ContainerId, Error> {
    let inner = &pods.inner;
    let record = find::sandbox(&inner.table.snapshot(), sandbox.as_str())?;
    validate::check(&config, &record.config)?;
    Box::pin(run(Arc::clone(inner), sandbox.clone(), config, Some(archive))).await
}

async fn run(
    inner: Arc<Inner>,
    sandbox_id: SandboxId,
    config: ContainerConfig,
    archive: Option<PathBuf>,
) -> Result<ContainerId, Error> {
    // Until this ends, nothing is taken from under it. A stop says that it has begun all the same, and then this ends soon.
    let _sandbox = inner.hold_pod(&sandbox_id).await;
    let sandbox = check_ready(&inner.table.snapshot(), &sandbox_id)?;
    let mut undo = Undo::default();
    match Box::pin(steps(&inner, &sandbox, config, archive, &mut undo)).await {
        Ok(id) => {
            undo.disarm();
            tracing::info!(container_id = %id, %sandbox_id, "container created");
            plugins::container_happened(&inner, &id, What::PostCreateContainer).await;
            exits::exited_early(&inner, &sandbox_id, &id).await?;
            Ok(id)
        }
        Err(error) => {
            undo.run().await;
            Err(error)
        }
    }
}

/// The sandbox, as long as containers may be made in it.
fn check_ready(snapshot: &Snapshot, id: &SandboxId) -> Result<Arc<SandboxRecord>, Error> {
    let sandbox = snapshot.sandboxes.get(id).ok_or_else(|| Error::NoSuchSandbox(id.to_string()))?;
    if admit(&sandbox.state, Request::CreateContainer) != Verdict::Proceed {
        let state = sandbox.state.for_cri();
        return Err(Error::Refused(Refusal::SandboxNotReady { id: id.to_string(), state }));
    }
    Ok(Arc::clone(sandbox))
}

async fn steps(
    inner: &Arc<Inner>,
    sandbox: &Arc<SandboxRecord>,
    config: ContainerConfig,
    archive: Option<PathBuf>,
    undo: &mut Undo,
) -> Result<ContainerId, Error> {
    let runtime = &inner.handler(&sandbox.handler)?.runtime;
    let reserved = reserve::run(inner, sandbox, config, archive, undo);
    let (reserved, features) = tokio::join!(reserved, stage("runtime features", runtime.features()));
    let (reserved, features) = (reserved?, features?);
    let id = reserved.record.id.clone();
    let facts =
        stage("looking at its image and volumes", facts::read(inner, sandbox, &reserved, features)).await?;
    let plan = plan::decide(reserved, sandbox, &facts)?;
    apply::run(inner, plan, undo).await?;
    Ok(id)
}
