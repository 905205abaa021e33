//! Monitors that were there and had not answered when the daemon began to serve: a monitor may wait for a disk, and a
//! hung disk is when somebody starts the daemon anew. Its pod stays what its records say.

use std::sync::Arc;

use linkspan_runtime_oci::Monitor;

use super::facts::Asked;
use crate::exits;
use crate::model::SandboxId;
use crate::pods::Inner;
use crate::sandbox::state::State;

/// Waits for the answer in the background: exits meanwhile are told with it.
pub(super) fn follow(inner: &Arc<Inner>, sandbox_id: SandboxId, asked: Asked) {
    tracing::warn!(
        %sandbox_id,
        "the pod's monitor is there and does not answer: the pod is kept as recorded, and its exits are seen when the monitor \
         answers; what does it wait for? (/proc/<pid>/stack)"
    );
    let task_inner = Arc::clone(inner);
    inner.tasks.spawn(async move {
        let inner = task_inner;
        let Some(answer) = inner.closing.run_until_cancelled(asked).await else { return };
        let outcome = match answer {
            Ok(Ok(monitor)) => answered(&inner, &sandbox_id, monitor).await,
            Ok(Err(error)) => {
                tracing::error!(%sandbox_id, %error, "the monitor never answered; its pod is killed");
                exits::gone(&inner, &sandbox_id).await
            }
            // The task was ended with the daemon.
            Err(_) => return,
        };
        if let Err(error) = outcome {
            tracing::error!(%sandbox_id, %error, "a pod whose monitor was late is not wholly recovered");
        }
    });
}

async fn answered(inner: &Arc<Inner>, id: &SandboxId, monitor: Monitor) -> Result<(), crate::error::Error> {
    tracing::info!(sandbox_id = %id, "the pod's monitor answers");
    inner.add_monitor(id.clone(), monitor.clone());
    exits::watch(inner, id.clone(), &monitor);
    let snapshot = inner.table.snapshot();
    let needed =
        snapshot.sandboxes.get(id).is_some_and(|record| !matches!(record.state, State::Stopped { .. }));
    if needed {
        return Ok(());
    }
    // The pod was stopped, or undone, without it.
    match inner.take_monitor(id) {
        Some(monitor) => Ok(monitor.shutdown().await?),
        None => Ok(()),
    }
}
