//! What nobody owns any more: directories, cgroups, root file systems and addresses without a record.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use linkspan_runtime_oci::Monitor;

use super::Left;
use crate::error::Error;
use crate::model::id::is_id;
use crate::mounts;
use crate::namespaces;
use crate::network::Attachment;
use crate::own_cgroups;
use crate::pods::Inner;
use crate::table::blocking;

pub(super) async fn run(inner: &Arc<Inner>, left: &Left) {
    let snapshot = inner.table.snapshot();
    let sandboxes = snapshot.sandboxes.keys().map(|id| id.as_str());
    let sandboxes: BTreeSet<&str> = sandboxes.chain(left.sandboxes.iter().map(String::as_str)).collect();
    let containers = snapshot.containers.keys().map(|id| id.as_str());
    let containers: BTreeSet<&str> = containers.chain(left.containers.iter().map(String::as_str)).collect();
    // While the pods' namespaces are there: without them plugins do not find all that they have made.
    let attached = snapshot.sandboxes.values().filter_map(|record| record.attachment.clone());
    let of_left = |id: &String| Attachment { sandbox_id: id.clone(), ..Attachment::default() };
    let attached: Vec<Attachment> = attached.chain(left.sandboxes.iter().map(of_left)).collect();
    if let Err(error) = inner.network.gc(&attached).await {
        tracing::warn!(%error, "addresses that nobody owns may not all be freed");
    }
    let pods = stray(&inner.layout.pods_dir(), &sandboxes);
    for id in &pods {
        note("pod directory", id, pod(inner, id).await);
    }
    // With kind `oci` a sandbox is a container of its runtime.
    let known: BTreeSet<&str> = containers.union(&sandboxes).copied().collect();
    for name in names(&inner.layout.runtimes_dir()) {
        for id in stray_of_runtime(&inner.layout.runtime_root(&name), &known) {
            note("runtime's container", &id, inner.delete_from_runtime(&name, &id, None).await);
        }
    }
    for id in &sandboxes {
        let bundles = inner.layout.pods_dir().join(id).join("containers");
        for container in stray(&bundles, &containers) {
            note("bundle", &container, remove_tree(&bundles.join(&container)).await);
        }
    }
    for id in stray(&inner.layout.volumes_dir(), &containers) {
        note("volumes", &id, remove_tree(&inner.layout.volumes_dir().join(&id)).await);
    }
    root_file_systems(inner, &containers).await;
    cgroups(inner, &sandboxes, &pods).await;
}

fn names(dir: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// Entries of a directory that are named like an ID and that nobody owns.
fn stray(dir: &Path, owned: &BTreeSet<&str>) -> Vec<String> {
    names(dir).filter(|name| is_id(name) && !owned.contains(name.as_str())).collect()
}

/// gVisor's files bear more than the ID in their names.
fn stray_of_runtime(dir: &Path, owned: &BTreeSet<&str>) -> BTreeSet<String> {
    let ids = names(dir).map(|name| name.split('_').next().unwrap_or_default().to_owned());
    ids.filter(|id| is_id(id) && !owned.contains(id.as_str())).collect()
}

async fn pod(inner: &Inner, id: &str) -> Result<(), Error> {
    let dir = inner.layout.pods_dir().join(id);
    if let Ok(monitor) = Monitor::connect(&dir).await {
        monitor.shutdown().await?;
    }
    namespaces::unpin(&dir.join("ns")).await?;
    remove_tree(&dir).await
}

async fn root_file_systems(inner: &Inner, containers: &BTreeSet<&str>) {
    let keys = inner.images.rootfs_keys().unwrap_or_else(|error| {
        tracing::warn!(%error, "root file systems that nobody owns are not collected");
        Vec::new()
    });
    for key in keys.iter().filter(|key| !containers.contains(key.as_str())) {
        let removed = inner.images.remove_rootfs(key).await;
        note("root file system", key, removed.map_err(Error::from));
    }
}

/// Below our own group. What was below the kubelet's goes with the kubelet's. Another daemon may have been given the same name
/// for its groups: ours are those that bear our mark, and those of pods that had a directory here.
async fn cgroups(inner: &Inner, sandboxes: &BTreeSet<&str>, pods: &[String]) {
    let groups = inner.cgroups.children(&own_cgroups::top(inner)).unwrap_or_default();
    for id in groups.iter().filter(|id| is_id(id) && !sandboxes.contains(id.as_str())) {
        let path = inner.pod_cgroup(id);
        if !pods.contains(id) && !own_cgroups::is_marked(inner, &path) {
            tracing::debug!(sandbox_id = id, "a control group of another daemon's pod is left alone");
            continue;
        }
        let removed = async {
            inner.cgroups.kill_all(&path).await?;
            inner.cgroups.remove(&path).await
        };
        note("cgroup", id, removed.await.map_err(Error::from));
    }
}

async fn remove_tree(dir: &Path) -> Result<(), Error> {
    let dir = dir.to_owned();
    blocking("removing what nobody owns", move || mounts::remove_tree(&dir)).await
}

fn note(what: &'static str, id: &str, result: Result<(), Error>) {
    match result {
        Ok(()) => tracing::info!(what, id, "collected what nobody owned"),
        Err(error) => tracing::error!(what, id, %error, "could not collect what nobody owns"),
    }
}
