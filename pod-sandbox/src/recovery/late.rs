//! Monitors and runtimes that had not answered when the daemon began to serve: one may wait for a disk, and a hung disk is
//! when somebody starts the daemon anew. Until they do, pods and containers stay what their records say.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::apply;
use super::facts::Asked;
use crate::exits;
use crate::model::{ContainerId, SandboxId};
use crate::pods::Inner;

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
        // An error of the task's own: it was ended with the daemon.
        let Some(Ok(answer)) = inner.closing.run_until_cancelled(asked).await else { return };
        if let Some(monitor) = exits::answered(&inner, &sandbox_id, answer).await {
            exits::watch(&inner, sandbox_id, &monitor);
        }
    });
}

/// Waits in the background for whether the runtime has started a container that is recorded as created.
pub(super) fn started(inner: &Arc<Inner>, id: ContainerId, asked: JoinHandle<bool>) {
    tracing::warn!(container_id = %id, "the runtime does not say whether it has started the container: it is kept as recorded until then");
    let task_inner = Arc::clone(inner);
    inner.tasks.spawn(async move {
        let inner = task_inner;
        let Some(Ok(true)) = inner.closing.run_until_cancelled(asked).await else { return };
        if let Err(error) = apply::started(&inner, &id).await {
            tracing::error!(container_id = %id, %error, "a start that nobody noted is not noted now");
        }
    });
}
