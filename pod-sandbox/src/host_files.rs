//! Files that a pod's author or the node named: volumes, logs, checkpoints. Their file system may never answer.
//!
//! ```text
//! a place, of the pod's and of all ─ thread ─ step ─ step ─ step ─▶ result
//!                                      │ one step for too long, or the pod is stopped
//!                                      └─▶ an error; the place is free when the thread has ended
//! ```
//! A call that waits for such a file system cannot be taken back. Each access has a thread, of those that do nothing else,
//! so that those that hang are in nobody's way: a pod has few places, and its next access waits for one of them or is
//! refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::{Error, Refusal};
use crate::locks::lock;
use crate::model::{SandboxConfig, SandboxId, SandboxState};
use crate::operations::stage;
use crate::sandbox::record::SandboxRecord;
use crate::table::Table;

/// For one step, such as the look at one path. A disk that sleeps takes seconds to wake up; the kubelet gives a call two
/// minutes.
const LONGEST_STEP: Duration = Duration::from_secs(20);
/// Accesses of one pod at a time. A pod's containers are made one after the other, and looked at with few.
const OF_A_POD: usize = 4;
/// Accesses of all pods at a time: a server of many pods' volumes may hang, and the others' pods are still to be made.
const OF_ALL: usize = 1024;

/// The accesses under way.
#[derive(Debug)]
pub(crate) struct HostFiles {
    table: Arc<Table>,
    places: Arc<Places>,
    threads: Threads,
}

/// One for each place. One that has nothing to do waits some seconds for the next access: a pod's come one after the
/// other.
#[derive(Debug)]
struct Threads(Option<Runtime>);

#[derive(Debug, Default)]
struct Places {
    taken: Mutex<BTreeMap<u64, (String, Step)>>,
    freed: Notify,
}

/// Held by a thread until it ends.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    number: u64,
}

/// What is about to be looked at, for whom.
#[derive(Clone, Debug)]
pub(crate) struct HostAccess {
    /// The pod's name: a pod that is tried again and again has a new sandbox each time.
    pod: String,
    /// Once it is not ready any more, the access is given up.
    sandbox: Option<SandboxId>,
    stage: &'static str,
    path: PathBuf,
    longest_step: Duration,
}

/// Where an access is. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Step(Arc<Mutex<At>>);

#[derive(Debug)]
struct At {
    stage: &'static str,
    path: PathBuf,
    since: Instant,
    /// Nobody waits for what comes of it.
    given_up: bool,
}

impl HostAccess {
    /// For a pod that is being made, or whatever becomes of it. `stage` says what is done with the path, as in "looking
    /// at log".
    pub(crate) fn new(config: &SandboxConfig, stage: &'static str, path: impl Into<PathBuf>) -> Self {
        let metadata = &config.metadata;
        let pod = format!("{}/{} {}", metadata.namespace, metadata.name, metadata.uid);
        Self { pod, sandbox: None, stage, path: path.into(), longest_step: LONGEST_STEP }
    }

    /// For as long as the sandbox is ready.
    pub(crate) fn of(sandbox: &SandboxRecord, stage: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { sandbox: Some(sandbox.id.clone()), ..Self::new(&sandbox.config, stage, path) }
    }

    /// For what an earlier daemon left of what has this ID.
    pub(crate) fn left_by(id: &str, stage: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { pod: id.to_owned(), sandbox: None, stage, path: path.into(), longest_step: LONGEST_STEP }
    }

    /// For what is one long step, such as packing an archive.
    pub(crate) fn within(self, longest_step: Duration) -> Self {
        Self { longest_step, ..self }
    }
}

impl Step {
    /// That of nobody who waits: for files of the daemon's own.
    pub(crate) fn of_our_own(stage: &'static str, path: &Path) -> Self {
        Self(Arc::new(Mutex::new(At {
            stage,
            path: path.to_owned(),
            since: Instant::now(),
            given_up: false,
        })))
    }

    /// The next step is refused.
    pub(crate) fn give_up(&self) {
        self.lock().given_up = true;
    }

    /// Begins the next one.
    ///
    /// # Errors
    /// If nobody waits any more: nothing is to be made for a pod that was undone meanwhile.
    pub(crate) fn next(&self, stage: &'static str, path: &Path) -> Result<(), Error> {
        let mut at = self.lock();
        if at.given_up {
            return Err(Error::Lost { what: stage.to_owned() });
        }
        *at = At { stage, path: path.to_owned(), since: Instant::now(), given_up: false };
        Ok(())
    }

    /// Begins one in which the file system of a directory is asked for the first time. What is wrong with the directory, its
    /// reader tells.
    ///
    /// # Errors
    /// As [`Step::next`].
    pub(crate) fn ask(&self, stage: &'static str, dir: &Path) -> Result<(), Error> {
        self.next(stage, dir)?;
        let _ = fs::metadata(dir);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, At> {
        lock(&self.0)
    }
}

/// However its caller leaves.
struct GivesUp(Step);

impl Drop for GivesUp {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

impl HostFiles {
    pub(crate) fn new(table: &Arc<Table>) -> Self {
        Self { table: Arc::clone(table), places: Arc::default(), threads: Threads::new() }
    }

    /// Runs `work`, which says of each step that it begins it. Dropping the future gives it up: it ends at its next
    /// step.
    ///
    /// # Errors
    /// [`Error::FileSystemHangs`] names the path and the stage; [`Error::Refused`] once the pod is not ready; those of
    /// `work`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        access: HostAccess,
        work: impl FnOnce(&Step) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let name = format!("{} {}", access.stage, access.path.display());
        stage(name, self.run_steps(access, work)).await
    }

    async fn run_steps<T: Send + 'static>(
        &self,
        access: HostAccess,
        work: impl FnOnce(&Step) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let step = Step::of_our_own(access.stage, &access.path);
        let _gives_up = GivesUp(step.clone());
        let place = tokio::select! {
            place = self.place(&access, &step) => place?,
            refused = self.not_ready(&access) => return Err(refused),
        };
        let (sender, mut result) = oneshot::channel();
        let (at, span) = (step.clone(), tracing::Span::current());
        let (stage, path) = (access.stage, access.path.clone());
        self.threads.run(move || {
            let found = span.in_scope(|| at.next(stage, &path).and_then(|()| work(&at)));
            drop(place);
            // The caller may have left.
            let _ = sender.send(found);
        });
        loop {
            let until = step.lock().since + access.longest_step;
            tokio::select! {
                found = &mut result => {
                    return found.unwrap_or_else(|_| Err(Error::Lost { what: access.stage.to_owned() }));
                }
                refused = self.not_ready(&access) => return Err(refused),
                () = sleep_until(until) => {}
            }
            let at = step.lock();
            if at.since + access.longest_step <= Instant::now() {
                return Err(hangs(&at, access.longest_step));
            }
        }
    }

    /// Ends with why, once the access's pod is not ready any more.
    async fn not_ready(&self, access: &HostAccess) -> Error {
        let Some(id) = &access.sandbox else { return std::future::pending().await };
        let Some(entry) = self.table.pod_entry(id) else { return refused(id, SandboxState::NotReady) };
        let state = self.table.wait_for(&entry.changed, |snapshot| {
            let state = snapshot.sandboxes.get(id).map(|record| record.state.for_cri());
            Some(state.unwrap_or(SandboxState::NotReady)).filter(|state| *state != SandboxState::Ready)
        });
        refused(id, state.await)
    }

    /// Waits for one as long as for a step: others of the pod are in front.
    async fn place(&self, access: &HostAccess, step: &Step) -> Result<Place, Error> {
        let by = Instant::now() + access.longest_step;
        loop {
            let freed = self.places.freed.notified();
            tokio::pin!(freed);
            // Told also of what is freed between the look and the wait.
            freed.as_mut().enable();
            if let Some(place) = self.places.take(&access.pod, step) {
                return Ok(place);
            }
            if timeout_at(by, freed).await.is_err() {
                return Err(self.places.full(access));
            }
        }
    }
}

fn refused(id: &SandboxId, state: SandboxState) -> Error {
    Error::Refused(Refusal::SandboxNotReady { id: id.to_string(), state })
}

impl Threads {
    fn new() -> Self {
        let threads =
            Builder::new_current_thread().max_blocking_threads(OF_ALL).thread_name("host files").build();
        Self(Some(threads.expect("a runtime without drivers asks nothing of the kernel")))
    }

    fn run(&self, work: impl FnOnce() + Send + 'static) {
        if let Some(threads) = &self.0 {
            drop(threads.spawn_blocking(work));
        }
    }
}

impl Drop for Threads {
    /// The daemon's end does not wait for those that hang.
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, (String, Step)>> {
        lock(&self.taken)
    }

    fn take(self: &Arc<Self>, pod: &str, step: &Step) -> Option<Place> {
        let mut taken = self.lock();
        let of_pod = taken.values().filter(|(other, _)| other == pod).count();
        if of_pod >= OF_A_POD || taken.len() >= OF_ALL {
            return None;
        }
        let number = taken.last_key_value().map_or(0, |(last, _)| last + 1);
        taken.insert(number, (pod.to_owned(), step.clone()));
        Some(Place { places: Arc::clone(self), number })
    }

    /// Names the one that is in the way for the longest.
    fn full(&self, access: &HostAccess) -> Error {
        let taken = self.lock();
        let of_pod = taken.values().filter(|(pod, _)| *pod == access.pod).count();
        let is_pods = of_pod >= OF_A_POD;
        let (count, whose) = if is_pods { (of_pod, "the pod") } else { (taken.len(), "all pods") };
        let of_whom = taken.values().filter(|(pod, _)| !is_pods || *pod == access.pod);
        let first = of_whom.map(|(_, step)| step.lock()).min_by_key(|at| at.since);
        let first = first.map(|at| format!("{} {}", at.stage, at.path.display())).unwrap_or_default();
        let reason = format!(
            "not begun after {:?}: {count} accesses of {whose} wait for file systems that do not answer, first {first}",
            access.longest_step
        );
        Error::FileSystemHangs { stage: access.stage, path: access.path.clone(), reason }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.number);
        self.places.freed.notify_waiters();
    }
}

fn hangs(at: &At, after: Duration) -> Error {
    tracing::warn!(stage = at.stage, path = %at.path.display(), ?after, "the file system does not answer");
    let reason = format!("timed out after {after:?}: the file system does not answer");
    Error::FileSystemHangs { stage: at.stage, path: at.path.clone(), reason }
}

#[cfg(test)]
mod tests;
