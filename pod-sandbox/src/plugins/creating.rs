//! A container that others have a say in before it is made.

use std::path::Path;
use std::sync::Arc;

use linkspan_runtime_oci::CgroupMode;
use linkspan_runtime_oci::spec::clamp_oom_score_adj;
use serde_json::{Value, json};

use super::devices;
use super::telling::tell_after;
use super::{Creation, Happening, LimitSupport, PluginError, What, apply, ask, views};
use crate::container::record::ContainerRecord;
use crate::error::Error;
use crate::mounts::{self, MountPoint, holding};
use crate::pods::Inner;
use crate::table::blocking;
use crate::undo::Undo;

/// Tells of the container that `spec` describes, and gives the spec as it shall be; the record follows it. To be undone by
/// telling that the container is gone again.
///
/// # Errors
/// [`Error::Plugin`] if somebody minds, is missing, or wants what cannot be had.
pub(crate) async fn creating(
    inner: &Arc<Inner>,
    record: &mut ContainerRecord,
    spec: Value,
    undo: &mut Undo,
) -> Result<Arc<Value>, Error> {
    let sandbox = inner.table.snapshot().sandboxes.get(&record.sandbox_id).cloned();
    let sandbox = sandbox.ok_or_else(|| Error::NoSuchSandbox(record.sandbox_id.to_string()))?;
    let spec = Arc::new(spec);
    let (pod, container) = (views::pod(&sandbox), views::container(record, Arc::clone(&spec)));
    let (undo_inner, pod_then, container_then) = (Arc::clone(inner), pod.clone(), container.clone());
    undo.push("tell plugins that the container is gone", move || async move {
        if undo_inner.plugins.is_listening() {
            for what in [What::StopContainer, What::RemoveContainer] {
                tell_after(&undo_inner, what, pod_then.clone(), Some(container_then.clone())).await;
            }
        }
        Ok(())
    });
    let support = inner.cgroups.support();
    let support = LimitSupport {
        cgroup_v2: inner.host.cgroup_mode == CgroupMode::V2,
        swap: support.swap,
        hugetlb: support.hugetlb,
    };
    let event = Happening { what: What::CreateContainer(support), pod, container: Some(container) };
    let answer = ask(inner, event).await?;
    apply(inner, answer.changes, answer.evictions, answer.held).await?;
    match answer.creation {
        None => Ok(spec),
        Some(creation) => follow(inner, record, &spec, creation).await.map(Arc::new),
    }
}

/// What of the host and of our own records depends on the spec.
async fn follow(
    inner: &Arc<Inner>,
    record: &mut ContainerRecord,
    before: &Value,
    creation: Creation,
) -> Result<Value, Error> {
    let Creation { spec, resources, cdi_devices } = creation;
    let mut spec = devices::added(inner, record.id.as_str(), spec, cdi_devices).await?;
    if let Some(wanted) = spec["process"]["oomScoreAdj"].as_i64() {
        spec["process"]["oomScoreAdj"] = json!(clamp_oom_score_adj(wanted, inner.host.oom_score_adj_floor));
    }
    let mounts_before = before["mounts"].clone();
    let spec = blocking("checking mounts of plugins", move || {
        check_propagation(&spec, &mounts_before, &mounts::read()?)?;
        Ok(spec)
    })
    .await?;
    record.config.linux.resources = resources;
    if let Some(path) = spec["linux"]["cgroupsPath"].as_str().filter(|path| *path != record.cgroup_path) {
        // Whatever is in a container's group is killed with it.
        if !inner.cgroups.procs_files(path).is_empty() {
            let words = format!(
                "an NRI plugin moves container {} into {path}, but a container needs a group of its own",
                record.id
            );
            return Err(PluginError::Refused(words).into());
        }
        path.clone_into(&mut record.cgroup_path);
        // Known before it is made: a crash must not leave it.
        inner.table.announce(record).await?;
    }
    Ok(spec)
}

/// What the source is mounted on must pass mounts on, or the container would silently see none.
fn check_propagation(spec: &Value, before: &Value, table: &[MountPoint]) -> Result<(), Error> {
    let known = before.as_array().map(Vec::as_slice).unwrap_or_default();
    for mount in spec["mounts"].as_array().into_iter().flatten().filter(|mount| !known.contains(mount)) {
        let options: Vec<&str> =
            mount["options"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let on = holding(table, Path::new(mount["source"].as_str().unwrap_or_default()));
        let enough =
            match options.iter().rev().find(|option| option.ends_with("shared") || option.ends_with("slave"))
            {
                Some(&("rshared" | "shared")) => on.is_some_and(|on| on.shared),
                Some(&("rslave" | "slave")) => on.is_some_and(|on| on.shared || on.slave),
                _ => true,
            };
        if !enough {
            let words = format!(
                "an NRI plugin mounts {} on {} with {}, but the source is on a mount that does not pass mounts on",
                mount["source"],
                mount["destination"],
                options.join(",")
            );
            return Err(PluginError::Refused(words).into());
        }
    }
    Ok(())
}
