//! What is left of an earlier daemon's pods. Reads only, but for the connections to monitors, which are kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use linkspan_runtime_oci::runtime::Status;
use linkspan_runtime_oci::{Error as RuntimeError, Exit, Monitor, read_exit};

use super::Stored;
use crate::container::record::ContainerRecord;
use crate::container::state::State;
use crate::model::SandboxId;
use crate::pods::Inner;
use crate::sandbox::record::SandboxRecord;

/// A monitor that is there but does not answer is asked so often: killing its pod is the last resort.
const ATTEMPTS: u32 = 3;

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) sandboxes: Vec<SandboxFacts>,
    pub(super) containers: Vec<ContainerFacts>,
    /// Connected.
    pub(super) monitors: BTreeMap<SandboxId, Monitor>,
}

#[derive(Clone, Debug)]
pub(super) struct SandboxFacts {
    pub(super) record: SandboxRecord,
    pub(super) same_boot: bool,
    pub(super) has_monitor: bool,
    pub(super) pause_alive: bool,
}

#[derive(Clone, Debug)]
pub(super) struct ContainerFacts {
    pub(super) record: ContainerRecord,
    pub(super) same_boot: bool,
    pub(super) has_sandbox: bool,
    pub(super) has_monitor: bool,
    /// Written by its monitor.
    pub(super) exit: Option<Exit>,
    /// Of one recorded as created: whether the runtime says that it was started after all; of one that awaits its
    /// restore, whether the runtime was called for it.
    pub(super) was_started: bool,
}

pub(super) async fn read(inner: &Arc<Inner>, stored: Stored) -> Facts {
    let mut monitors = BTreeMap::new();
    let mut sandboxes = Vec::new();
    for found in stored.sandboxes {
        let (record, same_boot) = (found.record, found.same_boot);
        let monitor = if same_boot { connect(&inner.layout.pod_dir(&record.id)).await } else { None };
        let has_monitor = monitor.is_some();
        let alive = record.state.pause().is_some_and(linkspan_runtime_oci::Process::is_alive);
        if let Some(monitor) = monitor {
            monitors.insert(record.id.clone(), monitor);
        }
        sandboxes.push(SandboxFacts { pause_alive: alive && same_boot, record, same_boot, has_monitor });
    }
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
            has_monitor: sandbox.is_some_and(|sandbox| sandbox.has_monitor),
            was_started: same_boot && was_started(inner, &record).await,
            record,
            same_boot,
        });
    }
    Facts { sandboxes, containers, monitors }
}

async fn connect(pod_dir: &Path) -> Option<Monitor> {
    for _ in 0..ATTEMPTS {
        match Monitor::connect(pod_dir).await {
            Ok(monitor) => return Some(monitor),
            Err(RuntimeError::MonitorLost { .. }) => return None,
            Err(error) => tracing::warn!(path = %pod_dir.display(), %error, "monitor does not answer"),
        }
    }
    None
}

async fn was_started(inner: &Inner, record: &ContainerRecord) -> bool {
    let Ok(handler) = inner.handler(&record.handler) else { return false };
    let process = match &record.state {
        State::Created { process } => process,
        State::AwaitsRestore => return handler.runtime.keeps(record.id.as_str()),
        _ => return false,
    };
    process.is_alive()
        && handler.runtime.state(record.id.as_str()).await.is_ok_and(|state| state.status == Status::Running)
}
