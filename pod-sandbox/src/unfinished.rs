//! What was begun and is not to be: ended whole, however often that takes. A plugin that does not answer, a mount that is busy
//! or a runtime that fails is tried again, and the record stays until all is gone: it alone tells what there is to let go of.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linkspan_runtime_oci::Error as RuntimeError;
use tokio::time::Instant;

use crate::container::create::remove_unused_log;
use crate::container::record::ContainerRecord;
use crate::container::remove::{release_files, release_runtime};
use crate::error::Error;
use crate::exits;
use crate::host_files::HostAccess;
use crate::operations::{self, stage};
use crate::pods::Inner;
use crate::sandbox::record::SandboxRecord;
use crate::sandbox::{remove, stop};
use crate::undo::Undo;

/// Before the next try; twice as long after each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Tries at a time: each may wait for a plugin.
pub(crate) const AT_A_TIME: usize = 8;

/// What a failed, or cut off, create left.
#[derive(Clone, Debug)]
pub(crate) enum Unfinished {
    Sandbox(Box<SandboxRecord>),
    Container(Box<ContainerRecord>),
}

impl Unfinished {
    fn id(&self) -> &str {
        match self {
            Self::Sandbox(record) => record.id.as_str(),
            Self::Container(record) => record.id.as_str(),
        }
    }

    /// Its record goes when all else is undone; if that cannot be, it is ended in the background.
    pub(crate) fn goes_with(self, undo: &mut Undo, inner: &Arc<Inner>) {
        let inner = Arc::clone(inner);
        undo.at_last(move |all| async move {
            match all {
                true => self.withdraw(&inner).await,
                false => {
                    self.end_in_background(&inner, FIRST_PAUSE);
                    Ok(())
                }
            }
        });
    }

    async fn try_to_end(&self, inner: &Arc<Inner>) -> Result<(), Error> {
        match self {
            Self::Sandbox(record) => {
                stop::release(inner, record).await?;
                remove::remnants(inner, record).await?;
            }
            Self::Container(record) => {
                end_processes(inner, record).await?;
                release_runtime(inner, record).await?;
                release_files(inner, record).await?;
                // One that is tried again has its log where its own attempt's was.
                let is_its =
                    |other: &ContainerRecord| other.id != record.id && other.log_file() == record.log_file();
                if let Some(log) = record.log_file().filter(|_| !inner.table.has_container(is_its)) {
                    remove_log(inner, record, log).await?;
                }
            }
        }
        self.withdraw(inner).await
    }

    /// All but the record is gone.
    async fn withdraw(&self, inner: &Arc<Inner>) -> Result<(), Error> {
        match self {
            Self::Sandbox(record) => inner.table.withdraw::<SandboxRecord>(record.id.clone()).await,
            Self::Container(record) => inner.table.withdraw::<ContainerRecord>(record.id.clone()).await,
        }
    }

    /// Until it is gone, record and all; from `after` on.
    pub(crate) fn end_in_background(self, inner: &Arc<Inner>, after: Duration) {
        let task_inner = Arc::clone(inner);
        inner.tasks.spawn(async move {
            let inner = task_inner;
            let ending = async {
                let mut pause = after;
                loop {
                    stage("waits for its next try", tokio::time::sleep(pause)).await;
                    pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                    let _turn = stage("waits for other undos", inner.turns_to_undo.acquire()).await;
                    match self.try_to_end(&inner).await {
                        Ok(()) => return tracing::info!(id = self.id(), "what was left of a failed create is gone"),
                        Err(error) => {
                            operations::has_failed(&error);
                            tracing::warn!(id = self.id(), %error, again_in = ?pause, "what a failed create left is not gone yet");
                        }
                    }
                }
            };
            let ending = inner.operations.run("undo of what was half made", &self.id(), ending);
            // A daemon that goes down leaves it to the next one, which has the record.
            inner.closing.run_until_cancelled(ending).await;
        });
    }
}

/// Of a container that the runtime may be making at this moment: the monitor knows when that is over, and all of it dead.
pub(crate) async fn end_processes(inner: &Inner, record: &ContainerRecord) -> Result<(), Error> {
    let monitor = inner.monitor(&record.sandbox_id);
    // The monitor itself gives the runtime no longer.
    let deadline = Instant::now() + inner.settings.runtime_timeout;
    loop {
        inner.cgroups.kill_all(&record.cgroup_path).await?;
        let Some(monitor) = &monitor else { return Ok(()) };
        match monitor.forget(record.id.as_str()).await {
            Err(RuntimeError::StillRuns { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(exits::LOOK_AGAIN).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

async fn remove_log(inner: &Inner, record: &ContainerRecord, log: PathBuf) -> Result<(), Error> {
    let access = HostAccess::left_by(record.sandbox_id.as_str(), "removing log", &log);
    inner.host_files.run(access, move |_| remove_unused_log(&log)).await
}
