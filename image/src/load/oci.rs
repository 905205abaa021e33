//! OCI image layouts (image-spec, image-layout.md), as a directory or as an archive.

use bytes::Bytes;

use super::Found;
use super::contents::Contents;
use crate::manifest::{Descriptor, Document, Platform};
use crate::{Digest, Error, Reference};

/// Whole names, written by containerd, nerdctl and Docker.
const FULL_NAME: &str = "io.containerd.image.name";
/// A tag, or a whole name: the specification leaves it open (annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// An index may point to an index; real ones do so once.
const MAX_INDEX_DEPTH: usize = 3;

/// The images for this machine.
pub(super) fn images(contents: &Contents) -> Result<Vec<Found>, Error> {
    let host = Platform::host();
    let what = format!("index.json of {}", contents.path().display());
    let Document::Index(index) = Document::parse(&contents.document("index.json")?, "", &what)? else {
        return Err(contents.bad("index.json is no index"));
    };
    let mut found: Vec<Found> = Vec::new();
    for entry in &index.manifests {
        let foreign = entry.platform.as_ref().is_some_and(|p| !p.is_blank() && host.rank(p).is_none());
        if foreign || entry.annotations.contains_key("vnd.docker.reference.type") {
            continue;
        }
        let image = image(contents, entry, &host)?;
        // One image under several names has an entry for each.
        match found.iter_mut().find(|other| other.manifest_digest == image.manifest_digest) {
            Some(other) => other.references.extend(image.references),
            None => found.push(image),
        }
    }
    if found.is_empty() {
        return Err(Error::NoPlatform { what, platform: host.to_string() });
    }
    Ok(found)
}

fn image(contents: &Contents, entry: &Descriptor, host: &Platform) -> Result<Found, Error> {
    let mut index_digest = None;
    let mut at = entry.clone();
    for _ in 0..=MAX_INDEX_DEPTH {
        let manifest_json = blob(contents, &at.digest)?;
        let what = format!("manifest {}", at.digest);
        match Document::parse(&manifest_json, &at.media_type, &what)? {
            Document::Index(index) => {
                let chosen = index
                    .choose(host)
                    .cloned()
                    .ok_or_else(|| Error::NoPlatform { what, platform: host.to_string() })?;
                index_digest.get_or_insert(at.digest);
                at = chosen;
            }
            Document::Manifest(manifest) => {
                let config = blob(contents, &manifest.config.digest)?;
                let layers = manifest.layers.into_iter().map(|layer| {
                    let name = blob_name(&layer.digest);
                    (layer, name)
                });
                return Ok(Found {
                    references: reference(contents, entry).into_iter().collect(),
                    manifest_digest: at.digest,
                    index_digest,
                    manifest: manifest_json,
                    config,
                    layers: layers.collect(),
                });
            }
        }
    }
    Err(contents.bad(format!("indexes are nested more than {MAX_INDEX_DEPTH} deep")))
}

/// The name that the entry gives; a mere tag is put behind the archive's own name.
fn reference(contents: &Contents, entry: &Descriptor) -> Option<Reference> {
    if let Some(name) = entry.annotations.get(FULL_NAME) {
        return name.parse().ok();
    }
    let name = entry.annotations.get(REF_NAME)?;
    if name.contains([':', '/', '@']) {
        return name.parse().ok();
    }
    let stem = contents.path().file_stem()?.to_str()?.to_ascii_lowercase();
    let stem = stem.trim_end_matches(".tar");
    format!("localhost/{stem}:{name}").parse().ok()
}

/// A small blob, checked.
fn blob(contents: &Contents, digest: &Digest) -> Result<Bytes, Error> {
    let bytes = contents.document(&blob_name(digest))?;
    let actual = Digest::of_with(digest.algorithm(), &bytes);
    if actual != *digest {
        let what = format!("blob {digest} of {}", contents.path().display());
        return Err(Error::DigestMismatch { what, expected: digest.to_string(), actual: actual.to_string() });
    }
    Ok(bytes.into())
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}", digest.to_string().replace(':', "/"))
}
