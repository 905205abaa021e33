//! Root file systems of containers: an image's layers below, a writable directory on top.
//!
//! ```text
//! rootfs/<key>/record.json   which layers       rootfs/<key>/upper   the container's changes
//! rootfs/<key>/work          overlayfs's own
//! ```
//! The record keeps the image from being removed and its layers from being collected.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use linkspan_files::make_dir;
use serde::{Deserialize, Serialize};

use crate::layer::{LayerStore, children, copy_attributes};
use crate::store::directories;
use crate::store::record_file::{self, Sync};
use crate::store::trash::Trash;
use crate::store::{Images, Shared, blocking};
use crate::{Digest, Error, FsUsage, ImageId, MountOptions, Rootfs, Usage};

mod diff;
pub(crate) mod idmap;
pub(crate) mod overlay;
mod walk;

use idmap::IdMap;
use overlay::{Access, Writable};

/// A usage younger than this is good enough for `rootfs_usage`.
const USAGE_FRESH: Duration = Duration::from_secs(10);
/// `container_fs_usage` measures again in the background after this.
const TOTAL_FRESH: Duration = Duration::from_secs(60);
/// A file name's limit.
const MAX_KEY_BYTES: usize = 255;

const UPPER: &str = "upper";
const WORK: &str = "work";
const RECORD: &str = "record.json";

/// What is kept of a root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootfsRecord {
    key: String,
    pub(crate) image: ImageId,
    /// Chain IDs, bottom first.
    pub(crate) layers: Vec<Digest>,
    /// Of the user namespace that it is seen from.
    #[serde(default)]
    id_map: Option<IdMap>,
}

/// The directory of root file systems.
pub(crate) struct RootfsStore {
    dir: PathBuf,
    empty_dir: PathBuf,
    trash: Trash,
    records: Mutex<BTreeMap<String, Arc<RootfsRecord>>>,
    usages: Mutex<HashMap<String, (Instant, Usage)>>,
    measuring: AtomicBool,
}

impl RootfsStore {
    /// Of the root file systems below `root_dir`, where the store's directories are. Blocking.
    pub(crate) fn open(root_dir: &Path, trash: Trash) -> Result<Self, Error> {
        let (dir, empty_dir) = (root_dir.join(directories::ROOTFS), root_dir.join(directories::EMPTY));
        let mut records = BTreeMap::new();
        for path in children(&dir)? {
            let record: Option<RootfsRecord> = record_file::read(&path.join(RECORD))?;
            if let Some(record) = record.filter(|record| path == dir.join(&record.key)) {
                records.insert(record.key.clone(), Arc::new(record));
            }
        }
        Ok(Self {
            dir,
            empty_dir,
            trash,
            records: Mutex::new(records),
            usages: Mutex::default(),
            measuring: AtomicBool::new(false),
        })
    }

    pub(crate) fn records(&self) -> Vec<Arc<RootfsRecord>> {
        self.lock().values().cloned().collect()
    }

    fn prepare(&self, record: RootfsRecord, layers: &LayerStore) -> Result<PathBuf, Error> {
        let dir = self.dir.join(&record.key);
        let upper = dir.join(UPPER);
        if self.lock().get(&record.key).is_some_and(|known| **known == record) && upper.is_dir() {
            return Ok(upper);
        }
        // Without a record it belongs to nobody, or to an image of before.
        self.trash.take(&dir)?;
        for path in [&dir, &upper, &dir.join(WORK)] {
            make_dir(path, linkspan_files::Access::Private).map_err(Error::io("creating", path))?;
        }
        // The merged root shows the attributes of the uppermost directory.
        let lower = record.layers.last().map_or_else(|| self.empty_dir.clone(), |top| layers.diff_dir(top));
        copy_attributes(&lower, &upper)?;
        if let Some(id_map) = record.id_map {
            give_away(&upper, id_map)?;
            give_away(&dir.join(WORK), id_map)?;
        }
        record_file::write(&dir.join(RECORD), &record, Sync::Never)?;
        self.lock().insert(record.key.clone(), Arc::new(record));
        Ok(upper)
    }

    fn remove(&self, key: &str) -> Result<(), Error> {
        self.trash.take(&self.dir.join(key))?;
        self.lock().remove(key);
        self.usages().remove(key);
        Ok(())
    }

    fn find(&self, key: &str) -> Result<Arc<RootfsRecord>, Error> {
        self.lock().get(key).cloned().ok_or_else(|| Error::NoSuchRootfs { key: key.to_owned() })
    }

    /// Directories of layers that are named bottom first, the top one first.
    pub(crate) fn lower_dirs(&self, names: &[Digest], layers: &LayerStore) -> Result<Vec<PathBuf>, Error> {
        let mut dirs = Vec::with_capacity(names.len());
        for layer in layers.chain(names.last())? {
            dirs.push(layers.diff_dir(&layer.chain_id));
            if layer.hides_all {
                break;
            }
        }
        if dirs.is_empty() {
            dirs.push(self.empty_dir.clone());
        }
        Ok(dirs)
    }

    pub(crate) fn empty_dir(&self) -> &Path {
        &self.empty_dir
    }

    fn measure(&self, key: &str, fresh: Duration) -> Result<Usage, Error> {
        self.find(key)?;
        if let Some((at, usage)) = self.usages().get(key)
            && at.elapsed() < fresh
        {
            return Ok(*usage);
        }
        let upper = self.dir.join(key).join(UPPER);
        let usage = walk::usage(&upper).map_err(Error::io("measuring", &upper))?;
        self.usages().insert(key.to_owned(), (Instant::now(), usage));
        Ok(usage)
    }

    fn measure_all(&self) {
        for record in self.records() {
            if let Err(error) = self.measure(&record.key, TOTAL_FRESH) {
                tracing::debug!(key = record.key, %error, "root file system not measured");
            }
        }
        self.measuring.store(false, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<RootfsRecord>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usages(&self) -> MutexGuard<'_, HashMap<String, (Instant, Usage)>> {
        self.usages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Images {
    /// Makes the writable directories of `key` and keeps the image until `remove_rootfs`. Again with the same
    /// image: what is there is kept. Cancel safe: what was begun is finished.
    pub async fn prepare_rootfs(&self, id: &ImageId, key: &str) -> Result<Rootfs, Error> {
        self.prepare_mapped_rootfs(id, key, None).await
    }

    /// [`Self::prepare_rootfs`] for a pod with a user namespace: the writable directories belong to its users.
    pub async fn prepare_mapped_rootfs(
        &self,
        id: &ImageId,
        key: &str,
        id_map: Option<IdMap>,
    ) -> Result<Rootfs, Error> {
        check_key(key)?;
        let turn = self.shared.turn().await;
        let Some(image) = self.shared.snapshot().image(id).cloned() else {
            return Err(Error::NoSuchImage { name: id.to_string() });
        };
        let record =
            RootfsRecord { key: key.to_owned(), image: id.clone(), layers: image.layers.clone(), id_map };
        let shared = self.shared.clone();
        let upper = blocking("preparing a root file system", move || {
            let _turn = turn;
            shared.rootfs.prepare(record, &shared.layers)
        })
        .await?;
        Ok(Rootfs { key: key.to_owned(), image: id.clone(), upper })
    }

    /// Mounts the root file system of `key` at `target`, a directory that is there. Mounted already: Ok.
    ///
    /// The mount is `volatile`: a container's own `fsync` does not reach the disk, and unmounting does not flush
    /// the whole file system. What a container writes into its root does not outlive it anyway.
    pub async fn mount_rootfs(&self, key: &str, target: &Path, options: &MountOptions) -> Result<(), Error> {
        let (key, target, options) = (key.to_owned(), target.to_owned(), options.clone());
        let shared = self.shared.clone();
        blocking("mounting a root file system", move || {
            let record = shared.rootfs.find(&key)?;
            let dir = shared.rootfs.dir.join(&key);
            let plan = overlay::Plan {
                lower_dirs: shared.rootfs.lower_dirs(&record.layers, &shared.layers)?,
                writable: Some(Writable { upper_dir: dir.join(UPPER), work_dir: dir.join(WORK) }),
                target,
                access: if options.readonly { Access::ReadOnly } else { Access::ReadWrite },
                selinux_label: options.selinux_label.clone(),
            };
            match &options.user_namespace {
                None => overlay::mount(&plan),
                Some(userns) => idmap::mount(&plan, shared.layers.dir(), userns),
            }
        })
        .await
    }

    /// Whether root file systems can be mounted for pods with a user namespace; `user_namespace` is the file of any.
    ///
    /// # Errors
    /// [`Error::NotMappable`] says what is in the way.
    pub async fn check_mappable(&self, user_namespace: &Path) -> Result<(), Error> {
        let (shared, userns) = (self.shared.clone(), user_namespace.to_owned());
        blocking("looking whether layers can be mapped", move || {
            idmap::mappable(shared.layers.dir(), &userns).map(drop)
        })
        .await
    }

    /// Unmounts `target`. Not mounted or gone: Ok.
    pub async fn unmount_rootfs(&self, target: &Path) -> Result<(), Error> {
        let target = target.to_owned();
        blocking("unmounting a root file system", move || overlay::unmount(&target)).await
    }

    /// Removes the writable directories of `key`, which is unmounted. Gone: Ok.
    pub async fn remove_rootfs(&self, key: &str) -> Result<(), Error> {
        check_key(key)?;
        let (shared, key) = (self.shared.clone(), key.to_owned());
        let turn = self.shared.turn().await;
        blocking("removing a root file system", move || {
            let _turn = turn;
            let image = shared.rootfs.find(&key).ok().map(|record| record.image.clone());
            shared.rootfs.remove(&key)?;
            // An image that was lost leaves its layers to the last root file system.
            match image {
                Some(image) if shared.snapshot().image(&image).is_none() => shared.collect(),
                _ => Ok(()),
            }
        })
        .await
    }

    /// The keys of all root file systems, so that recovery can collect those that nobody owns. Those without a
    /// usable record are among them.
    pub fn rootfs_keys(&self) -> Result<Vec<String>, Error> {
        let paths = children(&self.shared.rootfs.dir)?;
        let name = |path: PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        Ok(paths.into_iter().filter_map(name).collect())
    }

    /// Disk use and inodes of the writable directory of `key`; at most 10 seconds old.
    pub async fn rootfs_usage(&self, key: &str) -> Result<Usage, Error> {
        let (shared, key) = (self.shared.clone(), key.to_owned());
        blocking("measuring a root file system", move || shared.rootfs.measure(&key, USAGE_FRESH)).await
    }

    /// Use of the containers' writable directories as last measured. Never waits: what is older than a minute
    /// is measured again in the background, for the next caller. Call within a tokio runtime.
    pub fn container_fs_usage(&self) -> FsUsage {
        let rootfs = &self.shared.rootfs;
        if !rootfs.measuring.swap(true, Ordering::AcqRel) {
            let shared: Arc<Shared> = self.shared.clone();
            tokio::task::spawn_blocking(move || shared.rootfs.measure_all());
        }
        let usages = rootfs.usages();
        let sum = |of: fn(&Usage) -> u64| usages.values().map(|(_, usage)| of(usage)).sum();
        FsUsage {
            mountpoint: self.shared.root_dir.clone(),
            used_bytes: sum(|usage| usage.bytes),
            inodes_used: sum(|usage| usage.inodes),
        }
    }
}

/// Gives a directory to the users of a user namespace who are what its owner and group are on the disk; to root's if it
/// knows no such user.
fn give_away(dir: &Path, id_map: IdMap) -> Result<(), Error> {
    use std::os::unix::fs::{MetadataExt, chown};
    let owner = fs::metadata(dir).map_err(Error::io("examining", dir))?;
    let [uid, gid] = [owner.uid(), owner.gid()].map(|id| id_map.to_host(id).unwrap_or(id_map.host_id));
    chown(dir, Some(uid), Some(gid)).map_err(Error::io("giving away", dir))
}

/// A key is one file name.
fn check_key(key: &str) -> Result<(), Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if !key.is_empty() && key.len() <= MAX_KEY_BYTES && !key.starts_with('.') && key.bytes().all(plain) {
        return Ok(());
    }
    let what = format!("root file system key {:?}", key.chars().take(100).collect::<String>());
    Err(Error::BadArgument { what, reason: "must be a plain file name".to_owned() })
}

#[cfg(test)]
mod tests;
