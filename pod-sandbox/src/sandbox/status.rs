//! PodSandboxStatus and ListPodSandbox: from the snapshot, at once.

use serde_json::json;

use super::record::SandboxRecord;
use crate::error::Error;
use crate::find;
use crate::model::filter::labels_match;
use crate::model::{ContainerStatus, SandboxFilter, SandboxStatus, Timestamp};
use crate::pods::Pods;

impl Pods {
    /// # Errors
    /// [`Error::NoSuchSandbox`], [`Error::Ambiguous`].
    pub fn sandbox_status(&self, id: &str) -> Result<SandboxStatus, Error> {
        Ok(find::sandbox(&self.inner.table.snapshot(), id)?.status())
    }

    /// A sandbox and its containers as of one moment, and that moment (CRI `PodSandboxStatusResponse`). An event that
    /// is older has been taken into account.
    ///
    /// # Errors
    /// [`Error::NoSuchSandbox`], [`Error::Ambiguous`].
    pub fn sandbox_with_containers(
        &self,
        id: &str,
    ) -> Result<(SandboxStatus, Vec<ContainerStatus>, Timestamp), Error> {
        // Before the snapshot: what changes in between must count as newer.
        let at = Timestamp::now();
        let snapshot = self.inner.table.snapshot();
        let record = find::sandbox(&snapshot, id)?;
        let containers = snapshot.containers.values().filter(|container| container.sandbox_id == record.id);
        Ok((record.status(), containers.map(|container| container.status()).collect(), at))
    }

    /// All that fit, the newest first. An unknown ID fits none.
    pub fn list_sandboxes(&self, filter: &SandboxFilter) -> Vec<SandboxStatus> {
        let snapshot = self.inner.table.snapshot();
        let fitting = snapshot.sandboxes.values().filter(|record| fits(record, filter));
        let mut found: Vec<_> = fitting.map(|record| record.status()).collect();
        found.sort_by_key(|status| std::cmp::Reverse(status.created_at));
        found
    }

    /// For people and tools: CRI `PodSandboxStatusResponse.info` with `verbose`.
    ///
    /// # Errors
    /// [`Error::NoSuchSandbox`], [`Error::Ambiguous`].
    pub fn sandbox_info(&self, id: &str) -> Result<serde_json::Value, Error> {
        let record = find::sandbox(&self.inner.table.snapshot(), id)?;
        let monitor = record.entry.monitor().map(|monitor| monitor.process().pid);
        Ok(json!({
            "sandboxID": record.id,
            "pid": record.state.pause().map(|pause| pause.pid),
            "monitorPid": monitor,
            "runtimeHandler": record.handler,
            "cgroupParent": record.cgroup.parent,
            "namespaces": record.namespaces,
            "network": record.network,
            "privileged": record.config.linux.security_context.privileged,
            "config": record.config,
        }))
    }
}

fn fits(record: &SandboxRecord, filter: &SandboxFilter) -> bool {
    record.id.as_str().starts_with(&filter.id)
        && filter.state.is_none_or(|state| record.state.for_cri() == state)
        && labels_match(&filter.label_selector, &record.config.labels)
}
