//! What happens without being asked for: containers exit, pause dies, a monitor is lost.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use linkspan_runtime_oci::{
    Error as RuntimeError, Event, Exit, Monitor, Process, Timestamp, crash_point, read_exit,
};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::container::record::ContainerRecord;
use crate::container::remove::release_runtime;
use crate::container::state::{EXIT_CODE_LOST, State};
use crate::error::Error;
use crate::kernel_state;
use crate::locks::lock;
use crate::model::{ContainerId, SandboxId};
use crate::plugins;
use crate::pods::Inner;
use crate::sandbox::record::SandboxRecord;
use crate::sandbox::state as sandbox;

/// How the monitor calls pause in its events.
const PAUSE: &str = linkspan_runtime_oci::monitor::PAUSE;
/// Between two looks at what was killed and is not reported on.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(50);

const REMIND_AFTER: Duration = Duration::from_secs(30);

const KILL: i32 = 9;

/// Follows a pod's monitor until it ends, whatever becomes of the connection to it.
pub(crate) fn watch(inner: &Arc<Inner>, sandbox_id: SandboxId, monitor: &Monitor) {
    let events = monitor.subscribe();
    let task_inner = Arc::clone(inner);
    inner.tasks.spawn(async move {
        let inner = task_inner;
        follow(&inner, &sandbox_id, events).await;
    });
}

async fn follow(inner: &Arc<Inner>, id: &SandboxId, mut events: UnboundedReceiver<Event>) {
    // A daemon that goes down leaves what happens then to the next one.
    while let Some(Some(event)) = inner.closing.run_until_cancelled(events.recv()).await {
        let dealt_with = match event {
            Event::Exited { container_id, exit } => ended(inner, id, container_id, exit).await,
            Event::Oom { container_id } => {
                tracing::warn!(sandbox_id = %id, %container_id, "the kernel killed a process for lack of memory");
                Ok(())
            }
            // We ended it ourselves.
            Event::Lost if inner.table.pod_entry(id).is_none_or(|entry| entry.take_monitor().is_none()) => {
                return;
            }
            Event::Lost => match inner.closing.run_until_cancelled(reconnect(inner, id)).await.flatten() {
                Some(monitor) => {
                    events = monitor.subscribe();
                    Ok(())
                }
                None => return,
            },
        };
        if let Err(error) = dealt_with {
            tracing::error!(sandbox_id = %id, %error, "what the monitor told could not be dealt with");
        }
    }
}

/// A connection is not its monitor: that may live, and what happened meanwhile is told by it.
async fn reconnect(inner: &Arc<Inner>, id: &SandboxId) -> Option<Monitor> {
    tracing::warn!(sandbox_id = %id, "the connection to the pod's monitor is lost; it is asked again");
    // Who takes each other's place at a monitor is not to do it as fast as they can.
    tokio::time::sleep(LOOK_AGAIN).await;
    answered(inner, id, Monitor::reach(&inner.layout.pod_dir(id)).await).await
}

/// What a monitor says that was not heard of for a while, or why there is none. `None` if it is dead, or the pod was stopped,
/// or undone, without it.
pub(crate) async fn answered(
    inner: &Arc<Inner>,
    id: &SandboxId,
    answer: Result<Monitor, RuntimeError>,
) -> Option<Monitor> {
    let monitor = match answer {
        Ok(monitor) => monitor,
        Err(error) => {
            tracing::error!(sandbox_id = %id, %error, "the pod's monitor is dead; its pod is killed");
            gone(inner, id).await;
            return None;
        }
    };
    tracing::info!(sandbox_id = %id, "the pod's monitor answers");
    if let Some(record) = inner.table.snapshot().sandboxes.get(id)
        && !matches!(record.state, sandbox::State::Stopped { .. })
    {
        record.entry.set_monitor(monitor.clone());
        return Some(monitor);
    }
    if let Err(error) = monitor.shutdown().await {
        tracing::warn!(sandbox_id = %id, %error, "the monitor of a pod that is gone could not be ended");
    }
    None
}

async fn ended(
    inner: &Arc<Inner>,
    sandbox_id: &SandboxId,
    container_id: String,
    exit: Exit,
) -> Result<(), Error> {
    // With kind `oci` pause is a container that bears the sandbox's ID.
    if container_id == PAUSE || container_id == sandbox_id.as_str() {
        tracing::info!(%sandbox_id, exit_code = exit.code, "pause exited");
        return not_ready(inner, sandbox_id).await;
    }
    match ContainerId::try_from(container_id) {
        Ok(id) => exited(inner, &id, exit).await,
        Err(_) => Ok(()),
    }
}

/// Records an exit; what the runtime and the mounts hold is let go of in the background.
pub(crate) async fn exited(inner: &Arc<Inner>, id: &ContainerId, exit: Exit) -> Result<(), Error> {
    end(inner, id, exit, "").await
}

/// A container may exit before its creation is recorded, and the event finds nobody then.
pub(crate) async fn exited_early(
    inner: &Arc<Inner>,
    sandbox: &SandboxId,
    id: &ContainerId,
) -> Result<(), Error> {
    match read_exit(&inner.layout.pod_dir(sandbox), id.as_str())? {
        Some(exit) => exited(inner, id, exit).await,
        None => Ok(()),
    }
}

/// Its process has ended, and its monitor, which does not answer, has told nobody: how, can be seen of the process itself until
/// somebody reaps it.
pub(crate) async fn untold(inner: &Arc<Inner>, record: &ContainerRecord) -> Result<(), Error> {
    let code = record.state.process().and_then(Process::exit_code);
    tracing::warn!(container_id = %record.id, ?code, "a container has ended, and its monitor does not tell it");
    let Some(code) = code else {
        let message = "its monitor does not answer, and its exit code is not known";
        return end(inner, &record.id, unseen(EXIT_CODE_LOST), message).await;
    };
    let oom_kills = inner.cgroups.oom_kills(&record.cgroup_path).unwrap_or_default();
    let oom_killed = code == 128 + KILL && oom_kills > 0;
    end(inner, &record.id, Exit { oom_killed, ..unseen(code) }, "").await
}

/// Ends a pod's monitor, with all that is below it. Of one that does not answer, and is killed, what is below it stays.
pub(crate) async fn end_monitor(id: &SandboxId, monitor: &Monitor) -> Result<(), Error> {
    match monitor.shutdown().await {
        Err(error @ RuntimeError::TimedOut { .. }) => {
            tracing::error!(sandbox_id = %id, %error, "the pod's monitor does not answer; it is killed");
            Ok(monitor.kill().await?)
        }
        ended => Ok(ended?),
    }
}

/// One that awaited its restore never will; the exit code is that of a created one which is stopped.
pub(crate) async fn never_restored(inner: &Arc<Inner>, id: &ContainerId) -> Result<(), Error> {
    end(inner, id, unseen(128 + KILL), "").await
}

async fn end(inner: &Arc<Inner>, id: &ContainerId, exit: Exit, message: &'static str) -> Result<(), Error> {
    crash_point("container-exit-heard");
    // Several may report the same exit: whoever makes it seen tells it, and has begun to by then.
    let telling = Arc::new(Mutex::new(None));
    let begun = Arc::clone(&telling);
    let change = move |record: &ContainerRecord| {
        let message =
            if message.is_empty() { record.evicted.as_deref().unwrap_or_default() } else { message };
        let Exit { code: exit_code, at, oom_killed, log_bytes_dropped } = exit;
        let state = record.state.exited(at, exit_code, oom_killed, message)?;
        tracing::info!(container_id = %record.id, exit_code, oom_killed, "container exited");
        if log_bytes_dropped > 0 {
            let log = record.log_path.as_str();
            tracing::warn!(container_id = %record.id, log_bytes_dropped, log, "not all output is in the log: its disk was full");
        }
        *lock(&begun) = record.entry.stop_news.begin();
        Some(ContainerRecord { state, ..record.clone() })
    };
    if let Some(record) = inner.table.observe::<ContainerRecord>(id, change).await? {
        crash_point("container-exit-noted");
        let telling = lock(&telling).take();
        if let Some(telling) = telling {
            let (task_inner, record) = (Arc::clone(inner), Arc::clone(&record));
            inner.tasks.spawn(async move {
                plugins::container_stopped(&task_inner, &record).await;
                drop(telling);
            });
        }
        clean_up(inner, record);
    }
    Ok(())
}

/// Lets go of what an exited container holds of the kernel, in the background.
pub(crate) fn clean_up(inner: &Arc<Inner>, record: Arc<ContainerRecord>) {
    let task_inner = Arc::clone(inner);
    inner.tasks.spawn(async move {
        let inner = task_inner;
        let cleaning = async {
            let _lock = record.entry.lock.exclusive().await;
            if !inner.table.snapshot().containers.contains_key(&record.id) {
                return;
            }
            if let Err(error) = release_runtime(&inner, &record).await {
                tracing::warn!(container_id = %record.id, %error, "not all of an exited container is gone; removal tries again");
            }
        };
        inner.operations.run("clean-up after its exit", &record.id, cleaning).await;
    });
}

/// Pause is gone: what is left of the pod waits for StopPodSandbox.
pub(crate) async fn not_ready(inner: &Arc<Inner>, id: &SandboxId) -> Result<(), Error> {
    let change = |record: &SandboxRecord| {
        let state = record.state.not_ready(Timestamp::now())?;
        Some(SandboxRecord { state, ..record.clone() })
    };
    inner.table.observe::<SandboxRecord>(id, change).await.map(drop)
}

/// The pod has no monitor any more, and with that died the knowledge of how its children end: they are killed, each by
/// itself, so that one that does not die is in nobody's way.
async fn gone(inner: &Arc<Inner>, id: &SandboxId) {
    let snapshot = inner.table.snapshot();
    let sandbox = snapshot.sandboxes.get(id);
    if let Err(error) = not_ready(inner, id).await {
        tracing::warn!(sandbox_id = %id, %error, "a pod without its monitor is still called ready");
    }
    for record in snapshot.containers.values().filter(|record| record.sandbox_id == *id) {
        abandoned(inner, record);
    }
    if let Some(record) = sandbox
        && let Err(error) = end_pause(inner, record).await
    {
        tracing::error!(sandbox_id = %id, %error, "pause of a pod without its monitor does not die yet");
    }
}

/// Kills pause, which nobody else ends. Once a stop has begun its group alone tells which it is.
pub(crate) async fn end_pause(inner: &Inner, record: &SandboxRecord) -> Result<(), Error> {
    match record.state.pause() {
        Some(pause) => kill(pause).await,
        None => inner.cgroups.kill_all(&record.cgroup.pause).await?,
    }
    Ok(())
}

/// Ends a container that has no monitor any more, in the background: by its exit record if there is one, else by killing
/// it, however long it takes to die.
pub(crate) fn abandoned(inner: &Arc<Inner>, record: &Arc<ContainerRecord>) {
    let (task_inner, record) = (Arc::clone(inner), Arc::clone(record));
    inner.tasks.spawn(async move {
        let inner = task_inner;
        let ending = end_abandoned(&inner, &record);
        let ending = inner.operations.run("end of a container without its monitor", &record.id, ending);
        let Some(ended) = inner.closing.run_until_cancelled(ending).await else { return };
        if let Err(error) = ended {
            tracing::error!(container_id = %record.id, %error, "the end of a container without a monitor is not noted");
        }
    });
}

async fn end_abandoned(inner: &Arc<Inner>, record: &ContainerRecord) -> Result<(), Error> {
    let Some(process) = record.state.process().copied() else { return Ok(()) };
    let recorded = read_exit(&inner.layout.pod_dir(&record.sandbox_id), record.id.as_str());
    if let Ok(Some(exit)) = recorded {
        return exited(inner, &record.id, exit).await;
    }
    if process.is_alive() {
        let change = move |record: &ContainerRecord| match &record.state {
            State::Exited(_) => None,
            state => {
                let state = State::Unknown { process, since: state.started_at() };
                Some(ContainerRecord { state, ..record.clone() })
            }
        };
        inner.table.observe::<ContainerRecord>(&record.id, change).await?;
        if let Err(error) = inner.cgroups.kill_all(&record.cgroup_path).await.or_else(gone_is_fine) {
            tracing::error!(container_id = %record.id, %error, "a container without a monitor does not die yet");
        }
        kill(&process).await;
    }
    let message = "its monitor was lost, and its exit code with it";
    end(inner, &record.id, unseen(EXIT_CODE_LOST), message).await
}

/// An end that no monitor tells of.
fn unseen(code: i32) -> Exit {
    Exit { code, at: Timestamp::now(), oom_killed: false, log_bytes_dropped: 0 }
}

/// Kills a process that is nobody's child of ours, and waits until it is gone; the log is reminded of one that does not
/// die.
pub(crate) async fn kill(process: &Process) {
    let (mut since, pid) = (Instant::now(), process.pid);
    while process.is_alive() {
        let refused = process.signal(KILL).err();
        if since.elapsed() >= REMIND_AFTER {
            let error = refused.map(|error| error.to_string()).unwrap_or_default();
            let state = kernel_state::words(pid);
            tracing::error!(pid, error, state, "a process does not die");
            since = Instant::now();
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn gone_is_fine(error: RuntimeError) -> Result<(), RuntimeError> {
    match error {
        RuntimeError::NoSuchCgroup { .. } => Ok(()),
        error => Err(error),
    }
}
