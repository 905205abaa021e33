//! An image built in the test, and a scripted registry that serves it.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::manifest::{OCI_INDEX, OCI_MANIFEST, Platform};
use crate::registry::tests::server::{Answer, Seen};
use crate::{Digest, Images};

/// Everything that a registry has, by the end of its path (`manifests/v1`, `blobs/sha256:…`).
#[derive(Clone, Default)]
pub(super) struct Content {
    documents: HashMap<String, Vec<u8>>,
}

/// An image in [`Content`].
pub(super) struct Fixture {
    pub(super) id: String,
    pub(super) manifest: Digest,
    pub(super) index: Digest,
    /// Compressed layers, bottom first.
    pub(super) layers: Vec<Digest>,
}

impl Content {
    /// Adds an image whose layers hold one file each, named like its content, under `tag` as an index.
    pub(super) fn image(&mut self, tag: &str, files: &[&str]) -> Fixture {
        let (mut descriptors, mut diff_ids, mut layers) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            let tar = tar_of(file);
            diff_ids.push(Digest::of(&tar));
            let blob = self.blob(gzip(&tar));
            layers.push(blob.0.clone());
            descriptors.push(json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": blob.0, "size": blob.1,
            }));
        }
        let platform = host_without_variant();
        let config = json!({
            "os": platform.os, "architecture": platform.architecture,
            "config": {"Cmd": ["/bin/true"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.blob(config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.0, "size": config.1},
            "layers": descriptors,
        });
        let (manifest, size) = self.manifest(None, &manifest);
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": Digest::of(b"other"), "size": 5,
             "platform": {"os": "linux", "architecture": "mips"}},
            {"mediaType": OCI_MANIFEST, "digest": manifest, "size": size, "platform": platform},
        ]});
        let (index, _) = self.manifest(Some(tag), &index);
        Fixture { id: config.0.to_string(), manifest, index, layers }
    }

    /// Adds an artifact of files with their titles under `tag`; gives its manifest's digest.
    pub(super) fn artifact(&mut self, tag: &str, files: &[(&str, &str)]) -> Digest {
        let config = self.blob(b"{}".to_vec());
        let layers: Vec<Value> = files
            .iter()
            .map(|(title, content)| {
                let (digest, size) = self.blob(content.as_bytes().to_vec());
                json!({
                    "mediaType": "text/plain", "digest": digest, "size": size,
                    "annotations": {"org.opencontainers.image.title": title},
                })
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.model",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config.0, "size": config.1},
            "layers": layers,
        });
        self.manifest(Some(tag), &manifest).0
    }

    pub(super) fn manifest(&mut self, tag: Option<&str>, value: &Value) -> (Digest, usize) {
        let bytes = value.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        let length = bytes.len();
        for key in [Some(digest.to_string()), tag.map(str::to_owned)].into_iter().flatten() {
            self.documents.insert(format!("manifests/{key}"), bytes.clone());
        }
        (digest, length)
    }

    fn blob(&mut self, bytes: Vec<u8>) -> (Digest, usize) {
        let (digest, length) = (Digest::of(&bytes), bytes.len());
        self.documents.insert(format!("blobs/{digest}"), bytes);
        (digest, length)
    }

    /// What a well-behaved registry answers.
    pub(super) fn answer(&self, seen: &Seen) -> Answer {
        let mut end = seen.path.rsplitn(3, '/');
        let (name, kind) = (end.next().unwrap_or_default(), end.next().unwrap_or_default());
        match self.documents.get(&format!("{kind}/{name}")) {
            None => Answer::status(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#),
            Some(bytes) => {
                let digest = Digest::of(bytes).to_string();
                Answer::ranged(bytes, seen).header("docker-content-digest", digest)
            }
        }
    }
}

pub(super) fn host_without_variant() -> Platform {
    Platform { variant: String::new(), ..Platform::host() }
}

fn tar_of(file: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    let content = file.repeat(1000);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    // Ours: changing owners needs root.
    header.set_uid(rustix::process::getuid().as_raw().into());
    header.set_gid(rustix::process::getgid().as_raw().into());
    builder.append_data(&mut header, file, content.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A store of images in a directory of its own.
pub(super) struct Store {
    pub(super) images: Images,
    pub(super) dir: Arc<tempfile::TempDir>,
}

/// Nothing works in the directory any more when it is removed.
impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.images.flush();
    }
}

impl Store {
    pub(super) async fn open() -> Self {
        Self::with_slots(4).await
    }

    pub(super) async fn with_slots(max_parallel_layers: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), max_parallel_layers);
        let images =
            Images::open(&config, &dir.path().join("images"), &dir.path().join("run")).await.unwrap();
        Self { images, dir: Arc::new(dir) }
    }
}

fn config(dir: &Path, max_parallel_layers: usize) -> linkspan_config::Image {
    linkspan_config::Image {
        containers_dir: dir.to_owned(),
        certs_dirs: Vec::new(),
        auth_file: None,
        mirror_credentials: false,
        max_parallel_layers,
        progress_timeout: Duration::from_secs(20),
        pinned: Vec::new(),
        max_layer_bytes: 1 << 30,
        max_layer_entries: 1000,
    }
}
