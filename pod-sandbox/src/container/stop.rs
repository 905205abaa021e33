//! StopContainer: a signal, a time of grace, then SIGKILL until it is gone.
//!
//! ```text
//! first caller ─▶ signal ─▶ grace ──earliest deadline of the callers that wait──▶ kill, again and again ─▶ gone
//!                             └─ all callers left: the pending kill is dropped, the signal is not taken back
//! ```
//! There is one such task per container, and it holds no lock: others may read, update or exec meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use linkspan_runtime_oci::{crash_point, process};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::record::ContainerRecord;
use super::state::{Request, State, Verdict, admit};
use crate::error::{Error, Refusal};
use crate::exits;
use crate::find;
use crate::kernel_state;
use crate::locks::lock;
use crate::model::{ContainerId, Signal};
use crate::operations::stage;
use crate::pods::{Inner, Pods};
use crate::table::Snapshot;

/// Between two SIGKILLs. One is enough, unless the process is stuck in the kernel.
const KILL_AGAIN: Duration = Duration::from_secs(1);
/// What a monitor has to tell an exit, from the process's end on: it waits for the disk of the log for a while.
const TELLING: Duration = Duration::from_secs(3);
/// Every so many of them the log is reminded.
const REMIND_EVERY: u32 = 30;
/// Stands for "never": what a clock can count to is less than what a request can ask for.
const LONGEST_GRACE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A container's, while one is under way.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    now: Mutex<Option<Stop>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Stop {
    /// By caller.
    deadlines: BTreeMap<u64, Instant>,
    next_caller: u64,
    /// The time of grace is over; there is no way back.
    killing: bool,
}

/// What a stop's task does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    WaitUntil(Instant),
    Kill,
    /// Nobody waits any more.
    Leave,
}

/// One caller that waits. Dropping it is leaving.
#[derive(Debug)]
struct Caller<'a> {
    stops: &'a Stops,
    number: u64,
}

impl Stops {
    /// Whether the time of grace is over: nothing new may be started in the container.
    pub(crate) fn is_killing(&self) -> bool {
        self.lock().as_ref().is_some_and(|stop| stop.killing)
    }

    /// Joins the stop; `true` if it has to be begun.
    fn join(&self, deadline: Instant) -> (Caller<'_>, bool) {
        let mut now = self.lock();
        let begin = now.is_none();
        let stop = now.get_or_insert_default();
        let number = stop.next_caller;
        stop.next_caller += 1;
        stop.deadlines.insert(number, deadline);
        self.changed.notify_one();
        (Caller { stops: self, number }, begin)
    }

    /// Decides at `time`, and forgets the stop when it is to be left.
    fn next(&self, time: Instant) -> Next {
        let mut now = self.lock();
        let Some(stop) = now.as_mut() else { return Next::Leave };
        match stop.deadlines.values().min() {
            _ if stop.killing => Next::Kill,
            Some(deadline) if *deadline <= time => {
                stop.killing = true;
                Next::Kill
            }
            Some(deadline) => Next::WaitUntil(*deadline),
            None => {
                *now = None;
                Next::Leave
            }
        }
    }

    fn end(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Stop>> {
        lock(&self.now)
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if let Some(stop) = self.stops.lock().as_mut() {
            stop.deadlines.remove(&self.number);
            self.stops.changed.notify_one();
        }
    }
}

impl Pods {
    /// Stops a container: sends its stop signal, and SIGKILL after `grace`. Exited or unknown: Ok. Of several
    /// callers the earliest deadline counts (CRI api.proto, StopContainer). Dropping the future takes the deadline
    /// back; when no caller is left the container is not killed any more.
    ///
    /// # Errors
    /// [`Error::BadConfig`] for an empty ID, [`Error::Ambiguous`]; [`Error::Refused`] if the daemon goes down meanwhile.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), Error> {
        self.inner.check_open()?;
        let found = find::container(&self.inner.table.snapshot(), id);
        let Some(record) = find::if_there(found)? else { return Ok(()) };
        let (id, asked) = (record.id.clone(), Instant::now());
        if matches!(record.state, State::Created { .. }) {
            // Who starts it holds the lock. Once it runs it has a use for its grace.
            let _ = tokio::time::timeout(grace, record.entry.lock.shared()).await;
        }
        by_id(&self.inner, &id, grace.saturating_sub(asked.elapsed())).await
    }
}

/// Stops it and waits until it is gone.
pub(crate) async fn by_id(inner: &Arc<Inner>, id: &ContainerId, grace: Duration) -> Result<(), Error> {
    let snapshot = inner.table.snapshot();
    let Some(record) = snapshot.containers.get(id) else { return Ok(()) };
    if admit(&record.state, Request::Stop) == Verdict::AlreadyDone {
        record.entry.stop_news.told().await;
        return Ok(());
    }
    if matches!(record.state, State::AwaitsRestore) {
        // Unless it is being restored at this moment, there is nothing to wait for.
        let _lock = record.entry.lock.exclusive().await;
        let awaits = |record: &Arc<ContainerRecord>| matches!(record.state, State::AwaitsRestore);
        if inner.table.snapshot().containers.get(id).is_some_and(awaits) {
            return exits::never_restored(inner, id).await;
        }
    }
    let snapshot = inner.table.snapshot();
    let Some(record) = snapshot.containers.get(id) else { return Ok(()) };
    let deadline = Instant::now() + grace.min(LONGEST_GRACE);
    let (caller, begin) = record.entry.stops.join(deadline);
    if begin {
        let stop = inner.operations.run("stop", id, run(Arc::clone(inner), Arc::clone(record)));
        inner.tasks.spawn(inner.closing.clone().run_until_cancelled_owned(stop));
    }
    let gone = inner.closing.run_until_cancelled(gone(inner, record)).await;
    drop(caller);
    record.entry.stop_news.told().await;
    gone.ok_or(Error::Refused(Refusal::ShuttingDown))
}

/// Waits until it has exited, or is removed.
async fn gone(inner: &Inner, record: &ContainerRecord) {
    let is_over = |snapshot: &Snapshot| {
        let now = snapshot.containers.get(&record.id);
        now.is_none_or(|now| matches!(now.state, State::Exited(_))).then_some(())
    };
    inner.table.wait_for(&record.entry.changed, is_over).await;
}

async fn run(inner: Arc<Inner>, record: Arc<ContainerRecord>) {
    let (id, stops) = (&record.id, &record.entry.stops);
    let grace_makes_sense = matches!(record.state, State::Running { .. });
    if grace_makes_sense && !stops.is_killing() {
        tracing::info!(container_id = %id, signal = %record.stop_signal, "stopping container");
        send(&record, record.stop_signal);
        crash_point("container-stop-signalled");
    }
    let mut ended_at = None;
    loop {
        // What waits for its start has no use for grace: the runtime's init does not know the container's signals.
        let next = if grace_makes_sense { stops.next(Instant::now()) } else { Next::Kill };
        match next {
            Next::Leave => return,
            Next::Kill => break,
            Next::WaitUntil(deadline) => {
                let waits = async {
                    tokio::select! {
                        () = gone(&inner, &record) => true,
                        at = ended_untold(&record) => {
                            ended_at = Some(at);
                            true
                        }
                        () = tokio::time::sleep_until(deadline) => false,
                        () = stops.changed.notified() => false,
                    }
                };
                if stage("its time of grace", waits).await {
                    break;
                }
            }
        }
    }
    for attempt in 0_u32.. {
        let killed = async {
            send(&record, Signal::KILL);
            // Whoever froze it: on cgroup v1 nothing that is frozen dies.
            if let Err(error) = inner.cgroups.thaw(&record.cgroup_path) {
                tracing::debug!(container_id = %id, %error, "a container is not thawed");
            }
            tokio::time::sleep(KILL_AGAIN).await;
        };
        tokio::select! {
            biased;
            () = gone(&inner, &record) => break,
            () = stage("SIGKILL was sent", killed) => {}
        }
        let is_dead = record.state.process().is_some_and(|process| !process.is_alive());
        if is_dead
            && let Err(error) = note_end(&inner, &record, *ended_at.get_or_insert_with(Instant::now)).await
        {
            tracing::warn!(container_id = %id, %error, "the exit of a container that is stopped cannot be read");
        }
        if attempt % REMIND_EVERY == REMIND_EVERY - 1 {
            let state = record.state.process().map(|process| kernel_state::words(process.pid));
            tracing::error!(container_id = %id, attempt, state, "container does not die");
        }
    }
    stops.end();
}

/// Its process has ended, and its monitor has had its time to tell that: when it ended.
async fn ended_untold(record: &ContainerRecord) -> Instant {
    let ended = match record.state.process() {
        Some(process) => process::ended(*process).await.is_ok(),
        None => false,
    };
    if !ended {
        return std::future::pending().await;
    }
    let at = Instant::now();
    tokio::time::sleep(TELLING).await;
    at
}

/// Of a container whose process is seen to have ended since `ended_at`, however it came that nobody told it.
async fn note_end(inner: &Arc<Inner>, record: &ContainerRecord, ended_at: Instant) -> Result<(), Error> {
    exits::exited_early(inner, &record.sandbox_id, &record.id).await?;
    match ended_at.elapsed() >= TELLING {
        true => exits::untold(inner, record).await,
        false => Ok(()),
    }
}

fn send(record: &ContainerRecord, signal: Signal) {
    let Some(process) = record.state.process() else { return };
    if let Err(error) = process.signal(signal.number()) {
        tracing::warn!(container_id = %record.id, %signal, %error, "could not signal container");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Next, Stops};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_earliest_deadline_of_those_who_wait_counts() {
        let (stops, now) = (Stops::default(), Instant::now());
        let (long, begin) = stops.join(now + 30 * SECOND);
        assert!(begin);
        let (short, begin) = stops.join(now + 5 * SECOND);
        assert!(!begin);
        assert_eq!(stops.next(now), Next::WaitUntil(now + 5 * SECOND));
        drop(short);
        assert_eq!(stops.next(now + 6 * SECOND), Next::WaitUntil(now + 30 * SECOND));
        drop(long);
        assert_eq!(stops.next(now + 6 * SECOND), Next::Leave);
        assert!(stops.join(now).1, "a later caller begins anew");
    }

    #[test]
    fn once_killing_nobody_gets_a_reprieve() {
        let (stops, now) = (Stops::default(), Instant::now());
        let (caller, _) = stops.join(now);
        assert!(!stops.is_killing());
        assert_eq!(stops.next(now), Next::Kill);
        assert!(stops.is_killing());
        drop(caller);
        let (_later, begin) = stops.join(now + 60 * SECOND);
        assert!(!begin);
        assert_eq!(stops.next(now), Next::Kill);
        stops.end();
        assert!(!stops.is_killing());
    }
}
