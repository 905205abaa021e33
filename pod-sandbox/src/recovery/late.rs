//! Monitors that were there and had not answered when the daemon began to serve: a monitor may wait for a disk, and a
//! hung disk is when somebody starts the daemon anew. Its pod stays what its records say.

use std::sync::Arc;

use super::facts::Asked;
use crate::exits;
use crate::model::SandboxId;
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
