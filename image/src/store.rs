//! The crate's face: every image, layer and root file system below one directory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

pub(crate) mod record_file;
pub(crate) mod trash;

use crate::{Error, FsUsage, Image, ImageId, MountOptions, Progress, PullRequest, Rootfs, Usage};

/// All images. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Images {
    shared: Arc<Shared>,
}

struct Shared {
    root_dir: PathBuf,
    snapshot: RwLock<Arc<Vec<Arc<Image>>>>,
}

impl Images {
    /// Opens the store below `root_dir` and collects what an earlier life left half done.
    pub async fn open(
        _config: &linkspan_config::Image,
        root_dir: &Path,
        _run_dir: &Path,
    ) -> Result<Self, Error> {
        tokio::fs::create_dir_all(root_dir).await.map_err(Error::io("creating", root_dir))?;
        let shared = Shared { root_dir: root_dir.to_owned(), snapshot: RwLock::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Fetches an image. Joins a running pull of the same reference with the same credentials. Cancel safe:
    /// the transfer goes on without its caller.
    pub async fn pull(&self, _request: PullRequest) -> Result<ImageId, Error> {
        Err(Error::Unimplemented { what: "pull" })
    }

    /// Takes in an OCI layout directory, an OCI archive or a `docker save` archive (plain or gzip).
    pub async fn load(&self, _archive: &Path, _progress: Progress) -> Result<Vec<ImageId>, Error> {
        Err(Error::Unimplemented { what: "load" })
    }

    /// Every image, by ID. Never waits.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.snapshot().to_vec()
    }

    /// Looks an image up by tag, `name@digest` (index or platform manifest), ID with or without `sha256:`, or
    /// a prefix of its ID of at least three hex digits. Never waits; no string is an error.
    pub fn find(&self, name: &str) -> Option<Arc<Image>> {
        self.snapshot().iter().find(|image| image.repo_tags.iter().any(|tag| tag == name)).cloned()
    }

    /// Removes a name, or the image with all its names. Unknown: Ok.
    pub async fn remove(
        &self,
        _name: &str,
        _in_use: &(dyn Fn(&ImageId) -> bool + Sync),
    ) -> Result<(), Error> {
        Err(Error::Unimplemented { what: "image removal" })
    }

    /// Use of the images directory: layers and records.
    pub fn fs_usage(&self) -> FsUsage {
        FsUsage { mountpoint: self.shared.root_dir.clone(), used_bytes: 0, inodes_used: 0 }
    }

    /// Use of the containers' writable directories.
    pub fn container_fs_usage(&self) -> FsUsage {
        FsUsage { mountpoint: self.shared.root_dir.clone(), used_bytes: 0, inodes_used: 0 }
    }

    /// Makes the writable directories of `key` and holds the image until `remove_rootfs`.
    pub async fn prepare_rootfs(&self, _id: &ImageId, _key: &str) -> Result<Rootfs, Error> {
        Err(Error::Unimplemented { what: "root file systems" })
    }

    /// Mounts the root file system of `key` at `target`, a directory that is there.
    pub async fn mount_rootfs(
        &self,
        _key: &str,
        _target: &Path,
        _options: &MountOptions,
    ) -> Result<(), Error> {
        Err(Error::Unimplemented { what: "root file systems" })
    }

    /// Unmounts `target`. Not mounted or gone: Ok.
    pub async fn unmount_rootfs(&self, _target: &Path) -> Result<(), Error> {
        Err(Error::Unimplemented { what: "root file systems" })
    }

    /// Removes the writable directories of `key`. Gone: Ok.
    pub async fn remove_rootfs(&self, _key: &str) -> Result<(), Error> {
        Err(Error::Unimplemented { what: "root file systems" })
    }

    /// The keys of all root file systems, so that recovery can collect those that nobody owns.
    pub fn rootfs_keys(&self) -> Result<Vec<String>, Error> {
        Err(Error::Unimplemented { what: "root file systems" })
    }

    /// Bytes and inodes of the writable directory of `key`; at most a few seconds old.
    pub async fn rootfs_usage(&self, _key: &str) -> Result<Usage, Error> {
        Err(Error::Unimplemented { what: "root file systems" })
    }

    fn snapshot(&self) -> Arc<Vec<Arc<Image>>> {
        self.shared.snapshot.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
