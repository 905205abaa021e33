//! `docker save` archives: `manifest.json` names a configuration and layers, with neither digests nor sizes.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use serde::Deserialize;

use super::Found;
use super::contents::Contents;
use crate::manifest::{ConfigFile, Descriptor, OCI_MANIFEST, null_is_default};
use crate::{Algorithm, Digest, Error, Hasher, Reference};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default, deserialize_with = "null_is_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<String>,
}

/// All images of the archive.
pub(super) fn images(contents: &Contents) -> Result<Vec<Found>, Error> {
    if !contents.has("manifest.json") {
        return Err(contents.bad("has neither index.json (OCI) nor manifest.json (docker save)"));
    }
    let entries: Vec<Entry> = serde_json::from_slice(&contents.document("manifest.json")?)
        .map_err(|error| contents.bad(format!("manifest.json: {error}")))?;
    if entries.is_empty() {
        return Err(contents.bad("holds no image"));
    }
    entries.iter().map(|entry| image(contents, entry)).collect()
}

fn image(contents: &Contents, entry: &Entry) -> Result<Found, Error> {
    let config = contents.document(&entry.config)?;
    let parsed = ConfigFile::parse(&config, &entry.config)?;
    if parsed.diff_ids().len() != entry.layers.len() {
        return Err(contents.bad(format!("{}: layers and diff IDs differ in number", entry.config)));
    }
    let mut layers = Vec::new();
    for (name, diff_id) in entry.layers.iter().zip(parsed.diff_ids()) {
        layers.push((layer(contents, name, diff_id)?, name.clone()));
    }
    let references: Result<Vec<Reference>, Error> = entry.repo_tags.iter().map(|tag| tag.parse()).collect();
    let descriptors: Vec<&Descriptor> = layers.iter().map(|(layer, _)| layer).collect();
    // The archive has no manifest: the same archive gives the same one every time.
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": CONFIG, "digest": Digest::of(&config), "size": config.len() },
        "layers": descriptors,
    })
    .to_string();
    Ok(Found {
        references: references?,
        manifest_digest: Digest::of(manifest.as_bytes()),
        index_digest: None,
        manifest: Bytes::from(manifest),
        config: config.into(),
        layers,
    })
}

/// A layer is a plain tar, whose digest is its diff ID; some tools store it compressed.
fn layer(contents: &Contents, name: &str, diff_id: &Digest) -> Result<Descriptor, Error> {
    let mut magic = Vec::new();
    let failed = Error::io("reading", contents.path());
    contents.read(name)?.take(4).read_to_end(&mut magic).map_err(failed)?;
    let compressed = matches!(magic[..], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]);
    let digest = if compressed { digest(contents, name)? } else { diff_id.clone() };
    Ok(Descriptor {
        media_type: LAYER.to_owned(),
        digest,
        size: contents.size(name)?,
        platform: None,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
    })
}

fn digest(contents: &Contents, name: &str) -> Result<Digest, Error> {
    let mut source = contents.read(name)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 1 << 17];
    loop {
        match source.read(&mut buffer).map_err(Error::io("reading", contents.path()))? {
            0 => return Ok(hasher.finish()),
            got => hasher.update(&buffer[..got]),
        }
    }
}
