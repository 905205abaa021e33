//! An image: layers, configuration, and the manifest form it is published in.

use std::io;

use serde_json::{Value, json};

use super::layer::Layer;
use super::storage::Storage;

/// How an image is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A Docker schema-2 manifest.
    Docker,
    /// A Docker manifest list of two platforms.
    DockerList,
    /// An OCI manifest.
    Oci,
    /// An OCI index of two platforms and an attestation, which is no platform at all.
    OciIndex,
}

impl Form {
    fn is_docker(self) -> bool {
        matches!(self, Form::Docker | Form::DockerList)
    }

    fn is_index(self) -> bool {
        matches!(self, Form::DockerList | Form::OciIndex)
    }
}

#[derive(Clone, Debug)]
pub struct Image {
    pub repository: &'static str,
    pub tags: Vec<String>,
    pub form: Form,
    pub layers: Vec<Layer>,
    /// The `config` object of the image configuration.
    pub config: Value,
}

impl Image {
    pub fn new(repository: &'static str, tag: &str, layers: Vec<Layer>, config: Value) -> Image {
        Image { repository, tags: vec![tag.to_owned()], form: Form::Docker, layers, config }
    }

    #[must_use]
    pub fn form(mut self, form: Form) -> Image {
        self.form = form;
        self
    }

    #[must_use]
    pub fn tags(mut self, tags: &[&str]) -> Image {
        self.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self
    }

    /// Returns the digest of the manifest or index that bears the tags.
    pub fn publish(&self, storage: &Storage) -> io::Result<String> {
        for layer in &self.layers {
            storage.link_blob(self.repository, &layer.digest)?;
        }
        if !self.form.is_index() {
            let manifest = self.manifest(storage, architecture())?;
            return storage.put_manifest(self.repository, &self.tags, &manifest);
        }
        let mut manifests = Vec::new();
        let other = if architecture() == "arm64" { "amd64" } else { "arm64" };
        for architecture in [other, architecture()] {
            let manifest = self.manifest(storage, architecture)?;
            let digest = storage.put_manifest(self.repository, &[], &manifest)?;
            manifests.push(json!({
                "mediaType": self.manifest_type(), "digest": digest, "size": manifest.len(),
                "platform": platform(architecture),
            }));
        }
        if self.form == Form::OciIndex {
            let statement = self.manifest(storage, "unknown")?;
            let digest = storage.put_manifest(self.repository, &[], &statement)?;
            manifests.push(json!({
                "mediaType": self.manifest_type(), "digest": digest, "size": statement.len(),
                "annotations": { "vnd.docker.reference.type": "attestation-manifest" },
                "platform": { "architecture": "unknown", "os": "unknown" },
            }));
        }
        let media_type = match self.form {
            Form::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
            _ => "application/vnd.oci.image.index.v1+json",
        };
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
        storage.put_manifest(self.repository, &self.tags, index.to_string().as_bytes())
    }

    fn manifest_type(&self) -> &'static str {
        match self.form.is_docker() {
            true => "application/vnd.docker.distribution.manifest.v2+json",
            false => "application/vnd.oci.image.manifest.v1+json",
        }
    }

    fn manifest(&self, storage: &Storage, architecture: &str) -> io::Result<Vec<u8>> {
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2026-01-02T03:04:05Z", "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": self.layers.iter().map(|l| &l.diff_id).collect::<Vec<_>>() },
            "history": self.layers.iter()
                .map(|_| json!({ "created": "2026-01-02T03:04:05Z", "created_by": "linkspan-test-images" }))
                .collect::<Vec<_>>(),
        });
        let config = config.to_string().into_bytes();
        let digest = storage.put_blob(&config)?;
        storage.link_blob(self.repository, &digest)?;
        let config_type = match self.form.is_docker() {
            true => "application/vnd.docker.container.image.v1+json",
            false => "application/vnd.oci.image.config.v1+json",
        };
        let layers: Vec<Value> = self.layers.iter().map(|l| l.descriptor(self.form.is_docker())).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": self.manifest_type(),
            "config": { "mediaType": config_type, "digest": digest, "size": config.len() },
            "layers": layers,
        });
        Ok(manifest.to_string().into_bytes())
    }
}

fn platform(architecture: &str) -> Value {
    match architecture {
        "arm64" => json!({ "architecture": "arm64", "os": "linux", "variant": "v8" }),
        other => json!({ "architecture": other, "os": "linux" }),
    }
}

/// This machine's architecture in Go's words, which images use.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
