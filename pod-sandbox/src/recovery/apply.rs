//! Does what the plan says. What fails is logged and left for Stop and Remove; what is to be undone is tried again. What may wait
//! for others is done in the background.

use std::sync::Arc;
use std::time::Duration;

use linkspan_runtime_oci::Timestamp;

use super::facts::{ContainerFacts, Facts, Presence, SandboxFacts};
use super::late;
use super::plan::{ContainerFate, Plan, SandboxFate};
use crate::container::record::ContainerRecord;
use crate::container::remove::release_runtime;
use crate::container::state::{EXIT_CODE_LOST, State};
use crate::error::Error;
use crate::exits;
use crate::model::ContainerId;
use crate::pods::Inner;
use crate::unfinished::{self, Unfinished};

pub(super) async fn run(inner: &Arc<Inner>, facts: Facts, plan: Plan) {
    let monitors = &facts.monitors.connected;
    for (id, monitor) in monitors {
        if let Some(entry) = inner.table.pod_entry(id) {
            entry.set_monitor(monitor.clone());
        }
    }
    // Containers first: a sandbox is undone after what is in it.
    for (facts, fate) in facts.containers.iter().zip(plan.containers) {
        if let Err(error) = container(inner, facts, &fate).await {
            tracing::error!(container_id = %facts.record.id, ?fate, %error, "container not wholly recovered");
        }
    }
    for (facts, fate) in facts.sandboxes.iter().zip(plan.sandboxes) {
        if let Err(error) = sandbox(inner, facts, fate).await {
            tracing::error!(sandbox_id = %facts.record.id, ?fate, %error, "sandbox not wholly recovered");
        }
    }
    for (id, monitor) in monitors {
        exits::watch(inner, id.clone(), monitor);
    }
    for (id, asked) in facts.starts {
        late::started(inner, id, asked);
    }
    for (id, asked) in facts.monitors.silent {
        late::follow(inner, id, asked);
    }
}

async fn container(inner: &Arc<Inner>, facts: &ContainerFacts, fate: &ContainerFate) -> Result<(), Error> {
    let record = &facts.record;
    match fate {
        ContainerFate::Keep => Ok(()),
        ContainerFate::Started => started(inner, &record.id).await,
        ContainerFate::Exited(exit) => exits::exited(inner, &record.id, *exit).await,
        ContainerFate::RanUnnoted(exit) => {
            exits::exited(inner, &record.id, *exit).await?;
            // When it began nobody knows: not after that.
            let at = exit.at;
            observe(inner, &record.id, move |state| state.started(at)).await
        }
        ContainerFate::Rebooted => exited_unseen(inner, record, "the node was restarted").await,
        ContainerFate::CutOff => {
            let (task_inner, record) = (Arc::clone(inner), record.clone());
            inner.tasks.spawn(async move {
                if let Err(error) = cut_off(&task_inner, &record).await {
                    tracing::error!(container_id = %record.id, %error, "a restore that was cut off is not ended; removal tries again");
                }
            });
            Ok(())
        }
        ContainerFate::Abandoned => {
            exits::abandoned(inner, &Arc::new(record.clone()));
            Ok(())
        }
        ContainerFate::CleanUp => {
            exits::clean_up(inner, Arc::new(record.clone()));
            Ok(())
        }
        ContainerFate::Undo => {
            tracing::warn!(container_id = %record.id, "removing a container that was not finished");
            Unfinished::Container(Box::new(record.clone())).end_in_background(inner, Duration::ZERO);
            Ok(())
        }
    }
}

async fn cut_off(inner: &Arc<Inner>, record: &ContainerRecord) -> Result<(), Error> {
    let _lock = record.entry.lock.exclusive().await;
    unfinished::end_processes(inner, record).await?;
    exited_unseen(inner, record, "the daemon ended while it was being restored").await?;
    release_runtime(inner, record).await
}

/// Noted now, as the runtime's call was when the daemon ended.
pub(super) async fn started(inner: &Arc<Inner>, id: &ContainerId) -> Result<(), Error> {
    let now = Timestamp::now();
    observe(inner, id, move |state| state.started(now)).await
}

async fn exited_unseen(
    inner: &Arc<Inner>,
    record: &ContainerRecord,
    message: &'static str,
) -> Result<(), Error> {
    let now = Timestamp::now();
    observe(inner, &record.id, move |state| state.exited(now, EXIT_CODE_LOST, false, message)).await
}

async fn observe(
    inner: &Arc<Inner>,
    id: &ContainerId,
    change: impl FnOnce(&State) -> Option<State> + Send + 'static,
) -> Result<(), Error> {
    let change = move |record: &ContainerRecord| {
        Some(ContainerRecord { state: change(&record.state)?, ..record.clone() })
    };
    inner.table.observe::<ContainerRecord>(id, change).await.map(drop)
}

async fn sandbox(inner: &Arc<Inner>, facts: &SandboxFacts, fate: SandboxFate) -> Result<(), Error> {
    let record = &facts.record;
    match fate {
        SandboxFate::Keep => Ok(()),
        SandboxFate::NotReady => {
            exits::not_ready(inner, &record.id).await?;
            // Without a monitor pause has no purpose, and nobody to end it later.
            if facts.same_boot && facts.monitor == Presence::Gone {
                let (task_inner, record) = (Arc::clone(inner), record.clone());
                inner.tasks.spawn(async move {
                    if let Err(error) = exits::end_pause(&task_inner, &record).await {
                        tracing::error!(sandbox_id = %record.id, %error, "pause is not ended; StopPodSandbox tries again");
                    }
                });
            }
            Ok(())
        }
        SandboxFate::Undo => {
            tracing::warn!(sandbox_id = %record.id, "removing a sandbox that was not finished");
            Unfinished::Sandbox(Box::new(record.clone())).end_in_background(inner, Duration::ZERO);
            Ok(())
        }
    }
}
