//! Artifacts: files under a manifest that is no image's, as `oras push` makes them.

use std::io;

use serde_json::{Value, json};

use super::storage::Storage;

#[derive(Clone, Debug)]
pub struct Artifact {
    pub repository: &'static str,
    pub tag: &'static str,
    /// Titles with contents; a file without a title has an empty one.
    pub files: Vec<(&'static str, &'static str)>,
}

impl Artifact {
    pub fn publish(&self, storage: &Storage) -> io::Result<String> {
        let blob = |content: &str| {
            let digest = storage.put_blob(content.as_bytes())?;
            storage.link_blob(self.repository, &digest)?;
            Ok::<_, io::Error>(json!({ "digest": digest, "size": content.len() }))
        };
        let mut config = blob("{}")?;
        config["mediaType"] = "application/vnd.oci.empty.v1+json".into();
        let mut layers: Vec<Value> = Vec::new();
        for (title, content) in &self.files {
            let mut layer = blob(content)?;
            layer["mediaType"] = "application/octet-stream".into();
            if !title.is_empty() {
                layer["annotations"] = json!({ "org.opencontainers.image.title": title });
            }
            layers.push(layer);
        }
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.linkspan.test.files", "config": config, "layers": layers,
        });
        storage.put_manifest(self.repository, &[self.tag.to_owned()], manifest.to_string().as_bytes())
    }
}
