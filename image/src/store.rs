//! The crate's face: every image, layer and root file system below one directory.
//!
//! ```text
//! records/<id>.json   one file per image          staging/, trash/   on the way in, on the way out
//! layers/<chain>/     unpacked layers             rootfs/<key>/      containers' writable directories
//! ```
//! Writers take turns (`writer`), change the disk first and then the snapshot; readers take the snapshot.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::OwnedMutexGuard;

pub(crate) mod directories;
pub(crate) mod names;
pub(crate) mod record_file;
pub(crate) mod records;
pub(crate) mod snapshot;
pub(crate) mod trash;

use crate::layer::{LayerStore, Limits};
use crate::pull::Puller;
use crate::rootfs::RootfsStore;
use crate::{Digest, Error, FsUsage, Image, ImageId};
use names::{NamedBy, Removal};
use records::{RecordDir, Records};
use snapshot::{NewImage, Pins, Snapshot};
use trash::Trash;

/// All images. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Images {
    pub(crate) shared: Arc<Shared>,
    pub(crate) puller: Arc<Puller>,
}

pub(crate) struct Shared {
    pub(crate) root_dir: PathBuf,
    records: RecordDir,
    pub(crate) rootfs: RootfsStore,
    pub(crate) layers: LayerStore,
    pins: Pins,
    trash: Trash,
    snapshot: RwLock<Arc<Snapshot>>,
    writer: Arc<tokio::sync::Mutex<()>>,
}

impl Images {
    /// Opens the store below `root_dir` and collects what an earlier life left half done.
    pub async fn open(
        config: &linkspan_config::Image,
        root_dir: &Path,
        _run_dir: &Path,
    ) -> Result<Self, Error> {
        let (root_dir, pins) = (root_dir.to_owned(), Pins::new(&config.pinned));
        let config = config.clone();
        let limits = Limits { max_bytes: config.max_layer_bytes, max_entries: config.max_layer_entries };
        let (shared, puller) = blocking("opening the image store", move || {
            Ok((Shared::open(root_dir, pins, limits)?, Puller::new(&config)))
        })
        .await?;
        let images = Self { shared: Arc::new(shared), puller: Arc::new(puller) };
        images.make_durable();
        Ok(images)
    }

    /// Every image, by ID. Never waits.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.shared.snapshot().images()
    }

    /// Looks an image up by tag, `name@digest` (index or platform manifest), ID with or without `sha256:`, or
    /// a prefix of its ID of at least three hex digits. Never waits; no string is an error.
    pub fn find(&self, name: &str) -> Option<Arc<Image>> {
        self.look_up(&self.shared.snapshot(), name).map(|(image, _)| image)
    }

    /// Short names mean what `registries.conf` makes of them, as in a pull.
    fn look_up(&self, snapshot: &Snapshot, name: &str) -> Option<(Arc<Image>, NamedBy)> {
        let candidates = self.puller.known_candidates(name);
        let mut by_name = candidates.iter().filter_map(|candidate| snapshot.find(&candidate.to_string()));
        let found = by_name.next().or_else(|| snapshot.find(name));
        found.map(|(image, named_by)| (image.clone(), named_by))
    }

    /// Removes a name, or the image with all its names. Unknown: Ok. Fails with `InUse` if the image would go
    /// while `in_use` says that a container needs it, or while a root file system is made of it.
    pub async fn remove(&self, name: &str, in_use: &(dyn Fn(&ImageId) -> bool + Sync)) -> Result<(), Error> {
        let turn = self.shared.turn().await;
        let snapshot = self.shared.snapshot();
        let Some((image, named_by)) = self.look_up(&snapshot, name) else { return Ok(()) };
        let Some(record) = snapshot.records.get(&image.id) else { return Ok(()) };
        let held = self.shared.rootfs.records().iter().any(|rootfs| rootfs.image == image.id);
        let removal = names::remove(record, &named_by, held || in_use(&image.id))?;
        let shared = self.shared.clone();
        blocking("removing an image", move || {
            let _turn = turn;
            shared.apply(removal)
        })
        .await
    }

    /// Use of the images directory: layers and records.
    pub fn fs_usage(&self) -> FsUsage {
        let (bytes, inodes) = self.shared.layers.usage();
        let records = self.shared.snapshot().records.len() as u64;
        let used_bytes = bytes + records * RECORD_BYTES;
        FsUsage { mountpoint: self.shared.root_dir.clone(), used_bytes, inodes_used: inodes + records }
    }

    /// The layers, for those who bring images in.
    pub(crate) fn layers(&self) -> &LayerStore {
        &self.shared.layers
    }

    /// Records an image whose layers are all published and held. Cancel safe: what was begun is finished.
    pub(crate) async fn record(&self, new: NewImage) -> Result<ImageId, Error> {
        let turn = self.shared.turn().await;
        let shared = self.shared.clone();
        let id = blocking("recording an image", move || {
            let _turn = turn;
            shared.record(new)
        })
        .await?;
        self.make_durable();
        Ok(id)
    }

    /// Waits until what was removed is gone and what was pulled is on the disk. Blocking, long. Nothing depends
    /// on it: a daemon that stops in an orderly way may give it a moment, and tests remove their directories.
    pub fn flush(&self) -> Result<(), Error> {
        self.shared.layers.make_durable()?;
        self.shared.trash.flush();
        Ok(())
    }

    /// Syncs in the background what was published so far. In a thread of its own: a sync can take minutes on a
    /// busy disk, and the daemon does not wait for it to stop.
    fn make_durable(&self) {
        let layers = self.shared.layers.clone();
        let sync = move || {
            if let Err(error) = layers.make_durable() {
                tracing::warn!(%error, "layers could not be synced; they are fetched again after a power loss");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("sync".to_owned()).spawn(sync) {
            tracing::warn!(%error, "no thread to sync layers: left to the next pull");
        }
    }
}

/// A record file takes a few KiB: its block is counted, not measured.
const RECORD_BYTES: u64 = 8192;

impl Shared {
    fn open(root_dir: PathBuf, pins: Pins, limits: Limits) -> Result<Self, Error> {
        directories::make(&root_dir)?;
        let trash = Trash::open(root_dir.join(directories::TRASH))?;
        let layers = LayerStore::open(&root_dir, trash.clone(), limits)?;
        let rootfs = RootfsStore::open(&root_dir, trash.clone())?;
        let dir = RecordDir(root_dir.join(directories::RECORDS));
        let mut records = dir.load()?;
        for record in records.values().cloned().collect::<Vec<_>>() {
            if let Some(layer) = record.layers.iter().find(|layer| !layers.has(layer)) {
                tracing::warn!(image_id = %record.id, %layer, "image has lost a layer: dropped");
                dir.remove(&record.id)?;
                records.remove(&record.id);
            }
        }
        let shared = Self {
            root_dir,
            records: dir,
            rootfs,
            layers,
            pins,
            trash,
            snapshot: RwLock::default(),
            writer: Arc::default(),
        };
        shared.replace(records);
        shared.collect()?;
        Ok(shared)
    }

    fn record(&self, new: NewImage) -> Result<ImageId, Error> {
        let record = new.into_record(now())?;
        let id = record.id.clone();
        if let Some(layer) = record.layers.iter().find(|layer| !self.layers.has(layer)) {
            return Err(Error::NotFound { what: format!("layer with chain ID {layer} of image {id}") });
        }
        let mut records = self.snapshot().records.clone();
        for changed in names::add(&records, record) {
            self.records.write(&changed)?;
            records.insert(changed.id.clone(), changed);
        }
        self.replace(records);
        Ok(id)
    }

    fn apply(&self, removal: Removal) -> Result<(), Error> {
        let mut records = self.snapshot().records.clone();
        match removal {
            Removal::Rename(record) => {
                self.records.write(&record)?;
                records.insert(record.id.clone(), record);
                self.replace(records);
                Ok(())
            }
            Removal::Delete(id) => {
                self.records.remove(&id)?;
                records.remove(&id);
                self.replace(records);
                self.collect()
            }
        }
    }

    /// Removes layers that nobody needs. Under the writer's turn, or at `open`.
    pub(crate) fn collect(&self) -> Result<(), Error> {
        let snapshot = self.snapshot();
        let mut wanted: HashSet<Digest> =
            snapshot.records.values().flat_map(|record| record.layers.iter().cloned()).collect();
        for rootfs in self.rootfs.records() {
            wanted.extend(rootfs.layers.iter().cloned());
        }
        self.layers.collect(&wanted)
    }

    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        self.writer.clone().lock_owned().await
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, records: Records) {
        let size = |layer: &Digest| self.layers.info(layer).map_or(0, |info| info.size.content_bytes);
        let snapshot = Snapshot::new(records, &self.pins, &self.snapshot(), size);
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}

/// Runs blocking work to its end, whether or not the caller waits for it.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::TaskLost { what: what.to_owned() })?
}

/// Nanoseconds since the epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
