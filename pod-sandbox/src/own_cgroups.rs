//! The control groups that the daemon makes for itself, below the name that it was given (option `cgroup.name`):
//!
//! ```text
//! /linkspan             top: marked by who made it
//! ├─ monitors           outside every pod's: a pod at its memory limit must not take its monitor with it
//! └─ <sandbox ID>       of a pod that came without a parent: marked by its daemon
//! /as/requested         of pods that came with a parent that was not there: marked by its daemon
//! ```
//! Two daemons may have the same name, with a `root_dir` each. Then top and `monitors` are both's, a pod's group is its daemon's, and
//! nothing is removed in which there may be something of the other's (ADR 12).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::operations::stage;
use crate::pods::Inner;
use crate::sandbox::record::{PodCgroup, SandboxRecord};
use crate::table::blocking;

const MONITORS: &str = "monitors";

impl Inner {
    /// Of a pod that came without a cgroup parent.
    pub(crate) fn pod_cgroup(&self, id: &str) -> String {
        format!("{}/{id}", top(self))
    }
}

pub(crate) fn top(inner: &Inner) -> String {
    format!("/{}", inner.settings.cgroup_name)
}

fn monitors(inner: &Inner) -> String {
    format!("{}/{MONITORS}", top(inner))
}

/// Makes what every pod needs.
pub(crate) async fn open(inner: &Arc<Inner>) -> Result<(), Error> {
    let inner = Arc::clone(inner);
    blocking("making the monitors' cgroup", move || make(&inner)).await
}

fn make(inner: &Inner) -> Result<(), Error> {
    let top = top(inner);
    // One that was there is the administrator's, limits and all, and stays; or another daemon's, with its mark.
    if inner.cgroups.create(&top)? {
        mark(inner, &top);
    }
    inner.cgroups.create(&monitors(inner))?;
    Ok(())
}

/// The files by which a monitor enters its group; made again where another daemon with this name has gone and taken it along.
pub(crate) async fn of_monitors(inner: &Arc<Inner>) -> Result<Vec<PathBuf>, Error> {
    let files = inner.cgroups.procs_files(&monitors(inner));
    if !files.is_empty() {
        return Ok(files);
    }
    open(inner).await?;
    Ok(inner.cgroups.procs_files(&monitors(inner)))
}

/// Blocking, short. Without the mark a group is not collected if its pod's record is lost and its directory too; nothing else
/// depends on it.
pub(crate) fn mark(inner: &Inner, path: &str) {
    if let Err(error) = inner.cgroups.mark(path, inner.layout.root_dir()) {
        tracing::debug!(%error, "a control group is not marked");
    }
}

/// Whether this daemon made the group.
pub(crate) fn is_marked(inner: &Inner, path: &str) -> bool {
    inner.cgroups.owner(path).is_some_and(|owner| owner == inner.layout.root_dir())
}

/// Removes what no daemon needs any more.
pub(crate) async fn close(inner: &Inner) -> Result<(), Error> {
    let (top, monitors) = (top(inner), monitors(inner));
    if inner.cgroups.children(&top)?.iter().any(|name| name != MONITORS) {
        tracing::debug!(group = top, "other daemons' pods are below the same name: the group stays");
        return Ok(());
    }
    // Monitors that have just ended leave it a moment later.
    inner.cgroups.remove(&monitors).await?;
    if inner.cgroups.owner(&top).is_some() {
        inner.cgroups.remove_if_empty(&top)?;
    }
    Ok(())
}

/// Removes a pod's groups: pause's, and those above its own that were made for it, or for another pod that had the same parent and
/// has gone before. Of those that a request named, what anybody is in stays. Gone: Ok.
pub(crate) async fn remove_pods(inner: &Inner, record: &SandboxRecord) -> Result<(), Error> {
    let PodCgroup { parent, pause, made } = &record.cgroup;
    stage("removing the pod's cgroups", inner.cgroups.remove(pause)).await?;
    if *parent == inner.pod_cgroup(record.id.as_str()) {
        return Ok(stage("removing the pod's cgroups", inner.cgroups.remove(parent)).await?);
    }
    remove_shared(inner, made)?;
    let above = Path::new(parent).ancestors().filter_map(Path::to_str);
    for group in above.take_while(|group| *group != "/" && *group != top(inner)) {
        if is_marked(inner, group) {
            remove_shared(inner, &[group.to_owned()])?;
        }
    }
    Ok(())
}

/// The outermost first.
fn remove_shared(inner: &Inner, paths: &[String]) -> Result<(), Error> {
    for path in paths.iter().rev() {
        if !inner.cgroups.remove_if_empty(path)? {
            tracing::debug!(group = path, "a group above the pod's stays: others are in it");
        }
    }
    Ok(())
}
