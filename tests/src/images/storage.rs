//! The folder that a `docker-registry` serves, written directly: faster than pushing, and the same bytes every time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::layer::digest_of;

#[derive(Debug)]
pub struct Storage {
    root: PathBuf,
    counter: AtomicU32,
}

impl Storage {
    pub fn create(root: &Path) -> io::Result<Storage> {
        fs::create_dir_all(root.join("docker/registry/v2/blobs/sha256"))?;
        Ok(Storage { root: root.to_owned(), counter: AtomicU32::new(0) })
    }

    /// A name for a file that is to become a blob.
    pub fn temporary(&self) -> PathBuf {
        self.root.join(format!(".blob-{}", self.counter.fetch_add(1, Ordering::Relaxed)))
    }

    pub fn adopt_blob(&self, temporary: &Path, digest: &str) -> io::Result<()> {
        let place = self.blob(digest);
        fs::create_dir_all(&place)?;
        fs::rename(temporary, place.join("data"))
    }

    /// Returns the digest.
    pub fn put_blob(&self, bytes: &[u8]) -> io::Result<String> {
        let digest = digest_of(bytes);
        let place = self.blob(&digest);
        fs::create_dir_all(&place)?;
        fs::write(place.join("data"), bytes)?;
        Ok(digest)
    }

    /// Makes a blob part of a repository: a registry serves it under no other.
    pub fn link_blob(&self, repository: &str, digest: &str) -> io::Result<()> {
        link(&self.repository(repository).join("_layers/sha256").join(hex(digest)), digest)
    }

    /// Stores a manifest or index under the tags; returns its digest.
    pub fn put_manifest(&self, repository: &str, tags: &[String], bytes: &[u8]) -> io::Result<String> {
        let digest = self.put_blob(bytes)?;
        let manifests = self.repository(repository).join("_manifests");
        link(&manifests.join("revisions/sha256").join(hex(&digest)), &digest)?;
        for tag in tags {
            let tag = manifests.join("tags").join(tag);
            link(&tag.join("current"), &digest)?;
            link(&tag.join("index/sha256").join(hex(&digest)), &digest)?;
        }
        Ok(digest)
    }

    /// The file that holds a blob.
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        self.blob(digest).join("data")
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.root.join("docker/registry/v2/blobs/sha256").join(&hex(digest)[..2]).join(hex(digest))
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.root.join("docker/registry/v2/repositories").join(name)
    }
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

fn link(folder: &Path, digest: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("link"), digest)
}
