//! Images as the rest of the daemon sees them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Digest, Error};

/// `sha256:<64 hex>`: the digest of the image's configuration, or of an artifact's manifest (CRI `Image.id`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(String);

impl ImageId {
    /// The 64 hex digits without `sha256:`.
    pub fn hex(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }

    /// The ID of an image with this configuration, or of an artifact with this manifest.
    pub(crate) fn of(document: &[u8]) -> Self {
        Self(Digest::of(document).to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageId {
    type Err = Error;

    /// With or without `sha256:`; exactly 64 lower-case hex digits.
    fn from_str(text: &str) -> Result<Self, Error> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(Self(format!("sha256:{hex}")));
        }
        Err(Error::BadDigest { digest: text.to_owned(), reason: "an image ID has 64 hex digits".to_owned() })
    }
}

impl TryFrom<String> for ImageId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> Self {
        id.0
    }
}

/// An image or an artifact in the store. Immutable: a change of its names makes a new value.
#[derive(Clone, Debug)]
pub struct Image {
    pub id: ImageId,
    /// Canonical names with tag, `docker.io/library/busybox:latest`; may be empty. Sorted.
    pub repo_tags: Vec<String>,
    /// Canonical names with digest; at least one always (CRI contract). Sorted.
    pub repo_digests: Vec<String>,
    /// Unpacked layers plus manifest and configuration. Layers shared with other images count in each.
    pub size_bytes: u64,
    pub config: ImageConfig,
    /// The configuration says never to collect it.
    pub pinned: bool,
    /// Chain IDs of the layers, bottom first (image-spec, config.md, "Layer ChainID").
    pub layers: Vec<Digest>,
    /// Of an artifact (image-spec, manifest.md, "artifactType"), which can be mounted as a volume and not be run;
    /// `None` for an image.
    pub artifact_type: Option<String>,
    /// The manifest, byte for byte as pulled.
    pub manifest_json: Bytes,
    /// The image configuration, byte for byte as pulled; empty for an artifact.
    pub config_json: Bytes,
}

/// What an image says about the processes started from it (image-spec, config.md); absent values are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `user`, `uid`, `user:group` or `uid:gid`.
    pub user: String,
    /// `KEY=value`.
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub working_dir: String,
    /// Absolute paths.
    pub volumes: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM`, `15`.
    pub stop_signal: Option<String>,
    pub architecture: String,
    pub os: String,
    pub variant: Option<String>,
}

/// Use of one file system (CRI `FilesystemUsage`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsUsage {
    /// The directory that was measured.
    pub mountpoint: PathBuf,
    pub used_bytes: u64,
    pub inodes_used: u64,
}

/// Use of one writable layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    pub inodes: u64,
}

/// A prepared root file system, not mounted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    pub key: String,
    pub image: ImageId,
    /// Where the container's changes go.
    pub upper: PathBuf,
}

/// How a root file system is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    pub readonly: bool,
    /// The file of a user namespace, whose users own what is on the disk root's and the others' (Linux 5.19). Goes with
    /// `prepare_mapped_rootfs`.
    pub user_namespace: Option<PathBuf>,
    /// SELinux label that all of it has; only for kernels with SELinux.
    pub selinux_label: Option<String>,
}
