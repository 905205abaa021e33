use std::fs;
use std::io::Write;

use tar::EntryType;

use super::*;
use crate::layer::tests::{Tar, is_root};
use crate::store::tests::{TestStore, config_json};

/// An image as files of an archive: names and contents.
struct Fixture {
    layer: Vec<u8>,
    config: String,
    files: Vec<(String, Vec<u8>)>,
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn platform(architecture: &str) -> serde_json::Value {
    serde_json::json!({ "architecture": architecture, "os": "linux" })
}

fn blob(files: &mut Vec<(String, Vec<u8>)>, content: &[u8]) -> serde_json::Value {
    let digest = Digest::of(content);
    files.push((format!("blobs/sha256/{}", digest.hex()), content.to_vec()));
    serde_json::json!({ "mediaType": "", "digest": digest, "size": content.len() })
}

impl Fixture {
    /// A layout whose index names a nested index, which has this machine's manifest and another's.
    fn oci(annotations: serde_json::Value) -> Self {
        let layer = Tar::default().file("etc/a", "x").end();
        let config = config_json(&[Digest::of(&layer)], "oci");
        let mut files = Vec::new();
        let mut manifest = serde_json::json!({ "schemaVersion": 2, "layers": [] });
        manifest["config"] = blob(&mut files, config.as_bytes());
        manifest["layers"] = serde_json::json!([blob(&mut files, &gzip(&layer))]);
        let mut ours = blob(&mut files, manifest.to_string().as_bytes());
        ours["platform"] = serde_json::to_value(crate::manifest::Platform::host()).unwrap();
        ours["mediaType"] = crate::manifest::OCI_MANIFEST.into();
        let mut theirs = blob(&mut Vec::new(), b"elsewhere");
        theirs["platform"] = platform("s390x-none");
        let inner = serde_json::json!({ "schemaVersion": 2, "manifests": [theirs, ours] });
        let mut top = blob(&mut files, inner.to_string().as_bytes());
        top["mediaType"] = crate::manifest::OCI_INDEX.into();
        top["annotations"] = annotations;
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": [top] });
        files.push(("index.json".to_owned(), index.to_string().into_bytes()));
        files.push(("oci-layout".to_owned(), b"{}".to_vec()));
        Self { layer, config, files }
    }

    fn docker(tags: &[&str]) -> Self {
        let layer = Tar::default().file("etc/a", "y").end();
        let config = config_json(&[Digest::of(&layer), Digest::of(&layer)], "docker");
        let entry = serde_json::json!([{ "Config": "c.json", "RepoTags": tags, "Layers": ["l/layer.tar", "m/layer.tar"] }]);
        let files = vec![
            ("l/layer.tar".to_owned(), gzip(&layer)),
            ("c.json".to_owned(), config.clone().into_bytes()),
            ("manifest.json".to_owned(), entry.to_string().into_bytes()),
        ];
        Self { layer, config, files }
    }

    fn write_dir(&self, dir: &Path) {
        for (name, content) in &self.files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    fn tar(&self) -> Tar {
        let add = |tar: Tar, (name, content): &(String, Vec<u8>)| {
            tar.add(EntryType::Regular, &format!("./{name}"), "", content)
        };
        self.files.iter().fold(Tar::default(), add)
    }
}

async fn check(store: &TestStore, path: &Path, name: &str, fixture: &Fixture) {
    let (sender, progress) = tokio::sync::watch::channel(PullProgress::default());
    let ids = store.images.load(path, Some(sender)).await.unwrap();
    let image = store.images.find(name).unwrap_or_else(|| panic!("{name} not found"));
    assert_eq!(ids, std::slice::from_ref(&image.id));
    assert_eq!(image.config_json, fixture.config.as_bytes());
    assert!(!image.repo_digests.is_empty());
    let top = store.images.layers().diff_dir(image.layers.last().unwrap());
    assert!(top.join("etc/a").exists());
    assert!(image.size_bytes > 0 && fixture.layer.len() > 512);
    let last = *progress.borrow();
    assert_eq!(
        (last.stage, last.layers_done, last.bytes_done),
        (PullStage::Done, last.layers_total, last.bytes_total)
    );
}

#[tokio::test]
async fn oci_layouts_come_as_directory_archive_or_gzip() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::oci(serde_json::json!({ "io.containerd.image.name": "docker.io/library/app:1" }));
    let dir = tempfile::tempdir().unwrap();
    fixture.write_dir(dir.path());
    check(&TestStore::open().await, dir.path(), "app:1", &fixture).await;
    for content in [
        fixture.tar().end(),
        gzip(&fixture.tar().end()),
        zstd::encode_all(&fixture.tar().end()[..], 1).unwrap(),
    ] {
        let file = dir.path().join("Some.tar");
        fs::write(&file, content).unwrap();
        let store = TestStore::open().await;
        check(&store, &file, "app:1", &fixture).await;
        check(&store, &file, "app:1", &fixture).await;
        assert_eq!(store.images.find("app:1").unwrap().repo_digests.len(), 2, "index and manifest");
    }
}

#[tokio::test]
async fn a_layout_may_give_a_tag_or_no_name() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("Some.tar");
    for (annotations, name) in [
        (serde_json::json!({ "org.opencontainers.image.ref.name": "v1" }), "localhost/some:v1"),
        (serde_json::json!({ "org.opencontainers.image.ref.name": "busybox:v1" }), "busybox:v1"),
        (serde_json::json!({}), ""),
    ] {
        let fixture = Fixture::oci(annotations);
        fs::write(&file, fixture.tar().end()).unwrap();
        let id = ImageId::of(fixture.config.as_bytes());
        let name = if name.is_empty() { id.as_str() } else { name };
        check(&TestStore::open().await, &file, name, &fixture).await;
    }
}

#[tokio::test]
async fn docker_archives_are_read_with_their_links() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("saved.tar");
    let fixture = Fixture::docker(&["app:1", "other/app:2"]);
    fs::write(&file, fixture.tar().link("m/layer.tar", "../l/layer.tar").end()).unwrap();
    let store = TestStore::open().await;
    check(&store, &file, "app:1", &fixture).await;
    assert!(store.images.find("other/app:2").is_some());
    let unnamed = Fixture::docker(&[]);
    fs::write(&file, unnamed.tar().hard("m/layer.tar", "l/layer.tar").end()).unwrap();
    let id = ImageId::of(unnamed.config.as_bytes());
    check(&TestStore::open().await, &file, id.as_str(), &unnamed).await;
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    if !is_root() {
        return;
    }
    let store = TestStore::open().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.tar");
    let mut damaged = Fixture::oci(serde_json::json!({}));
    damaged.files[0].1.push(b' ');
    let cut = Fixture::docker(&["app:1"]).tar().end();
    for content in [
        Vec::new(),
        b"not a tar".to_vec(),
        gzip(b"not a tar"),
        Tar::default().file("a", "x").end(),
        Tar::default().file("manifest.json", "[]").end(),
        Tar::default().file("manifest.json", r#"[{"Config":"../../x"}]"#).end(),
        Tar::default().link("manifest.json", "manifest.json").end(),
        damaged.tar().end(),
        cut,
    ] {
        fs::write(&file, content).unwrap();
        let error = store.images.load(&file, None).await.unwrap_err();
        assert!(matches!(error, Error::BadArchive { .. } | Error::DigestMismatch { .. }), "{error}");
    }
    assert!(matches!(store.images.load(&dir.path().join("no"), None).await, Err(Error::Io { .. })));
    assert!(store.images.list().is_empty());
}
