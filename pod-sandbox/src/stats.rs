//! Statistics: read from cgroups, the image store and interfaces when asked for. They hold up no other request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use linkspan_runtime_oci::{CgroupStats, Error as RuntimeError, Timestamp};

use crate::container::record::ContainerRecord;
use crate::error::Error;
use crate::locks::lock;
use crate::model::filter::labels_match;
use crate::model::{
    ContainerAttributes, ContainerState, ContainerStats, ContainerStatsFilter, SandboxAttributes,
    SandboxState, SandboxStats, SandboxStatsFilter, WritableLayer,
};
use crate::namespaces::InterfaceStats;
use crate::pods::{Inner, Pods};
use crate::sandbox::record::SandboxRecord;
use crate::table::{Snapshot, blocking};
use crate::{find, namespaces};

/// Nearer together, two readings say more about the clock than about the load.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
const LOOPBACK: &str = "lo";

/// A reading of a cgroup, for rates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    at: Timestamp,
    cpu_usage_ns: u64,
    nano_cores: Option<u64>,
}

/// CPU use since the previous sample; `None` for the first.
fn nano_cores(sample: &Mutex<Option<Sample>>, stats: &CgroupStats) -> Option<u64> {
    let mut sample = lock(sample);
    let now = |nano_cores| Sample { at: stats.at, cpu_usage_ns: stats.cpu_usage_ns, nano_cores };
    let Some(last) = *sample else {
        *sample = Some(now(None));
        return None;
    };
    let passed = stats.at.since(last.at);
    if passed < SHORTEST_INTERVAL {
        return last.nano_cores;
    }
    let used = u128::from(stats.cpu_usage_ns.saturating_sub(last.cpu_usage_ns));
    let rate = used * Duration::from_secs(1).as_nanos() / passed.as_nanos();
    let nano_cores = Some(u64::try_from(rate).unwrap_or(u64::MAX));
    *sample = Some(now(nano_cores));
    nano_cores
}

impl Pods {
    /// CRI api.proto, ContainerStats. For one that does not run, all but the writable layer is zero.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`]; a cgroup that cannot be read.
    pub async fn container_stats(&self, id: &str) -> Result<ContainerStats, Error> {
        let record = find::container(&self.inner.table.snapshot(), id)?;
        of_container(&self.inner, &record).await
    }

    /// Of all running containers that fit. One that goes away meanwhile is left out.
    pub async fn list_container_stats(&self, filter: &ContainerStatsFilter) -> Vec<ContainerStats> {
        let snapshot = self.inner.table.snapshot();
        let fitting = snapshot.containers.values().filter(|record| {
            record.is(ContainerState::Running)
                && record.id.as_str().starts_with(&filter.id)
                && record.sandbox_id.as_str().starts_with(&filter.sandbox_id)
                && labels_match(&filter.label_selector, &record.config.labels)
        });
        of_containers(&self.inner, fitting).await
    }

    /// CRI api.proto, PodSandboxStats.
    ///
    /// # Errors
    /// [`Error::NoSuchSandbox`], [`Error::Ambiguous`]; a cgroup or namespace that cannot be read.
    pub async fn sandbox_stats(&self, id: &str) -> Result<SandboxStats, Error> {
        let snapshot = self.inner.table.snapshot();
        let record = find::sandbox(&snapshot, id)?;
        of_sandbox(&self.inner, &snapshot, &record).await
    }

    /// Of all ready sandboxes that fit. One that goes away meanwhile is left out.
    pub async fn list_sandbox_stats(&self, filter: &SandboxStatsFilter) -> Vec<SandboxStats> {
        let snapshot = self.inner.table.snapshot();
        let mut found = Vec::new();
        for record in snapshot.sandboxes.values() {
            let fits = record.state.for_cri() == SandboxState::Ready
                && record.id.as_str().starts_with(&filter.id)
                && labels_match(&filter.label_selector, &record.config.labels);
            if !fits {
                continue;
            }
            match of_sandbox(&self.inner, &snapshot, record).await {
                Ok(stats) => found.push(stats),
                Err(error) => tracing::debug!(sandbox_id = %record.id, %error, "no statistics of sandbox"),
            }
        }
        found
    }
}

async fn of_containers<'a>(
    inner: &Inner,
    records: impl Iterator<Item = &'a Arc<ContainerRecord>>,
) -> Vec<ContainerStats> {
    let mut found = Vec::new();
    for record in records {
        match of_container(inner, record).await {
            Ok(stats) => found.push(stats),
            Err(error) => tracing::debug!(container_id = %record.id, %error, "no statistics of container"),
        }
    }
    found
}

async fn of_container(inner: &Inner, record: &ContainerRecord) -> Result<ContainerStats, Error> {
    let cgroup = read(inner, &record.cgroup_path).await?;
    Ok(ContainerStats {
        attributes: attributes_of_container(record),
        usage_nano_cores: nano_cores(&record.entry.sample, &cgroup),
        cgroup,
        writable_layer: writable_layer(inner, record).await,
    })
}

pub(crate) fn attributes_of_container(record: &ContainerRecord) -> ContainerAttributes {
    ContainerAttributes {
        id: record.id.clone(),
        sandbox_id: record.sandbox_id.clone(),
        metadata: record.config.metadata.clone(),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
    }
}

pub(crate) fn attributes_of_sandbox(record: &SandboxRecord) -> SandboxAttributes {
    SandboxAttributes {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
    }
}

pub(crate) async fn writable_layer(inner: &Inner, record: &ContainerRecord) -> Option<WritableLayer> {
    let usage = inner.images.rootfs_usage(record.id.as_str()).await;
    if let Err(error) = &usage {
        tracing::debug!(container_id = %record.id, %error, "no usage of the writable layer");
    }
    usage.ok().map(|usage| WritableLayer {
        at: Timestamp::now(),
        mountpoint: inner.images.container_fs_usage().mountpoint,
        used_bytes: usage.bytes,
        inodes_used: usage.inodes,
    })
}

/// Those of a ready pod with a network of its own, without `lo`.
pub(crate) async fn interfaces(record: &SandboxRecord) -> Result<Vec<InterfaceStats>, Error> {
    let interfaces = match &record.namespaces.network {
        Some(netns) if record.state.for_cri() == SandboxState::Ready => {
            namespaces::interface_stats(netns).await?
        }
        _ => Vec::new(),
    };
    Ok(interfaces.into_iter().filter(|interface| interface.name != LOOPBACK).collect())
}

async fn of_sandbox(
    inner: &Inner,
    snapshot: &Snapshot,
    record: &SandboxRecord,
) -> Result<SandboxStats, Error> {
    let cgroup = read(inner, &record.cgroup.parent).await?;
    let interfaces = interfaces(record).await?;
    let of_pod = snapshot.containers.values();
    let running = of_pod.filter(|c| c.sandbox_id == record.id && c.is(ContainerState::Running));
    Ok(SandboxStats {
        attributes: attributes_of_sandbox(record),
        usage_nano_cores: nano_cores(&record.entry.sample, &cgroup),
        process_count: cgroup.pids_current,
        cgroup,
        network_at: Timestamp::now(),
        interfaces,
        containers: of_containers(inner, running).await,
    })
}

/// A group that is gone has used nothing.
async fn read(inner: &Inner, path: &str) -> Result<CgroupStats, Error> {
    let (cgroups, path) = (inner.cgroups.clone(), path.to_owned());
    blocking("reading a cgroup", move || match cgroups.stats(&path) {
        Err(RuntimeError::NoSuchCgroup { .. }) => {
            Ok(CgroupStats { at: Timestamp::now(), ..CgroupStats::default() })
        }
        stats => Ok(stats?),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use linkspan_runtime_oci::{CgroupStats, Timestamp};

    use super::nano_cores;

    fn at(seconds: i64, cpu_usage_ns: u64) -> CgroupStats {
        CgroupStats { at: Timestamp(seconds * 1_000_000_000), cpu_usage_ns, ..CgroupStats::default() }
    }

    #[test]
    fn the_rate_is_between_two_samples() {
        let sample = Mutex::default();
        assert_eq!(nano_cores(&sample, &at(10, 1_000_000_000)), None);
        assert_eq!(nano_cores(&sample, &at(12, 2_000_000_000)), Some(500_000_000));
        assert_eq!(nano_cores(&sample, &at(12, 2_000_000_000)), Some(500_000_000), "too soon: as before");
    }
}
