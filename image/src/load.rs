//! Images from files: OCI layout directories, OCI archives, `docker save` archives.
//!
//! ```text
//! open (directory, or index of an archive) ─▶ what images it has ─▶ layers, as a pull does ─▶ record
//! ```
//! Every blob is checked as if it came over the network.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;

use crate::layer::{Hold, LayerStore};
use crate::manifest::{ConfigFile, Descriptor};
use crate::store::blocking;
use crate::store::snapshot::NewImage;
use crate::{Digest, Error, ImageId, Images, Progress, PullProgress, PullStage, Reference};

mod contents;
mod docker;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod oci;

use contents::Contents;

/// One image of an archive, not yet taken in.
struct Found {
    /// Empty for an image without a name.
    references: Vec<Reference>,
    manifest_digest: Digest,
    index_digest: Option<Digest>,
    manifest: Bytes,
    config: Bytes,
    /// Bottom first, each with its name in the archive.
    layers: Vec<(Descriptor, String)>,
}

/// An image whose layers are all in the store, and will stay.
struct Taken {
    image: Found,
    _hold: Hold,
}

impl Images {
    /// Takes in an OCI layout directory, an OCI archive or a `docker save` archive, plain or compressed; every
    /// image in it that is for this machine. Cancel safe: what was begun is finished.
    ///
    /// Fails with `BadArchive`, `NoPlatform`, `DigestMismatch` and what else may be wrong with an image.
    pub async fn load(&self, archive: &Path, progress: Progress) -> Result<Vec<ImageId>, Error> {
        let images = self.clone();
        let archive = archive.to_owned();
        let task = tokio::spawn(async move { images.load_all(archive, progress).await });
        task.await.map_err(|_| Error::TaskLost { what: "loading an archive".to_owned() })?
    }

    async fn load_all(&self, archive: std::path::PathBuf, progress: Progress) -> Result<Vec<ImageId>, Error> {
        let layers = self.layers().clone();
        let scratch_dir = self.shared.root_dir.clone();
        let meter = Meter(progress);
        let (taken, meter) = blocking("loading an archive", move || {
            let contents = Contents::open(&archive, &scratch_dir)?;
            let found =
                if contents.has("index.json") { oci::images(&contents)? } else { docker::images(&contents)? };
            let taken = take_layers(&contents, found, &layers, &meter)?;
            Ok((taken, meter))
        })
        .await?;
        meter.change(|progress| progress.stage = PullStage::Recording);
        let mut ids = Vec::new();
        for Taken { image, _hold } in taken {
            let named = image.references.iter().cloned().map(Some);
            let references: Vec<Option<Reference>> =
                if image.references.is_empty() { vec![None] } else { named.collect() };
            for reference in references {
                let id = self
                    .record(NewImage {
                        reference,
                        manifest_digest: image.manifest_digest.clone(),
                        index_digest: image.index_digest.clone(),
                        manifest: image.manifest.clone(),
                        config: image.config.clone(),
                        artifact: None,
                    })
                    .await?;
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        }
        meter.change(|progress| progress.stage = PullStage::Done);
        Ok(ids)
    }
}

/// Unpacks what the store does not have. Blocking.
fn take_layers(
    contents: &Contents,
    found: Vec<Found>,
    store: &LayerStore,
    meter: &Meter,
) -> Result<Vec<Taken>, Error> {
    let all = || found.iter().flat_map(|image| &image.layers);
    let (layers_total, bytes_total) = (all().count(), all().map(|(blob, _)| blob.size).sum());
    meter.change(|progress| {
        *progress =
            PullProgress { stage: PullStage::Fetching, layers_total, bytes_total, ..PullProgress::default() };
    });
    found.into_iter().map(|image| take_image(contents, image, store, meter)).collect()
}

fn take_image(contents: &Contents, image: Found, store: &LayerStore, meter: &Meter) -> Result<Taken, Error> {
    let what = image.manifest_digest.to_string();
    let config = ConfigFile::parse(&image.config, &what)?;
    if config.diff_ids().len() != image.layers.len() {
        let reason = format!("{} layers, but {} diff IDs", image.layers.len(), config.diff_ids().len());
        return Err(Error::BadManifest { what, reason });
    }
    let chain_ids = config.chain_ids();
    let hold = store.hold(chain_ids.iter().cloned());
    let mut parent = None;
    for (((blob, name), diff_id), chain_id) in image.layers.iter().zip(config.diff_ids()).zip(&chain_ids) {
        if store.has(chain_id) {
            meter.change(|progress| progress.bytes_done += blob.size);
        } else {
            let source = Metered { source: contents.read(name)?, meter };
            let staged = store.unpack(source, blob, diff_id)?;
            store.publish(staged, parent, chain_id)?;
        }
        meter.change(|progress| progress.layers_done += 1);
        parent = Some(chain_id);
    }
    Ok(Taken { image, _hold: hold })
}

/// Tells whoever looks how far we are.
struct Meter(Progress);

impl Meter {
    fn change(&self, change: impl FnOnce(&mut PullProgress)) {
        if let Some(progress) = &self.0 {
            progress.send_modify(change);
        }
    }
}

struct Metered<'a, R> {
    source: R,
    meter: &'a Meter,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.source.read(buffer)?;
        self.meter.change(|progress| progress.bytes_done += got as u64);
        Ok(got)
    }
}

#[cfg(test)]
mod tests;
