//! Why a pod or container is as it is, and what it still holds: for an operator at whose node something is stuck. Reads only, and only
//! what cannot hang: memory, `/proc`, control groups and the run directory, which is on a tmpfs.

use std::path::Path;
use std::sync::Arc;

use linkspan_runtime_oci::read_exit;

use crate::container::record::ContainerRecord;
use crate::error::Error;
use crate::find;
use crate::kernel_state;
use crate::model::SandboxId;
use crate::mounts;
use crate::operations::Operation;
use crate::own_files::names;
use crate::pods::{Inner, Pods};
use crate::sandbox::record::SandboxRecord;
use crate::sandbox::state as sandbox;
use crate::table::{Snapshot, blocking};

/// Of a pod as of a container.
const HALF_MADE: &str = "half made: it is being made or undone, and CRI does not show it";

/// One fact: what it is about, and what is so.
pub type Line = (String, String);

impl Pods {
    /// All there is to say of the pod or container of this ID, or the beginning of one, or the pod of this name; also of one
    /// that is half made, which CRI does not show.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`], [`Error::BadConfig`] for the empty ID.
    pub async fn explain(&self, id: &str) -> Result<Vec<Line>, Error> {
        let all = self.inner.table.with_half_made();
        let (inner, operations) = (Arc::clone(&self.inner), self.inner.operations.list());
        if let Some(record) = sandbox_of(&all, id)? {
            return blocking("looking at a pod", move || Ok(pod(&inner, &all, &record, &operations))).await;
        }
        match find::container(&all, id) {
            Ok(record) => {
                blocking("looking at a container", move || Ok(container(&inner, &record, &operations))).await
            }
            // What has no record yet has a name at most.
            Err(Error::NoSuchContainer(_))
                if operations.iter().any(|operation| operation.subject.contains(id)) =>
            {
                Ok(under_way(&operations, |subject| subject.contains(id)))
            }
            Err(error) => Err(error),
        }
    }
}

fn sandbox_of(all: &Snapshot, id: &str) -> Result<Option<Arc<SandboxRecord>>, Error> {
    if let Some(found) = find::if_there(find::sandbox(all, id))? {
        return Ok(Some(found));
    }
    let named = all.sandboxes.values().filter(|record| {
        let metadata = &record.config.metadata;
        metadata.name == id || format!("{}/{}", metadata.namespace, metadata.name) == id
    });
    // The latest attempt.
    Ok(named.max_by_key(|record| record.created_at).cloned())
}

fn pod(inner: &Inner, all: &Snapshot, record: &SandboxRecord, operations: &[Operation]) -> Vec<Line> {
    let (id, metadata) = (&record.id, &record.config.metadata);
    let mut lines = vec![
        line("pod", format!("{}/{}, attempt {}", metadata.namespace, metadata.name, metadata.attempt)),
        line("ID", id),
        line("state", pod_state(&record.state)),
        line("monitor", monitor(inner, id)),
    ];
    if let Some(pause) = record.state.pause() {
        lines.push(line("pause", kernel_state::words(pause.pid)));
    }
    if let Some(attachment) = &record.attachment {
        let ips =
            record.network.as_ref().map(|network| network.ips.iter().map(ToString::to_string).collect());
        let ips: Vec<String> = ips.unwrap_or_default();
        lines.push(line(
            "network",
            format!("{} at {}", words_or(&ips, "no address noted"), attachment.netns.display()),
        ));
    }
    let pod_dir = inner.layout.pod_dir(id);
    lines.extend(held("namespaces", names(&inner.layout.namespaces_dir(id)).collect()));
    lines.extend(held("mounts", mounted(&pod_dir)));
    lines.extend(
        [("cgroup", &record.cgroup.parent), ("pause's cgroup", &record.cgroup.pause)]
            .map(|(what, path)| line(what, group(inner, path))),
    );
    if pod_dir.exists() {
        lines.push(line("directory", pod_dir.display()));
    }
    let of_pod: Vec<_> = all.containers.values().filter(|container| container.sandbox_id == *id).collect();
    for container in &of_pod {
        let name = &container.config.metadata.name;
        lines.push(line("container", format!("{} ({name}): {}", container.id, container_state(container))));
    }
    let is_its = |subject: &str| {
        subject.contains(id.as_str()) || of_pod.iter().any(|container| container.id.as_str() == subject)
    };
    lines.extend(under_way(operations, is_its));
    lines
}

fn container(inner: &Inner, record: &ContainerRecord, operations: &[Operation]) -> Vec<Line> {
    let (id, metadata) = (&record.id, &record.config.metadata);
    let mut lines = vec![
        line("container", format!("{}, attempt {}", metadata.name, metadata.attempt)),
        line("ID", id),
        line("pod", &record.sandbox_id),
        line("state", container_state(record)),
        line("monitor", monitor(inner, &record.sandbox_id)),
    ];
    if let Some(process) = record.state.process() {
        lines.push(line("process", kernel_state::words(process.pid)));
    }
    match read_exit(&inner.layout.pod_dir(&record.sandbox_id), id.as_str()) {
        Ok(Some(exit)) => lines.push(line("the monitor saw it end", format!("with exit code {}", exit.code))),
        Ok(None) => {}
        Err(error) => lines.push(line("exit record", error)),
    }
    lines.push(line("cgroup", group(inner, &record.cgroup_path)));
    lines.extend(held("mounts", mounted(&inner.layout.bundle(&record.sandbox_id, id))));
    lines.push(line("log", if record.log_path.is_empty() { "none" } else { &record.log_path }));
    lines.extend(under_way(operations, |subject| subject == id.as_str()));
    lines
}

fn pod_state(state: &sandbox::State) -> &'static str {
    match state {
        sandbox::State::Creating => HALF_MADE,
        sandbox::State::Ready { .. } => "ready",
        sandbox::State::NotReady { .. } => "not ready: what it holds is let go of by StopPodSandbox",
        sandbox::State::Stopped { .. } => "stopped: RemovePodSandbox removes the rest",
    }
}

fn container_state(record: &ContainerRecord) -> String {
    use crate::container::state::State;
    match &record.state {
        State::Creating => HALF_MADE.to_owned(),
        State::Created { .. } => "created, and not started".to_owned(),
        State::AwaitsRestore => "made of a checkpoint, and not started".to_owned(),
        State::Running { .. } => "running".to_owned(),
        State::Exited(exited) => format!("exited with {} {}", exited.exit_code, exited.message),
        State::Unknown { .. } => "unknown: its monitor is lost, and its process is being killed".to_owned(),
    }
}

fn monitor(inner: &Inner, id: &SandboxId) -> String {
    match inner.monitor(id) {
        Some(monitor) => kernel_state::words(monitor.process().pid),
        None => "none is connected".to_owned(),
    }
}

/// How many processes are in it, and what the first that cannot be killed waits for.
fn group(inner: &Inner, path: &str) -> String {
    let Ok(pids) = inner.cgroups.pids(path) else { return format!("{path}: gone") };
    let stuck = pids.iter().map(|pid| kernel_state::words(*pid)).find(|words| words.contains("(D)"));
    let stuck = stuck.map(|words| format!("; {words}")).unwrap_or_default();
    format!("{path}: {} processes{stuck}", pids.len())
}

/// Below it, without a look at what is mounted.
fn mounted(dir: &Path) -> Vec<String> {
    let points = mounts::below(dir).unwrap_or_default();
    points
        .iter()
        .filter_map(|point| point.strip_prefix(dir).ok())
        .map(|rest| rest.display().to_string())
        .collect()
}

fn held(what: &str, found: Vec<String>) -> Option<Line> {
    (!found.is_empty()).then(|| line(what, found.join(", ")))
}

fn under_way(operations: &[Operation], is_about: impl Fn(&str) -> bool) -> Vec<Line> {
    let about = operations.iter().filter(|operation| is_about(&operation.subject));
    let told = about.map(|operation| line("under way", operation)).collect::<Vec<_>>();
    if told.is_empty() { vec![line("under way", "nothing")] } else { told }
}

fn words_or(words: &[String], otherwise: &str) -> String {
    if words.is_empty() { otherwise.to_owned() } else { words.join(", ") }
}

fn line(what: &str, text: impl ToString) -> Line {
    (what.to_owned(), text.to_string())
}
