use std::time::Duration;

use bytes::Bytes;

use super::*;

pub(crate) struct TestStore {
    pub(crate) dir: Arc<tempfile::TempDir>,
    pub(crate) images: Images,
}

pub(crate) fn config(pinned: &[&str]) -> linkspan_config::Image {
    linkspan_config::Image {
        containers_dir: "/nonexistent".into(),
        certs_dirs: Vec::new(),
        auth_file: None,
        mirror_credentials: false,
        max_parallel_layers: 2,
        progress_timeout: Duration::from_secs(10),
        pinned: pinned.iter().map(|&pin| pin.to_owned()).collect(),
        max_layer_bytes: 1 << 30,
        max_layer_entries: 100_000,
    }
}

/// Nothing works in the directory any more when it is removed.
impl Drop for TestStore {
    fn drop(&mut self) {
        let _ = self.images.flush();
    }
}

/// An image configuration; `mark` makes it differ from others.
pub(crate) fn config_json(diff_ids: &[Digest], mark: &str) -> String {
    let rootfs = serde_json::json!({ "type": "layers", "diff_ids": diff_ids });
    serde_json::json!({ "architecture": "amd64", "os": "linux", "author": mark, "rootfs": rootfs,
        "config": { "User": "1002", "Env": ["A=b"] } })
    .to_string()
}

impl TestStore {
    pub(crate) async fn open() -> Self {
        Self::open_in(Arc::new(tempfile::tempdir().unwrap()), &[]).await
    }

    async fn open_in(dir: Arc<tempfile::TempDir>, pinned: &[&str]) -> Self {
        let root = dir.path().join("images");
        let images = Images::open(&config(pinned), &root, dir.path()).await.unwrap();
        Self { dir, images }
    }

    pub(crate) async fn reopen(self) -> Self {
        let dir = self.dir.clone();
        drop(self);
        Self::open_in(dir, &[]).await
    }

    /// Records an image whose layers are there.
    pub(crate) async fn add(&self, name: &str, config: &str) -> ImageId {
        self.add_with(name, config, None).await
    }

    async fn add_with(&self, name: &str, config: &str, index_digest: Option<Digest>) -> ImageId {
        let manifest = format!("manifest of {config}");
        let new = NewImage {
            reference: Some(name.parse().unwrap()),
            manifest_digest: Digest::of(manifest.as_bytes()),
            index_digest,
            manifest: Bytes::from(manifest),
            config: Bytes::copy_from_slice(config.as_bytes()),
            artifact: None,
        };
        self.images.record(new).await.unwrap()
    }

    fn found(&self, name: &str) -> Option<ImageId> {
        self.images.find(name).map(|image| image.id.clone())
    }

    async fn remove(&self, name: &str) {
        self.images.remove(name, &|_| false).await.unwrap();
    }
}

fn manifest_digest(config: &str) -> Digest {
    Digest::of(format!("manifest of {config}").as_bytes())
}

#[tokio::test]
async fn an_image_is_found_by_every_name_it_has() {
    let store = TestStore::open().await;
    let (config, index) = (config_json(&[], "a"), Digest::of(b"index"));
    let id = store.add_with("busybox", &config, Some(index.clone())).await;
    let other = store.add("example.com/other:2", &config_json(&[], "b")).await;
    let manifest = manifest_digest(&config);
    for name in [
        "busybox".to_owned(),
        "busybox:latest".to_owned(),
        "library/busybox".to_owned(),
        "docker.io/library/busybox:latest".to_owned(),
        format!("busybox@{index}"),
        format!("busybox@{manifest}"),
        format!("busybox:1.0@{manifest}"),
        id.to_string(),
        id.hex().to_owned(),
        id.hex()[..8].to_owned(),
        format!("sha256:{}", &id.hex()[..8]),
        id.hex()[..8].to_uppercase(),
    ] {
        assert_eq!(store.found(&name).as_ref(), Some(&id), "{name}");
    }
    for name in [
        "",
        "no:such",
        "ca",
        "cafe",
        "deadbeef",
        "busybox:1",
        "@",
        "sha256:",
        "sha256:zz",
        "BAD//name",
        &"a".repeat(64),
    ] {
        assert_eq!(store.found(name), None, "{name}");
    }
    assert_eq!(store.found(&format!("example.com/other@{manifest}")), None, "digest of another repository");
    let image = store.images.find("busybox").unwrap();
    assert_eq!(image.repo_tags, ["docker.io/library/busybox:latest"]);
    assert_eq!(image.repo_digests[0], format!("docker.io/library/busybox@{index}"));
    assert_eq!((image.config.user.as_str(), image.config.env.len()), ("1002", 1));
    assert_eq!(store.images.list().len(), 2);
    assert_ne!(id, other);
}

#[tokio::test]
async fn a_store_that_was_open_to_others_is_closed() {
    use std::os::unix::fs::PermissionsExt;
    let store = TestStore::open().await;
    let id = store.add("busybox", &config_json(&[], "a")).await;
    let root = store.dir.path().join("images");
    let dirs: Vec<PathBuf> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(dirs.len() >= 6, "{dirs:?}");
    for dir in dirs.iter().chain([&root]) {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let _store = store.reopen().await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for dir in dirs.iter().chain([&root]) {
        // What a container sees of it.
        let expected = if dir.ends_with("empty") { 0o755 } else { 0o700 };
        assert_eq!(mode(dir), expected, "{}", dir.display());
    }
    assert_eq!(mode(&root.join("records").join(format!("{}.json", id.hex()))), 0o600);
}

#[tokio::test]
async fn a_tag_that_moves_leaves_a_digest_behind() {
    let store = TestStore::open().await;
    let (old_config, new_config) = (config_json(&[], "old"), config_json(&[], "new"));
    let old = store.add("app:1", &old_config).await;
    let new = store.add("app:1", &new_config).await;
    let check = |store: &TestStore| {
        assert_eq!(store.found("app:1"), Some(new.clone()));
        let image = store.images.find(old.as_str()).unwrap();
        assert!(image.repo_tags.is_empty());
        assert_eq!(image.repo_digests, [format!("docker.io/library/app@{}", manifest_digest(&old_config))]);
        assert_eq!(store.found(&image.repo_digests[0]), Some(old.clone()));
    };
    check(&store);
    let store = store.reopen().await;
    check(&store);
    assert_eq!(store.add("app:1", &old_config).await, old, "and back");
    assert_eq!(store.found("app:1"), Some(old.clone()));
    assert_eq!(store.images.find(new.as_str()).unwrap().repo_tags.len(), 0);
}

#[tokio::test]
async fn removal_follows_the_name() {
    let store = TestStore::open().await;
    let config = config_json(&[], "a");
    store.add("a:1", &config).await;
    store.add("a:2", &config).await;
    let id = store.add("b:1", &config).await;
    store.remove("unknown:1").await;
    store.remove(&"f".repeat(64)).await;
    store.remove("a:1").await;
    assert_eq!((store.found("a:1"), store.found("a:2")), (None, Some(id.clone())));
    store.remove(&format!("a@{}", manifest_digest(&config))).await;
    assert_eq!((store.found("a:2"), store.found("b:1")), (None, Some(id.clone())));
    store.remove("b:1").await;
    assert!(store.images.list().is_empty());
    store.add("a:1", &config).await;
    store.add("b:1", &config).await;
    store.remove(&id.hex()[..12]).await;
    assert!(store.reopen().await.images.list().is_empty());
}

#[tokio::test]
async fn an_image_in_use_may_lose_names_but_stays() {
    let store = TestStore::open().await;
    let config = config_json(&[], "a");
    let id = store.add("a:1", &config).await;
    store.add("a:2", &config).await;
    let remove = async |name: &str| store.images.remove(name, &|used| *used == id).await;
    assert!(matches!(remove(id.as_str()).await, Err(Error::InUse { .. })));
    remove("a:1").await.unwrap();
    assert!(matches!(remove("a:2").await, Err(Error::InUse { .. })));
    assert_eq!(store.found("a:2"), Some(id.clone()));
}

#[tokio::test]
async fn images_are_pinned_by_name_or_beginning() {
    let store = TestStore::open_in(
        Arc::new(tempfile::tempdir().unwrap()),
        &["registry.k8s.io/pause*", "busybox", "own/*"],
    )
    .await;
    for (number, (name, pinned)) in [
        ("registry.k8s.io/pause:3.10", true),
        ("registry.k8s.io/other:3.10", false),
        ("docker.io/library/busybox:latest", true),
        ("busybox:1", false),
        ("own/thing:1", true),
    ]
    .into_iter()
    .enumerate()
    {
        store.add(name, &config_json(&[], &number.to_string())).await;
        assert_eq!(store.images.find(name).unwrap().pinned, pinned, "{name}");
    }
}

#[tokio::test]
async fn what_is_lost_is_dropped_and_the_rest_stays() {
    let store = TestStore::open().await;
    let torn = store.add("torn:1", &config_json(&[], "torn")).await;
    let good = store.add("good:1", &config_json(&[], "good")).await;
    let records = store.dir.path().join("images/records");
    std::fs::write(records.join(format!("{}.json", torn.hex())), b"{}").unwrap();
    std::fs::write(records.join("leftover.new"), b"x").unwrap();
    let store = store.reopen().await;
    assert_eq!((store.found("torn:1"), store.found("good:1")), (None, Some(good)));
    assert_eq!(std::fs::read_dir(records).unwrap().count(), 1);
}

#[tokio::test]
async fn an_image_without_its_layers_is_not_recorded() {
    let store = TestStore::open().await;
    let new = NewImage {
        reference: None,
        manifest_digest: Digest::of(b"m"),
        index_digest: None,
        manifest: Bytes::new(),
        config: Bytes::from(config_json(&[Digest::of(b"missing")], "")),
        artifact: None,
    };
    assert!(matches!(store.images.record(new).await, Err(Error::NotFound { .. })));
}
