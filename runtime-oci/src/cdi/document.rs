//! One file, as it is written. Unknown fields are refused: what we do not understand we cannot do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(rename = "cdiVersion")]
    pub(super) version: String,
    pub(super) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) devices: Vec<Device>,
    /// Applied once if any device of the file is asked for.
    #[serde(default, rename = "containerEdits", deserialize_with = "or_default")]
    pub(super) edits: ContainerEdits,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, rename = "containerEdits", deserialize_with = "or_default")]
    pub(super) edits: ContainerEdits,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ContainerEdits {
    #[serde(deserialize_with = "or_default")]
    pub(super) env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) device_nodes: Vec<DeviceNode>,
    #[serde(deserialize_with = "or_default")]
    pub(super) net_devices: Vec<NetDevice>,
    #[serde(deserialize_with = "or_default")]
    pub(super) mounts: Vec<Mount>,
    #[serde(deserialize_with = "or_default")]
    pub(super) hooks: Vec<Hook>,
    pub(super) intel_rdt: Option<IntelRdt>,
    #[serde(deserialize_with = "or_default")]
    pub(super) additional_gids: Vec<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct DeviceNode {
    /// In the container.
    pub(super) path: String,
    /// On the host; empty: the same.
    #[serde(default)]
    pub(super) host_path: String,
    /// `c`, `b`, `u` or `p`; empty: the host's node tells, as for the numbers.
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) major: i64,
    #[serde(default)]
    pub(super) minor: i64,
    #[serde(default)]
    pub(super) file_mode: Option<u32>,
    /// Of `r`, `w`, `m`; empty: all; `none`: none.
    #[serde(default)]
    pub(super) permissions: String,
    #[serde(default)]
    pub(super) uid: Option<u32>,
    #[serde(default)]
    pub(super) gid: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NetDevice {
    pub(super) host_interface_name: String,
    /// In the container.
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) options: Vec<String>,
    #[serde(default, rename = "type")]
    pub(super) kind: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Hook {
    pub(super) hook_name: String,
    pub(super) path: PathBuf,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) args: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) env: Vec<String>,
    /// Seconds.
    #[serde(default)]
    pub(super) timeout: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct IntelRdt {
    #[serde(rename = "closID")]
    pub(super) clos_id: String,
    pub(super) l3_cache_schema: String,
    pub(super) mem_bw_schema: String,
    pub(super) schemata: Option<Vec<String>>,
    pub(super) enable_monitoring: Option<bool>,
    #[serde(rename = "enableCMT")]
    pub(super) enable_cmt: Option<bool>,
    #[serde(rename = "enableMBM")]
    pub(super) enable_mbm: Option<bool>,
}

impl Document {
    /// Each set of edits with where it stands.
    pub(super) fn all_edits(&self) -> impl Iterator<Item = (String, &ContainerEdits)> {
        let own = std::iter::once(("containerEdits".to_owned(), &self.edits));
        let devices = self.devices.iter().map(|device| (format!("device {:?}", device.name), &device.edits));
        own.chain(devices)
    }
}

/// The specification's own types are written in Go, whose writers say `null` for an empty list.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The text of a `.json` or a `.yaml` file.
pub(super) fn parse(text: &str, is_yaml: bool) -> Result<Document, String> {
    if !is_yaml {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}
