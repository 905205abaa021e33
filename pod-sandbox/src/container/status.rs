//! ContainerStatus and ListContainers: from the snapshot, at once.

use serde_json::json;

use super::record::ContainerRecord;
use crate::error::Error;
use crate::find;
use crate::model::filter::labels_match;
use crate::model::{ContainerFilter, ContainerStatus};
use crate::pods::Pods;
use crate::table::blocking;

impl Pods {
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`].
    pub fn container_status(&self, id: &str) -> Result<ContainerStatus, Error> {
        Ok(find::container(&self.inner.table.snapshot(), id)?.status())
    }

    /// All that fit, the newest first. An unknown ID fits none.
    pub fn list_containers(&self, filter: &ContainerFilter) -> Vec<ContainerStatus> {
        let snapshot = self.inner.table.snapshot();
        let fitting = snapshot.containers.values().filter(|record| fits(record, filter));
        let mut found: Vec<_> = fitting.map(|record| record.status()).collect();
        found.sort_by_key(|status| std::cmp::Reverse(status.created_at));
        found
    }

    /// For people and tools: CRI `ContainerStatusResponse.info` with `verbose`. `runtimeSpec` is the OCI spec as the
    /// runtime got it.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`].
    pub async fn container_info(&self, id: &str) -> Result<serde_json::Value, Error> {
        let record = find::container(&self.inner.table.snapshot(), id)?;
        let config = self.inner.layout.bundle(&record.sandbox_id, &record.id).join("config.json");
        // Gone after a reboot.
        let spec = blocking("reading a spec", move || {
            Ok(std::fs::read(config)
                .ok()
                .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok()))
        })
        .await?;
        Ok(json!({
            "sandboxID": record.sandbox_id,
            "pid": record.state.process().map_or(0, |process| process.pid),
            "privileged": record.config.linux.security_context.privileged,
            "runtimeHandler": record.handler,
            "cgroupPath": record.cgroup_path,
            "imageID": record.image_id,
            "stopSignal": record.stop_signal.to_string(),
            "config": record.config,
            "runtimeSpec": spec,
        }))
    }

    /// Whether a container of the node was made from the image, or is being made with it.
    pub fn image_in_use(&self, id: &linkspan_image::ImageId) -> bool {
        self.inner.table.has_container(|record| record.uses(id))
    }
}

fn fits(record: &ContainerRecord, filter: &ContainerFilter) -> bool {
    record.id.as_str().starts_with(&filter.id)
        && record.sandbox_id.as_str().starts_with(&filter.sandbox_id)
        && filter.state.is_none_or(|state| record.state.for_cri() == state)
        && labels_match(&filter.label_selector, &record.config.labels)
}
