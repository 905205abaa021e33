//! What is left of an earlier daemon's pods. Reads only, but for the connections to monitors, which are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use linkspan_runtime_oci::runtime::Status;
use linkspan_runtime_oci::{Error as RuntimeError, Exit, Monitor, read_exit};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::Stored;
use crate::container::record::ContainerRecord;
use crate::container::state::State;
use crate::model::{ContainerId, SandboxId};
use crate::pods::Inner;
use crate::records::Found;
use crate::sandbox::record::SandboxRecord;

/// For the answers of all monitors together. A healthy one needs a millisecond.
const ANSWERS: Duration = Duration::from_secs(3);
/// For those of the runtimes, all together.
const STATES: Duration = Duration::from_secs(1);
/// So many are asked at a time.
const AT_A_TIME: usize = 64;
/// After this one that does not answer has the next asked.
const TURN: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) sandboxes: Vec<SandboxFacts>,
    pub(super) containers: Vec<ContainerFacts>,
    pub(super) monitors: Monitors,
    /// Of containers recorded as created: whether they were started, as far as that is not known yet.
    pub(super) starts: BTreeMap<ContainerId, JoinHandle<bool>>,
}

/// By how they answered.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    pub(super) connected: BTreeMap<SandboxId, Monitor>,
    /// Asked, and not heard of yet.
    pub(super) silent: BTreeMap<SandboxId, Asked>,
}

/// Ends with its answer, or with why there is none to be had.
pub(super) type Asked = JoinHandle<Result<Monitor, RuntimeError>>;

/// Whether a pod has its monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Connected,
    /// It is there, and has not answered yet.
    Silent,
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct SandboxFacts {
    pub(super) record: SandboxRecord,
    pub(super) same_boot: bool,
    pub(super) monitor: Presence,
    pub(super) pause_alive: bool,
}

#[derive(Clone, Debug)]
pub(super) struct ContainerFacts {
    pub(super) record: ContainerRecord,
    pub(super) same_boot: bool,
    pub(super) has_sandbox: bool,
    pub(super) monitor: Presence,
    /// Written by its monitor.
    pub(super) exit: Option<Exit>,
    /// Of one recorded as created: whether the runtime says that it was started after all; of one that awaits its
    /// restore, whether the runtime was called for it.
    pub(super) was_started: bool,
}

pub(super) async fn read(inner: &Arc<Inner>, stored: Stored) -> Facts {
    let monitors = monitors(inner, &stored.sandboxes).await;
    let mut sandboxes = Vec::new();
    for found in stored.sandboxes {
        let (record, same_boot) = (found.record, found.same_boot);
        let alive = record.state.pause().is_some_and(linkspan_runtime_oci::Process::is_alive);
        let monitor = monitors.presence(&record.id);
        sandboxes.push(SandboxFacts { pause_alive: alive && same_boot, record, same_boot, monitor });
    }
    let (started, starts) = starts(inner, &stored.containers).await;
    let mut containers = Vec::new();
    for found in stored.containers {
        let (record, same_boot) = (found.record, found.same_boot);
        let id = record.id.as_str();
        let exit = read_exit(&inner.layout.pod_dir(&record.sandbox_id), id).unwrap_or_else(|error| {
            tracing::warn!(container_id = id, %error, "exit record is of no use");
            None
        });
        let sandbox = sandboxes.iter().find(|sandbox| sandbox.record.id == record.sandbox_id);
        containers.push(ContainerFacts {
            exit: exit.filter(|_| same_boot),
            has_sandbox: sandbox.is_some(),
            monitor: sandbox.map_or(Presence::Gone, |sandbox| sandbox.monitor),
            was_started: same_boot && (started.contains(&record.id) || restore_has_begun(inner, &record)),
            record,
            same_boot,
        });
    }
    Facts { sandboxes, containers, monitors, starts }
}

impl Monitors {
    fn presence(&self, sandbox: &SandboxId) -> Presence {
        if self.connected.contains_key(sandbox) {
            Presence::Connected
        } else if self.silent.contains_key(sandbox) {
            Presence::Silent
        } else {
            Presence::Gone
        }
    }
}

/// Asks those of this boot, all at once, and waits for all together.
async fn monitors(inner: &Inner, sandboxes: &[Found<SandboxRecord>]) -> Monitors {
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let of_this_boot = sandboxes.iter().filter(|found| found.same_boot);
    let ask = |found: &Found<SandboxRecord>| {
        let (dir, turns) = (inner.layout.pod_dir(&found.record.id), Arc::clone(&turns));
        let asked = tokio::spawn(async move {
            let turn = turns.acquire().await;
            let mut reached = pin!(Monitor::reach(&dir));
            if let Ok(answer) = timeout(TURN, &mut reached).await {
                return answer;
            }
            drop(turn);
            reached.await
        });
        (found.record.id.clone(), asked)
    };
    let asked: Vec<(SandboxId, Asked)> = of_this_boot.map(ask).collect();
    let (mut monitors, by) = (Monitors::default(), Instant::now() + ANSWERS);
    for (id, mut asked) in asked {
        match timeout_at(by, &mut asked).await {
            Ok(Ok(Ok(monitor))) => drop(monitors.connected.insert(id, monitor)),
            Ok(Ok(Err(error))) => tracing::warn!(sandbox_id = %id, %error, "the pod has no monitor"),
            Ok(Err(error)) => tracing::error!(sandbox_id = %id, %error, "asking the pod's monitor failed"),
            Err(_) => drop(monitors.silent.insert(id, asked)),
        }
    }
    monitors
}

/// Those that the runtime calls running, and those of which it has not said.
async fn starts(
    inner: &Arc<Inner>,
    containers: &[Found<ContainerRecord>],
) -> (BTreeSet<ContainerId>, BTreeMap<ContainerId, JoinHandle<bool>>) {
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let ask = |found: &Found<ContainerRecord>| {
        let State::Created { process } = &found.record.state else { return None };
        let runtime = inner.runtime(&found.record.handler).ok()?.clone();
        let (id, turns) = (found.record.id.clone(), Arc::clone(&turns));
        (found.same_boot && process.is_alive()).then(|| {
            let asked = id.clone();
            let answer = tokio::spawn(async move {
                let _turn = turns.acquire().await;
                runtime.state(asked.as_str()).await.is_ok_and(|state| state.status == Status::Running)
            });
            (id, answer)
        })
    };
    let asked: Vec<_> = containers.iter().filter_map(ask).collect();
    let (mut started, mut silent, by) = (BTreeSet::new(), BTreeMap::new(), Instant::now() + STATES);
    for (id, mut answer) in asked {
        match timeout_at(by, &mut answer).await {
            Ok(Ok(true)) => drop(started.insert(id)),
            Ok(_) => {}
            Err(_) => drop(silent.insert(id, answer)),
        }
    }
    (started, silent)
}

/// Whether the runtime was called for one that awaits its restore.
fn restore_has_begun(inner: &Inner, record: &ContainerRecord) -> bool {
    record.state == State::AwaitsRestore
        && inner.runtime(&record.handler).is_ok_and(|runtime| runtime.keeps(record.id.as_str()))
}
