//! What a container's archive says about it beside its processes, in podman's, CRI-O's and checkpointctl's words.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::container::record::ContainerRecord;
use crate::error::Error;
use crate::model::{StringMap, Timestamp};
use crate::sandbox::annotations::cri_o_of_container;
use crate::sandbox::record::SandboxRecord;

/// `config.dump` (checkpointctl, `lib/metadata.go`, `ContainerConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ConfigDump {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The image's ID.
    pub(crate) rootfs_image: String,
    pub(crate) rootfs_image_ref: String,
    pub(crate) rootfs_image_name: String,
    pub(crate) runtime: String,
    pub(crate) created_time: String,
    pub(crate) checkpointed_time: String,
}

impl ConfigDump {
    pub(super) fn of(record: &ContainerRecord, now: Timestamp) -> Self {
        let image = &record.config.image;
        let name =
            if image.user_specified_image.is_empty() { &image.image } else { &image.user_specified_image };
        Self {
            id: record.id.to_string(),
            name: record.config.metadata.name.clone(),
            rootfs_image: record.image_id.to_string(),
            rootfs_image_ref: record.image_ref.clone(),
            rootfs_image_name: name.clone(),
            runtime: record.handler.clone(),
            created_time: record.created_at.to_rfc3339(),
            checkpointed_time: now.to_rfc3339(),
        }
    }

    /// By which the image may be known here, the surest first.
    pub(crate) fn image_names(&self) -> impl Iterator<Item = &str> {
        let names = [&self.rootfs_image, &self.rootfs_image_ref, &self.rootfs_image_name];
        names.into_iter().map(String::as_str).filter(|name| !name.is_empty())
    }
}

/// `spec.dump`: the container's spec, with the annotations by which CRI-O knows its containers.
pub(super) fn spec(bundle: &Path, record: &ContainerRecord, sandbox: &SandboxRecord) -> Result<Value, Error> {
    let path = bundle.join("config.json");
    let text = fs::read(&path).map_err(Error::store("reading", &path))?;
    let mut spec: Value =
        serde_json::from_slice(&text).map_err(|e| Error::store("reading", &path)(e.into()))?;
    let known = serde_json::from_value::<StringMap>(spec["annotations"].take()).unwrap_or_default();
    let mut annotations = cri_o_of_container(record, sandbox);
    annotations.extend(known);
    spec["annotations"] = serde_json::json!(annotations);
    Ok(spec)
}
