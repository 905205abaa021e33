//! Manifests, indexes and image configurations, read leniently: registries hold what Go programs wrote, where
//! `null` is an empty list and fields are missing. Raw bytes are kept by the caller: digests are of those.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Digest, Error};

mod config_file;
mod platform;

pub use config_file::ConfigFile;
pub use platform::Platform;

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Most layers of one image; overlayfs takes 500 lower directories.
const MAX_LAYERS: usize = 500;

/// A pointer to content (image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default, deserialize_with = "null_is_default")]
    pub media_type: String,
    pub digest: Digest,
    /// Bytes as stored in the registry.
    #[serde(default, deserialize_with = "null_is_default")]
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Points to another index (a list within a list).
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_LIST)
    }
}

/// OCI image index or Docker manifest list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    pub manifests: Vec<Descriptor>,
    pub annotations: BTreeMap<String, String>,
}

/// OCI image manifest or Docker schema-2 manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub config: Descriptor,
    /// Bottom first.
    pub layers: Vec<Descriptor>,
    pub annotations: BTreeMap<String, String>,
    /// Empty if the manifest does not say.
    pub artifact_type: String,
}

/// Media types of what is read as an image configuration: registries of old wrote the last one, or nothing.
const IMAGE_CONFIGS: [&str; 4] = [
    "",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    "application/octet-stream",
];

impl Manifest {
    /// The type of the artifact that this is (image-spec, manifest.md, "artifactType"); `None` for an image.
    pub fn artifact(&self) -> Option<&str> {
        let config_type = self.config.media_type.as_str();
        let named = if self.artifact_type.is_empty() { config_type } else { &self.artifact_type };
        (!IMAGE_CONFIGS.contains(&config_type)).then_some(named)
    }
}

/// What `/v2/<name>/manifests/<reference>` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    Index(Index),
    Manifest(Manifest),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default, deserialize_with = "null_is_default")]
    schema_version: u32,
    #[serde(default, deserialize_with = "null_is_default")]
    media_type: String,
    manifests: Option<Vec<serde_json::Value>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    fs_layers: Option<serde_json::Value>,
    #[serde(default, deserialize_with = "null_is_default")]
    artifact_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
}

impl Document {
    /// Reads a manifest or index. The document's own `mediaType` decides, then `content_type` (empty when
    /// unknown), then its shape. `what` names it in errors.
    ///
    /// Fails on a document that could be read both as index and as manifest (CVE-2021-41190), and on Docker
    /// schema 1.
    pub fn parse(bytes: &[u8], content_type: &str, what: &str) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadManifest { what: what.to_owned(), reason };
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| bad(format!("malformed: {error}")))?;
        if raw.schema_version == 1 || raw.fs_layers.is_some() {
            return Err(bad("docker schema 1 manifests are not supported".to_owned()));
        }
        if raw.manifests.is_some() && (raw.config.is_some() || raw.layers.is_some()) {
            return Err(bad("is both an index and a manifest".to_owned()));
        }
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let declared = if raw.media_type.is_empty() { content_type } else { &raw.media_type };
        match declared {
            OCI_INDEX | DOCKER_LIST => Ok(Self::Index(raw.into_index())),
            OCI_MANIFEST | DOCKER_MANIFEST => raw.into_manifest().map(Self::Manifest).map_err(bad),
            _ if raw.manifests.is_some() => Ok(Self::Index(raw.into_index())),
            _ if raw.config.is_some() => raw.into_manifest().map(Self::Manifest).map_err(bad),
            other => Err(bad(format!("unknown media type {other:?}"))),
        }
    }
}

impl Raw {
    /// Entries that do not read (a digest algorithm of tomorrow) cannot be meant for us.
    fn into_index(self) -> Index {
        let entries = self.manifests.unwrap_or_default().into_iter();
        let manifests = entries.filter_map(|entry| serde_json::from_value(entry).ok()).collect();
        Index { manifests, annotations: self.annotations }
    }

    fn into_manifest(self) -> Result<Manifest, String> {
        let config = self.config.ok_or("has no config")?;
        let layers = self.layers.unwrap_or_default();
        if layers.len() > MAX_LAYERS {
            return Err(format!("has {} layers, more than {MAX_LAYERS}", layers.len()));
        }
        Ok(Manifest { config, layers, annotations: self.annotations, artifact_type: self.artifact_type })
    }
}

impl Index {
    /// The best entry for `host`: the exact platform, else the nearest older variant that the host runs, else
    /// an entry that names no platform at all. Attestations (`unknown/unknown`) are never chosen. Between
    /// equals the first wins.
    pub fn choose(&self, host: &Platform) -> Option<&Descriptor> {
        let ranked = self.manifests.iter().filter_map(|entry| match &entry.platform {
            Some(platform) if !platform.is_blank() => Some((host.rank(platform)?, entry)),
            _ => (!is_attestation(entry)).then_some((u32::MAX, entry)),
        });
        // `min_by_key` keeps the first of equals.
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
    }
}

fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotations.contains_key("vnd.docker.reference.type")
}

/// `null` and an absent field mean the same in documents written by Go.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
