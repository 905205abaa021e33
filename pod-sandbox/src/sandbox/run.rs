//! RunPodSandbox: facts → plan → apply.
//!
//! ```text
//! record ─ directories ─ cgroup ─ namespaces ─ shm, files ─┬─ network ────────┬─▶ Ready
//!                                                          └─ monitor ─ pause ┘
//! ```
//! With a handler of kind `oci` a container of the runtime takes the place of pause: `first_container`.

mod apply;
mod facts;
pub(super) mod first_container;
mod plan;

use std::sync::Arc;

use linkspan_config::SandboxKind;

use super::record::SandboxRecord;
use super::validate;
use crate::error::{Error, Refusal};
use crate::model::{SandboxConfig, SandboxId, SandboxMetadata, SandboxState};
use crate::pods::{Inner, Pods};
use crate::undo::Undo;

impl Pods {
    /// Makes a sandbox that is ready for containers. The same metadata again joins the running call, or returns the
    /// sandbox that is there and ready (CRI api.proto, RunPodSandbox). Cancel safe: it is finished, and found by the retry.
    ///
    /// # Errors
    /// [`Error::BadConfig`] names the field; [`Error::Refused`] if a sandbox that is not ready has the metadata; everything
    /// else leaves nothing behind.
    pub async fn run_sandbox(
        &self,
        config: SandboxConfig,
        runtime_handler: &str,
    ) -> Result<SandboxId, Error> {
        let inner = Arc::clone(&self.inner);
        inner.check_open()?;
        validate::check(&config)?;
        let handler = handler(&inner, runtime_handler)?.to_owned();
        let metadata = config.metadata.clone();
        if let Some(record) = same(&inner, &metadata) {
            // Let a removal of it that is under way end first: its ID would be of no use.
            drop(record.entry.lock.shared().await);
        }
        let find = || same(&inner, &metadata).map(|record| reused(&record));
        let runtime_handler = runtime_handler.to_owned();
        let subject = format!("{}/{}", metadata.namespace, metadata.name);
        let work = || {
            let work = Box::pin(run(Arc::clone(&inner), config, runtime_handler, handler));
            inner.operations.run("RunPodSandbox", &subject, work)
        };
        inner.creating_sandboxes.join(metadata.clone(), &inner.tasks, find, work).await
    }
}

/// The sandbox of this metadata, a ready one if there are several: one that another version left may come back (ADR 14).
fn same(inner: &Inner, metadata: &SandboxMetadata) -> Option<Arc<SandboxRecord>> {
    let snapshot = inner.table.snapshot();
    let same = snapshot.sandboxes.values().filter(|record| record.config.metadata == *metadata);
    same.max_by_key(|record| record.state.for_cri() == SandboxState::Ready).cloned()
}

fn reused(record: &SandboxRecord) -> Result<SandboxId, Error> {
    match record.state.for_cri() {
        SandboxState::Ready => Ok(record.id.clone()),
        state => {
            let id = record.id.to_string();
            Err(Error::Refused(Refusal::SandboxMetadataTaken { id, state }))
        }
    }
}

/// The handler's own name; the empty one is the default.
fn handler<'a>(inner: &'a Inner, requested: &'a str) -> Result<&'a str, Error> {
    let name = if requested.is_empty() { &inner.settings.default_handler } else { requested };
    match inner.handlers.contains_key(name) {
        true => Ok(name),
        false => {
            let start: String = name.chars().take(64).collect();
            let known: Vec<&str> = inner.handlers.keys().map(String::as_str).collect();
            let reason = format!("no handler {start:?} is configured, only {}", known.join(", "));
            Err(Error::bad("runtime_handler", reason))
        }
    }
}

async fn run(
    inner: Arc<Inner>,
    config: SandboxConfig,
    runtime_handler: String,
    handler: String,
) -> Result<SandboxId, Error> {
    let facts = facts::read(&inner, &config, runtime_handler, handler).await?;
    let plan = plan::decide(config, &facts)?;
    let first_container = match plan.record.kind {
        SandboxKind::Native => None,
        SandboxKind::Oci => {
            let facts = first_container::read(&inner, &plan.record.handler, &plan.record.config).await?;
            Some(first_container::decide(&plan, &facts)?)
        }
    };
    let id = plan.record.id.clone();
    let mut undo = Undo::default();
    match apply::run(&inner, plan, first_container, &mut undo).await {
        Ok(()) => {
            undo.disarm();
            tracing::info!(sandbox_id = %id, "sandbox ready");
            Ok(id)
        }
        Err(error) => {
            undo.run().await;
            Err(error)
        }
    }
}
