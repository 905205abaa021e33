//! An OCI image layout (image-spec, image-layout.md) of images that one test alone needs: `linkspan image load` takes it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::image::architecture;
use super::layer::{Compression, Layer};
use super::storage::Storage;
use super::tar::Entry;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Images may share layers.
#[derive(Debug)]
pub struct Layout {
    dir: PathBuf,
    storage: Storage,
    manifests: Vec<Value>,
}

impl Layout {
    pub fn create(dir: &Path) -> io::Result<Layout> {
        fs::create_dir_all(dir.join("blobs/sha256"))?;
        let storage = Storage::create(&dir.join("storage"))?;
        Ok(Layout { dir: dir.to_owned(), storage, manifests: Vec::new() })
    }

    pub fn layer(&self, entries: &[Entry]) -> io::Result<Layer> {
        let layer = Layer::of(&self.storage, Compression::None, entries)?;
        self.keep(&layer.digest)?;
        Ok(layer)
    }

    /// `config`: of the image's configuration, what concerns processes.
    pub fn image(&mut self, name: &str, layers: &[&Layer], config: &Value) -> io::Result<()> {
        let config = self.blob(&json!({
            "architecture": architecture(), "os": "linux", "config": config,
            "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|l| &l.diff_id).collect::<Vec<_>>() },
        }))?;
        let (digest, size) = self.blob(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.0, "size": config.1 },
            "layers": layers.iter().map(|layer| layer.descriptor(false)).collect::<Vec<_>>(),
        }))?;
        self.manifests.push(json!({
            "mediaType": MANIFEST, "digest": digest, "size": size,
            "annotations": { "org.opencontainers.image.ref.name": name },
        }));
        Ok(())
    }

    /// The finished layout's directory.
    pub fn finish(self) -> io::Result<PathBuf> {
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests });
        fs::write(self.dir.join("index.json"), index.to_string())?;
        fs::write(self.dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        fs::remove_dir_all(self.dir.join("storage"))?;
        Ok(self.dir)
    }

    fn blob(&self, document: &Value) -> io::Result<(String, usize)> {
        let text = document.to_string();
        let digest = self.storage.put_blob(text.as_bytes())?;
        self.keep(&digest)?;
        Ok((digest, text.len()))
    }

    fn keep(&self, digest: &str) -> io::Result<()> {
        let place = self.dir.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        match fs::hard_link(self.storage.blob_path(digest), place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }
}
