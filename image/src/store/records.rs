//! What is kept of an image: its names, its manifest and its configuration, in one file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record_file::{self, Sync};
use crate::layer::children;
use crate::{Digest, Error, ImageId};

/// All records, by image.
pub(crate) type Records = BTreeMap<ImageId, Arc<ImageRecord>>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) id: ImageId,
    /// Canonical `name:tag`, each with the time it was given, in nanoseconds since the epoch: after a crash
    /// between two writes, two records may claim a tag, and the later one has it.
    pub(crate) tags: BTreeMap<String, i64>,
    /// Canonical `name@digest` in the order they came; an index stands before the manifest chosen from it.
    pub(crate) digests: Vec<String>,
    /// Byte for byte.
    pub(crate) manifest: String,
    pub(crate) config: String,
    /// Chain IDs, bottom first.
    pub(crate) layers: Vec<Digest>,
    /// Of an artifact, which has no configuration; `None` for an image.
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
}

/// `docker.io/library/busybox` of a canonical name with tag or digest.
pub(crate) fn repository_of(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// The directory of records.
pub(crate) struct RecordDir(pub(crate) PathBuf);

impl RecordDir {
    /// Reads every record that verifies; files of others and torn ones are removed. Blocking.
    pub(crate) fn load(&self) -> Result<Records, Error> {
        let mut records = Records::new();
        for path in children(&self.0)? {
            let record: Option<ImageRecord> = record_file::read(&path)?;
            match record.filter(|record| self.path(&record.id) == path) {
                Some(record) => {
                    records.insert(record.id.clone(), Arc::new(record));
                }
                None => remove_file(&path)?,
            }
        }
        settle_tags(&mut records);
        Ok(records)
    }

    pub(crate) fn write(&self, record: &ImageRecord) -> Result<(), Error> {
        record_file::write(&self.path(&record.id), record, Sync::Never)
    }

    pub(crate) fn remove(&self, id: &ImageId) -> Result<(), Error> {
        remove_file(&self.path(id))
    }

    fn path(&self, id: &ImageId) -> PathBuf {
        self.0.join(format!("{}.json", id.hex()))
    }
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("removing", path)(error)),
        _ => Ok(()),
    }
}

/// One image per tag: the one that got it last.
fn settle_tags(records: &mut Records) {
    let mut owners: BTreeMap<String, (i64, ImageId)> = BTreeMap::new();
    for record in records.values() {
        for (tag, &since) in &record.tags {
            let claim = (since, record.id.clone());
            let owner = owners.entry(tag.clone()).or_insert_with(|| claim.clone());
            *owner = claim.max(owner.clone());
        }
    }
    for record in records.values_mut() {
        let id = record.id.clone();
        let keeps = |tag: &String| owners.get(tag).is_some_and(|(_, owner)| *owner == id);
        if !record.tags.keys().all(keeps) {
            Arc::make_mut(record).tags.retain(|tag, _| keeps(tag));
        }
    }
}
