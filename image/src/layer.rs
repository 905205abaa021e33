//! Unpacked layers on disk, each in a directory named by its chain ID.
//!
//! ```text
//! blob ─unpack─▶ staging/<n>/diff ─publish, bottom first─▶ layers/<chain>/{diff,info.json} ─collect─▶ trash
//! ```
//! A layer is published without a sync and marked with the boot it was made in; one `syncfs` after the pull
//! lets the mark be taken off. A layer whose mark is of another boot may be torn and is dropped at `open`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linkspan_files::{Access, make_dir};
use serde::{Deserialize, Serialize};

use crate::manifest::Descriptor;
use crate::store::directories;
use crate::store::record_file::{self, Sync};
use crate::store::trash::Trash;
use crate::{Digest, Error};

mod archive;
mod attributes;
mod below;
mod decode;
mod extract;
mod fault;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod name;
mod pax;
mod settle;
mod sparse;
mod tree;

pub use extract::Size;

pub(crate) use archive::{Archive, MemberKind};
pub(crate) use extract::Extractor;
pub(crate) use fault::Fault;
pub(crate) use name::Name;

use below::Below;
use decode::{Outcome, Wanted, decode};
use extract::Extracted;

/// All layers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LayerStore {
    shared: Arc<Shared>,
}

struct Shared {
    layers_dir: PathBuf,
    staging_dir: PathBuf,
    trash: Trash,
    limits: Limits,
    boot_id: String,
    next_staging: AtomicU64,
    index: Mutex<Index>,
    syncing: Mutex<()>,
}

/// Bounds on one layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_bytes: u64,
    pub(crate) max_entries: u64,
}

#[derive(Default)]
struct Index {
    layers: HashMap<Digest, Arc<LayerInfo>>,
    holds: HashMap<Digest, usize>,
}

/// A published layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerInfo {
    pub(crate) chain_id: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) parent: Option<Digest>,
    /// As it was fetched.
    pub(crate) blob: Digest,
    pub(crate) size: Size,
    /// Nothing of the layers below is to be seen.
    pub(crate) hides_all: bool,
    /// Not known to be on the disk, and made during this boot.
    pub(crate) unsynced_boot: Option<String>,
}

/// An unpacked and verified layer that nobody sees yet. Dropped unpublished, it is removed.
pub(crate) struct StagedLayer {
    dir: PathBuf,
    trash: Trash,
    extracted: Extracted,
    diff_id: Digest,
    blob: Digest,
}

/// Keeps layers, present or to come, from being collected.
pub(crate) struct Hold {
    shared: Arc<Shared>,
    chain_ids: Vec<Digest>,
}

impl LayerStore {
    /// Opens the layers below `root_dir`, where the store's directories are. Blocking.
    pub(crate) fn open(root_dir: &Path, trash: Trash, limits: Limits) -> Result<Self, Error> {
        let (layers_dir, staging_dir) =
            (root_dir.join(directories::LAYERS), root_dir.join(directories::STAGING));
        for path in children(&staging_dir)? {
            trash.take(&path)?;
        }
        let boot_id = boot_id()?;
        let mut index = Index::default();
        for path in children(&layers_dir)? {
            match usable(&path, &boot_id)? {
                Some(info) => {
                    index.layers.insert(info.chain_id.clone(), Arc::new(info));
                }
                None => {
                    tracing::warn!(path = %path.display(), "layer may be incomplete: dropped");
                    trash.take(&path)?;
                }
            }
        }
        let shared = Shared {
            layers_dir,
            staging_dir,
            trash,
            limits,
            boot_id,
            next_staging: AtomicU64::new(0),
            index: Mutex::new(index),
            syncing: Mutex::new(()),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether the layer is there. Means something only while it is held.
    pub(crate) fn has(&self, chain_id: &Digest) -> bool {
        self.index().layers.contains_key(chain_id)
    }

    pub(crate) fn info(&self, chain_id: &Digest) -> Option<Arc<LayerInfo>> {
        self.index().layers.get(chain_id).cloned()
    }

    /// Keeps these layers until the hold is dropped, whether or not they are there yet.
    pub(crate) fn hold(&self, chain_ids: impl IntoIterator<Item = Digest>) -> Hold {
        let chain_ids: Vec<Digest> = chain_ids.into_iter().collect();
        let mut index = self.index();
        for chain_id in &chain_ids {
            *index.holds.entry(chain_id.clone()).or_default() += 1;
        }
        Hold { shared: self.shared.clone(), chain_ids }
    }

    /// Unpacks a blob in one pass and checks its size, its digest and its diff ID. Blocking. Layers of one image
    /// can be unpacked at the same time. An error that the source wraps (`io::Error::other(Error)`) comes back
    /// as it is.
    pub(crate) fn unpack(
        &self,
        source: impl Read + Send,
        blob: &Descriptor,
        diff_id: &Digest,
    ) -> Result<StagedLayer, Error> {
        let layer = blob.digest.to_string();
        if blob.media_type.ends_with("+encrypted") {
            return Err(Error::BadLayer { layer, reason: "is encrypted".to_owned() });
        }
        let dir = self.new_staging()?;
        let mut staged = StagedLayer {
            dir,
            trash: self.shared.trash.clone(),
            extracted: Extracted::default(),
            diff_id: diff_id.clone(),
            blob: blob.digest.clone(),
        };
        let into_error = |fault: Fault| fault.into_error(&layer, &staged.dir);
        let root = open_dir(&staged.diff())?;
        let attic = open_dir(&staged.attic())?;
        let extractor = Extractor::new(root, attic, self.shared.limits.max_entries);
        let wanted = Wanted {
            blob: blob.digest.algorithm(),
            diff: diff_id.algorithm(),
            max_bytes: self.shared.limits.max_bytes,
        };
        // One byte more than promised is enough to know that the size is wrong.
        let source = source.take(blob.size.saturating_add(1));
        let Outcome { blob: seen, archive } =
            decode(source, wanted, |stream| extractor.run(Archive::new(stream))).map_err(into_error)?;
        if let Err(fault @ Fault::Disk { .. }) = archive {
            return Err(into_error(fault));
        }
        if seen.bytes != blob.size {
            return Err(Error::SizeMismatch { what: layer, expected: blob.size, actual: seen.bytes });
        }
        check_digest(format!("blob {layer}"), &blob.digest, &seen.digest)?;
        let (extracted, actual) = archive.map_err(into_error)?;
        check_digest(format!("diff ID of layer {layer}"), diff_id, &actual)?;
        staged.extracted = extracted;
        Ok(staged)
    }

    /// Makes a layer visible under its chain ID; its parent is published already. Blocking. If somebody else
    /// was first, theirs is kept.
    pub(crate) fn publish(
        &self,
        mut staged: StagedLayer,
        parent: Option<&Digest>,
        chain_id: &Digest,
    ) -> Result<Arc<LayerInfo>, Error> {
        if let Some(info) = self.info(chain_id) {
            return Ok(info);
        }
        let below = Below::new(self.chain(parent)?.iter().map(|layer| self.diff_dir(&layer.chain_id)));
        let root = open_dir(&staged.diff())?;
        settle::settle(root, &mut staged.extracted, &below)
            .map_err(|fault| fault.into_error(&staged.blob.to_string(), &staged.dir))?;
        self.shared.trash.take(&staged.attic())?;
        let info = LayerInfo {
            chain_id: chain_id.clone(),
            diff_id: staged.diff_id.clone(),
            parent: parent.cloned(),
            blob: staged.blob.clone(),
            size: staged.extracted.size,
            hides_all: staged.extracted.hides_all,
            unsynced_boot: Some(self.shared.boot_id.clone()),
        };
        record_file::write(&staged.dir.join(INFO), &info, Sync::Never)?;
        let place = self.layer_dir(chain_id);
        // Held over the rename: collect() must see the directory and the index agree.
        let mut index = self.index();
        if let Some(info) = index.layers.get(chain_id) {
            return Ok(info.clone());
        }
        // Nobody knows of a directory that is there nevertheless.
        self.shared.trash.take(&place)?;
        fs::rename(&staged.dir, &place).map_err(Error::io("publishing", &place))?;
        let info = Arc::new(info);
        index.layers.insert(chain_id.clone(), info.clone());
        Ok(info)
    }

    /// The layer and all below it, top first.
    pub(crate) fn chain(&self, top: Option<&Digest>) -> Result<Vec<Arc<LayerInfo>>, Error> {
        let index = self.index();
        let mut chain = Vec::new();
        let mut next = top;
        while let Some(chain_id) = next {
            let info = index
                .layers
                .get(chain_id)
                .ok_or_else(|| Error::NotFound { what: format!("layer with chain ID {chain_id}") })?;
            chain.push(info.clone());
            next = chain.last().and_then(|info| info.parent.as_ref());
        }
        Ok(chain)
    }

    /// All layers are below it.
    pub(crate) fn dir(&self) -> &Path {
        &self.shared.layers_dir
    }

    /// The files of a layer.
    pub(crate) fn diff_dir(&self, chain_id: &Digest) -> PathBuf {
        self.layer_dir(chain_id).join(DIFF)
    }

    /// Disk blocks and inodes of all layers.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let index = self.index();
        index.layers.values().fold((0, 0), |(bytes, inodes), layer| {
            (bytes + layer.size.disk_bytes, inodes + layer.size.inodes)
        })
    }

    /// Removes layers that are neither wanted nor held. Blocking, but short.
    pub(crate) fn collect(&self, wanted: &HashSet<Digest>) -> Result<(), Error> {
        let mut index = self.index();
        let unused: Vec<Digest> = index
            .layers
            .keys()
            .filter(|chain_id| !wanted.contains(*chain_id) && !index.holds.contains_key(*chain_id))
            .cloned()
            .collect();
        for chain_id in unused {
            self.shared.trash.take(&self.layer_dir(&chain_id))?;
            index.layers.remove(&chain_id);
        }
        Ok(())
    }

    /// Syncs the file system once and takes the mark off every layer that was published before. Blocking, long.
    pub(crate) fn make_durable(&self) -> Result<(), Error> {
        let _one_at_a_time = self.shared.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let marked: Vec<Digest> = self
            .index()
            .layers
            .values()
            .filter(|info| info.unsynced_boot.is_some())
            .map(|info| info.chain_id.clone())
            .collect();
        if marked.is_empty() {
            return Ok(());
        }
        let dir = &self.shared.layers_dir;
        rustix::fs::syncfs(open_dir(dir)?).map_err(Error::io("syncing", dir))?;
        for chain_id in marked {
            // Gone when collected in the meantime.
            let Some(info) = self.info(&chain_id) else { continue };
            let info = LayerInfo { unsynced_boot: None, ..LayerInfo::clone(&info) };
            let written = record_file::write(&self.layer_dir(&chain_id).join(INFO), &info, Sync::Now);
            let mut index = self.index();
            if let Some(known) = index.layers.get_mut(&chain_id) {
                written?;
                *known = Arc::new(info);
            }
        }
        Ok(())
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.shared.index)
    }

    fn layer_dir(&self, chain_id: &Digest) -> PathBuf {
        self.shared.layers_dir.join(chain_id.hex())
    }

    fn new_staging(&self) -> Result<PathBuf, Error> {
        let number = self.shared.next_staging.fetch_add(1, Ordering::Relaxed);
        let dir = self.shared.staging_dir.join(number.to_string());
        for path in [dir.clone(), dir.join(DIFF), dir.join(ATTIC)] {
            make_dir(&path, Access::Private).map_err(Error::io("creating", &path))?;
        }
        Ok(dir)
    }
}

const DIFF: &str = "diff";
const ATTIC: &str = "attic";
const INFO: &str = "info.json";

impl StagedLayer {
    fn diff(&self) -> PathBuf {
        self.dir.join(DIFF)
    }

    fn attic(&self) -> PathBuf {
        self.dir.join(ATTIC)
    }
}

impl Drop for StagedLayer {
    fn drop(&mut self) {
        // Published: the directory has moved, and taking what is gone does nothing.
        if let Err(error) = self.trash.take(&self.dir) {
            tracing::warn!(%error, "staged layer is left until the next start");
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut index = lock(&self.shared.index);
        for chain_id in &self.chain_ids {
            if let Some(count) = index.holds.get_mut(chain_id) {
                *count -= 1;
                if *count == 0 {
                    index.holds.remove(chain_id);
                }
            }
        }
    }
}

fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The layer's record, if the layer can be trusted to be whole.
fn usable(path: &Path, boot_id: &str) -> Result<Option<LayerInfo>, Error> {
    let info: Option<LayerInfo> = record_file::read(&path.join(INFO))?;
    Ok(info.filter(|info| {
        let in_place = path.file_name().is_some_and(|name| name.to_str() == Some(info.chain_id.hex()));
        in_place && info.unsynced_boot.as_deref().is_none_or(|boot| boot == boot_id)
    }))
}

fn check_digest(what: String, expected: &Digest, actual: &Digest) -> Result<(), Error> {
    if expected == actual {
        return Ok(());
    }
    Err(Error::DigestMismatch { what, expected: expected.to_string(), actual: actual.to_string() })
}

/// Changes with every boot of the kernel.
pub(crate) fn boot_id() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(path).map_err(Error::io("reading", path))?;
    Ok(text.trim().to_owned())
}

/// Paths of everything in a directory.
pub(crate) fn children(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    read().map_err(Error::io("listing", dir))
}

/// Gives a directory the owner, mode, extended attributes and times of another.
pub(crate) fn copy_attributes(from: &Path, to: &Path) -> Result<(), Error> {
    attributes::copy(open_dir(from)?, open_dir(to)?, to.as_os_str().as_encoded_bytes())
        .map_err(|fault| fault.into_error("attributes", to))
}

fn open_dir(path: &Path) -> Result<OwnedFd, Error> {
    Ok(fs::File::open(path).map_err(Error::io("opening", path))?.into())
}

#[cfg(test)]
pub(crate) mod tests;
