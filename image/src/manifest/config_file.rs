//! The image configuration (image-spec, config.md; Docker's is the same with more fields).

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::{Platform, null_is_default};
use crate::{Digest, Error, ImageConfig};

/// What we need of an image configuration.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ConfigFile {
    #[serde(flatten)]
    pub platform: Platform,
    #[serde(default, deserialize_with = "null_is_default")]
    config: Process,
    #[serde(default, deserialize_with = "null_is_default")]
    rootfs: Rootfs,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Rootfs {
    #[serde(default, deserialize_with = "null_is_default")]
    diff_ids: Vec<Digest>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Process {
    #[serde(deserialize_with = "null_is_default")]
    user: String,
    #[serde(deserialize_with = "null_is_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "words")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "words")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    working_dir: String,
    #[serde(deserialize_with = "null_is_default")]
    volumes: BTreeMap<String, IgnoredAny>,
    #[serde(deserialize_with = "null_is_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    stop_signal: String,
}

impl ConfigFile {
    /// `what` names the configuration in errors.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map_err(|error| Error::BadManifest {
            what: what.to_owned(),
            reason: format!("malformed image configuration: {error}"),
        })
    }

    /// Digests of the uncompressed layers, bottom first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.rootfs.diff_ids
    }

    /// The chain IDs of the layers, bottom first.
    pub fn chain_ids(&self) -> Vec<Digest> {
        let mut chain: Vec<Digest> = Vec::with_capacity(self.rootfs.diff_ids.len());
        for diff_id in &self.rootfs.diff_ids {
            chain.push(Digest::chain(chain.last(), diff_id));
        }
        chain
    }
}

impl From<&ConfigFile> for ImageConfig {
    fn from(file: &ConfigFile) -> Self {
        let (platform, process) = (&file.platform, &file.config);
        Self {
            user: process.user.clone(),
            env: process.env.clone(),
            entrypoint: process.entrypoint.clone(),
            cmd: process.cmd.clone(),
            working_dir: process.working_dir.clone(),
            volumes: process.volumes.keys().cloned().collect(),
            labels: process.labels.clone(),
            stop_signal: Some(process.stop_signal.clone()).filter(|signal| !signal.is_empty()),
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: Some(platform.variant.clone()).filter(|variant| !variant.is_empty()),
        }
    }
}

/// Old builders wrote a single string where a list belongs.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        None,
        One(String),
        Many(Vec<String>),
    }
    Ok(match Words::deserialize(deserializer)? {
        Words::None => Vec::new(),
        Words::One(word) => vec![word],
        Words::Many(words) => words,
    })
}
