//! Records as others see them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{ContainerView, PodView};
use crate::container::record::ContainerRecord;
use crate::error::Error;
use crate::layout::Layout;
use crate::pods::{Inner, Pods};
use crate::sandbox::record::SandboxRecord;
use crate::table::blocking;

impl Pods {
    /// Every pod and container, for somebody who begins to listen.
    ///
    /// # Errors
    /// [`Error::Lost`] alone: a spec that cannot be read is left out.
    pub async fn plugin_views(&self) -> Result<(Vec<PodView>, Vec<ContainerView>), Error> {
        let inner = Arc::clone(&self.inner);
        blocking("reading specs for a plugin", move || {
            let snapshot = inner.table.snapshot();
            let pods = snapshot.sandboxes.values().map(|record| pod(record)).collect();
            let containers = snapshot
                .containers
                .values()
                .map(|record| container(record, Arc::new(spec(&inner.layout, record))));
            Ok((pods, containers.collect()))
        })
        .await
    }
}

pub(super) fn pod(record: &SandboxRecord) -> PodView {
    let pinned = &record.namespaces;
    let namespaces =
        [("user", &pinned.user), ("network", &pinned.network), ("ipc", &pinned.ipc), ("uts", &pinned.uts)];
    PodView {
        id: record.id.clone(),
        config: record.config.clone(),
        runtime_handler: record.runtime_handler.clone(),
        pid: record.state.pause().map(|pause| pause.pid),
        ips: record.network.as_ref().map(|network| network.ips.clone()).unwrap_or_default(),
        cgroup_parent: record.cgroup.parent.clone(),
        cgroup_path: record.cgroup.pause.clone(),
        namespaces: namespaces.into_iter().filter_map(|(kind, path)| Some((kind, path.clone()?))).collect(),
    }
}

pub(super) fn container(record: &ContainerRecord, spec: Arc<Value>) -> ContainerView {
    ContainerView {
        status: record.status(),
        spec,
        pid: record.state.process().map(|process| process.pid),
        cdi_devices: record.config.cdi_devices.clone(),
        seccomp: record.config.linux.security_context.seccomp.clone(),
    }
}

/// With the spec that the runtime was given.
pub(super) async fn container_now(
    inner: &Arc<Inner>,
    record: &Arc<ContainerRecord>,
) -> Result<ContainerView, Error> {
    let (task_inner, record) = (Arc::clone(inner), Arc::clone(record));
    blocking("reading a spec", move || Ok(container(&record, Arc::new(spec(&task_inner.layout, &record)))))
        .await
}

fn spec(layout: &Layout, record: &ContainerRecord) -> Value {
    read(&layout.bundle(&record.sandbox_id, &record.id).join("config.json")).unwrap_or(Value::Null)
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
