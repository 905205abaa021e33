//! All images at one moment. Readers share it and never wait; a change makes a new one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::names::NamedBy;
use super::records::{ImageRecord, Records};
use crate::manifest::ConfigFile;
use crate::{Digest, Error, Image, ImageConfig, ImageId, Reference};

/// Fewest hex digits that are looked up as the beginning of an ID.
const MIN_PREFIX: usize = 3;

#[derive(Default)]
pub(crate) struct Snapshot {
    pub(crate) records: Records,
    images: BTreeMap<ImageId, Arc<Image>>,
    /// By canonical name, with tag or digest.
    names: HashMap<String, ImageId>,
}

/// Names that the configuration pins: exact, or everything that begins so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pins(Vec<Pin>);

#[derive(Clone, Debug)]
enum Pin {
    Exact(String),
    Prefix(String),
}

impl Pins {
    pub(crate) fn new(patterns: &[String]) -> Self {
        let pin = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => Pin::Prefix(prefix.to_owned()),
            None => Pin::Exact(
                pattern
                    .parse::<Reference>()
                    .map_or_else(|_| pattern.clone(), |reference| reference.or_latest().to_string()),
            ),
        };
        Self(patterns.iter().map(pin).collect())
    }

    fn has(&self, name: &str) -> bool {
        let familiar = name.parse::<Reference>().map(|reference| reference.familiar()).unwrap_or_default();
        self.0.iter().any(|pin| match pin {
            Pin::Exact(exact) => exact == name,
            Pin::Prefix(prefix) => name.starts_with(prefix) || familiar.starts_with(prefix),
        })
    }
}

impl Snapshot {
    /// `sizes` gives the unpacked bytes of a layer. An image that has not changed is taken over from `before`.
    pub(crate) fn new(records: Records, pins: &Pins, before: &Self, sizes: impl Fn(&Digest) -> u64) -> Self {
        let mut snapshot = Self { records: Records::new(), images: BTreeMap::new(), names: HashMap::new() };
        for (id, record) in records {
            let known = before
                .images
                .get(&id)
                .filter(|_| before.records.get(&id).is_some_and(|before| Arc::ptr_eq(before, &record)));
            let image = match known {
                Some(image) => image.clone(),
                None => Arc::new(image(&record, pins, &sizes)),
            };
            for name in image.repo_tags.iter().chain(&image.repo_digests) {
                snapshot.names.insert(name.clone(), id.clone());
            }
            snapshot.images.insert(id.clone(), image);
            snapshot.records.insert(id, record);
        }
        snapshot
    }

    pub(crate) fn images(&self) -> Vec<Arc<Image>> {
        self.images.values().cloned().collect()
    }

    pub(crate) fn image(&self, id: &ImageId) -> Option<&Arc<Image>> {
        self.images.get(id)
    }

    /// Finds by whole ID, by name, then by the beginning of an ID.
    pub(crate) fn find(&self, name: &str) -> Option<(&Arc<Image>, NamedBy)> {
        if let Ok(id) = name.parse::<ImageId>() {
            return self.images.get(&id).map(|image| (image, NamedBy::Id));
        }
        if let Ok(reference) = name.parse::<Reference>() {
            // The digest says more than the tag beside it.
            let (key, named_by): (_, fn(String) -> NamedBy) = match reference.digest() {
                Some(digest) => (reference.at_digest(digest.clone()).to_string(), NamedBy::Digest),
                None => (reference.or_latest().to_string(), NamedBy::Tag),
            };
            if let Some(image) = self.names.get(&key).and_then(|id| self.images.get(id)) {
                return Some((image, named_by(key)));
            }
        }
        self.find_prefix(name.strip_prefix("sha256:").unwrap_or(name)).map(|image| (image, NamedBy::Id))
    }

    /// `None` also when several images begin so.
    fn find_prefix(&self, prefix: &str) -> Option<&Arc<Image>> {
        let hex = prefix.bytes().all(|b| b.is_ascii_hexdigit());
        if prefix.len() < MIN_PREFIX || !hex {
            return None;
        }
        let prefix = prefix.to_ascii_lowercase();
        let mut matching = self.images.values().filter(|image| image.id.hex().starts_with(&prefix));
        matching.next().filter(|_| matching.next().is_none())
    }
}

fn image(record: &ImageRecord, pins: &Pins, sizes: &impl Fn(&Digest) -> u64) -> Image {
    let parsed = ConfigFile::parse(record.config.as_bytes(), record.id.as_str());
    // Checked before it was recorded; the record's checksum has vouched for it since. An artifact has none.
    let config = parsed.as_ref().map(ImageConfig::from).unwrap_or_default();
    let layers: u64 = record.layers.iter().map(sizes).sum();
    Image {
        id: record.id.clone(),
        repo_tags: record.tags.keys().cloned().collect(),
        repo_digests: record.digests.clone(),
        size_bytes: layers + (record.manifest.len() + record.config.len()) as u64,
        config,
        pinned: record.tags.keys().chain(&record.digests).any(|name| pins.has(name)),
        layers: record.layers.clone(),
        artifact_type: record.artifact_type.clone(),
        manifest_json: Bytes::copy_from_slice(record.manifest.as_bytes()),
        config_json: Bytes::copy_from_slice(record.config.as_bytes()),
    }
}

/// An image that came in.
#[derive(Clone, Debug)]
pub(crate) struct NewImage {
    /// What it was asked for as; `None` for an archive that names nothing.
    pub(crate) reference: Option<Reference>,
    pub(crate) manifest_digest: Digest,
    /// Of the index that the manifest was chosen from.
    pub(crate) index_digest: Option<Digest>,
    pub(crate) manifest: Bytes,
    /// Empty for an artifact.
    pub(crate) config: Bytes,
    pub(crate) artifact: Option<Artifact>,
}

/// What an artifact has in place of an image configuration.
#[derive(Clone, Debug)]
pub(crate) struct Artifact {
    pub(crate) artifact_type: String,
    /// Chain IDs of its files' layers, bottom first.
    pub(crate) layers: Vec<Digest>,
}

/// Repository of images that came without a name: something has to stand before the `@`.
const UNNAMED: &str = "localhost/unnamed";

impl NewImage {
    /// Checks and turns into a record. `now` is in nanoseconds since the epoch.
    pub(crate) fn into_record(self, now: i64) -> Result<ImageRecord, Error> {
        let what = self.manifest_digest.to_string();
        let text = |bytes: &Bytes| {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| Error::BadManifest { what: what.clone(), reason: "is not UTF-8".to_owned() })
        };
        let reference = match self.reference {
            Some(reference) => reference.or_latest(),
            None => UNNAMED.parse()?,
        };
        let digests = self.index_digest.into_iter().chain([self.manifest_digest.clone()]);
        let mut digests: Vec<String> =
            digests.map(|digest| reference.at_digest(digest).to_string()).collect();
        digests.dedup();
        let tagged = reference.digest().is_none() && reference.tag().is_some();
        let (id, layers, artifact_type) = match self.artifact {
            // Configurations of artifacts are all alike; the manifest is what tells them apart.
            Some(artifact) => (ImageId::of(&self.manifest), artifact.layers, Some(artifact.artifact_type)),
            None => (ImageId::of(&self.config), ConfigFile::parse(&self.config, &what)?.chain_ids(), None),
        };
        Ok(ImageRecord {
            id,
            tags: tagged.then(|| (reference.to_string(), now)).into_iter().collect(),
            digests,
            manifest: text(&self.manifest)?,
            config: text(&self.config)?,
            layers,
            artifact_type,
        })
    }
}
