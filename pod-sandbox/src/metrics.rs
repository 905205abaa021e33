//! What metrics are made of: all that cgroups, interfaces and `/proc` count, read when asked for. It holds up no
//! other request.

use std::sync::Arc;

use linkspan_runtime_oci::{Cgroups, Error as RuntimeError, OpenFiles, descriptor_limit};

use crate::container::record::ContainerRecord;
use crate::error::Error;
use crate::model::{
    ContainerMetrics, ContainerState, GroupCounters, SandboxMetrics, SandboxState, Timestamp,
};
use crate::pods::{Inner, Pods};
use crate::sandbox::record::SandboxRecord;
use crate::stats::{attributes_of_container, attributes_of_sandbox, interfaces, writable_layer};
use crate::table::{Snapshot, blocking};

impl Pods {
    /// CRI api.proto, ListPodSandboxMetrics: of all ready sandboxes. One that goes away meanwhile is left out.
    pub async fn list_sandbox_metrics(&self) -> Vec<SandboxMetrics> {
        let snapshot = self.inner.table.snapshot();
        let ready =
            snapshot.sandboxes.values().filter(|record| record.state.for_cri() == SandboxState::Ready);
        let mut found = Vec::new();
        for record in ready {
            match of_sandbox(&self.inner, &snapshot, record).await {
                Ok(metrics) => found.push(metrics),
                Err(error) => tracing::debug!(sandbox_id = %record.id, %error, "no metrics of sandbox"),
            }
        }
        found
    }
}

async fn of_sandbox(
    inner: &Inner,
    snapshot: &Snapshot,
    record: &Arc<SandboxRecord>,
) -> Result<SandboxMetrics, Error> {
    let mut containers = Vec::new();
    let of_pod = snapshot.containers.values().filter(|container| container.sandbox_id == record.id);
    for container in of_pod.filter(|container| container.is(ContainerState::Running)) {
        match of_container(inner, container).await {
            Ok(metrics) => containers.push(metrics),
            Err(error) => tracing::debug!(container_id = %container.id, %error, "no metrics of container"),
        }
    }
    let (cgroups, parent, created_at) =
        (inner.cgroups.clone(), record.cgroup.parent.clone(), record.created_at);
    let counters = blocking("reading a cgroup", move || group(&cgroups, parent, created_at)).await?;
    Ok(SandboxMetrics {
        attributes: attributes_of_sandbox(record),
        counters,
        interfaces: interfaces(record).await?,
        containers,
    })
}

async fn of_container(inner: &Inner, record: &ContainerRecord) -> Result<ContainerMetrics, Error> {
    let (cgroups, path, started_at) =
        (inner.cgroups.clone(), record.cgroup_path.clone(), record.state.started_at());
    let init = record.state.process().map(|process| process.pid);
    let (counters, open_files, most) = blocking("reading a cgroup", move || {
        let counters = group(&cgroups, path, started_at)?;
        let open_files = OpenFiles::of(&counters.counters.pids);
        Ok((counters, open_files, init.and_then(descriptor_limit)))
    })
    .await?;
    let image = &record.config.image;
    let image = match image.user_specified_image.is_empty() {
        true => image.image.clone(),
        false => image.user_specified_image.clone(),
    };
    Ok(ContainerMetrics {
        attributes: attributes_of_container(record),
        image,
        counters,
        writable_layer: writable_layer(inner, record).await,
        open_files,
        descriptor_limit: most,
    })
}

/// Blocking.
fn group(cgroups: &Cgroups, cgroup_path: String, started_at: Timestamp) -> Result<GroupCounters, Error> {
    let counters = present(cgroups.counters(&cgroup_path))?;
    let limits = present(cgroups.limits(&cgroup_path))?;
    Ok(GroupCounters { cgroup_path, started_at, counters, limits })
}

/// A group that is gone has counted nothing, and limits nothing.
fn present<T: Default>(read: Result<T, RuntimeError>) -> Result<T, Error> {
    match read {
        Err(RuntimeError::NoSuchCgroup { .. }) => Ok(T::default()),
        read => Ok(read?),
    }
}
