use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::layer::tests::{Tar, descriptor, is_root};
use crate::store::tests::{TestStore, config_json};

use super::idmap::tests::Holder;
use super::*;

/// A mount that goes away with the test, also when it fails.
pub(super) struct Mounted(pub(super) PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = overlay::unmount(&self.0);
    }
}

pub(super) async fn image(store: &TestStore, layers: Vec<Tar>) -> ImageId {
    let tars: Vec<Vec<u8>> = layers.into_iter().map(Tar::end).collect();
    let diff_ids: Vec<Digest> = tars.iter().map(|tar| Digest::of(tar)).collect();
    let mut parent: Option<Digest> = None;
    for (tar, diff_id) in tars.iter().zip(&diff_ids) {
        let chain_id = Digest::chain(parent.as_ref(), diff_id);
        let staged = store.images.layers().unpack(&tar[..], &descriptor(tar), diff_id).unwrap();
        store.images.layers().publish(staged, parent.as_ref(), &chain_id).unwrap();
        parent = Some(chain_id);
    }
    store.add("example.com/rootfs:1", &config_json(&diff_ids, "")).await
}

pub(super) async fn mount(store: &TestStore, id: &ImageId, key: &str) -> Mounted {
    let target = store.dir.path().join(format!("mnt-{key}"));
    fs::create_dir(&target).unwrap();
    store.images.prepare_rootfs(id, key).await.unwrap();
    store.images.mount_rootfs(key, &target, &MountOptions::default()).await.unwrap();
    Mounted(target)
}

#[tokio::test]
async fn layers_merge_and_changes_stay_above() {
    if !is_root() {
        return;
    }
    let store = TestStore::open().await;
    let base = Tar::default().dir("etc").file("etc/a", "1").file("gone", "x").dir("d").file("d/old", "x");
    let top =
        Tar::default().file("etc/a", "2").file(".wh.gone", "").file("d/.wh..wh..opq", "").file("d/new", "y");
    let id = image(&store, vec![base, top]).await;
    let mounted = mount(&store, &id, "c1").await;
    let root = &mounted.0;
    assert_eq!(fs::read_to_string(root.join("etc/a")).unwrap(), "2");
    assert!(!root.join("gone").exists() && !root.join("d/old").exists() && root.join("d/new").exists());
    fs::write(root.join("etc/a"), "3").unwrap();
    store.images.mount_rootfs("c1", root, &MountOptions::default()).await.unwrap();
    let other = mount(&store, &id, "c2").await;
    assert_eq!(fs::read_to_string(other.0.join("etc/a")).unwrap(), "2", "containers do not see each other");
    store.images.unmount_rootfs(root).await.unwrap();
    store.images.unmount_rootfs(root).await.unwrap();
    assert!(!root.join("etc").exists());
    store
        .images
        .mount_rootfs("c1", root, &MountOptions { readonly: true, ..MountOptions::default() })
        .await
        .unwrap();
    assert_eq!(fs::read_to_string(root.join("etc/a")).unwrap(), "3", "after a volatile mount");
    let readonly = fs::write(root.join("x"), "").unwrap_err();
    assert_eq!(readonly.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[tokio::test]
async fn an_image_may_have_no_layer_or_very_many() {
    if !is_root() {
        return;
    }
    let store = TestStore::open().await;
    let none = image(&store, Vec::new()).await;
    let mounted = mount(&store, &none, "none").await;
    assert!(children(&mounted.0).unwrap().is_empty());
    let layers = (0..200).map(|n| Tar::default().file(&format!("f{n}"), "x").file("last", &n.to_string()));
    let many = image(&store, layers.collect()).await;
    let mounted = mount(&store, &many, "many").await;
    assert_eq!(children(&mounted.0).unwrap().len(), 201);
    assert_eq!(fs::read_to_string(mounted.0.join("last")).unwrap(), "199");
}

#[tokio::test]
async fn an_opaque_root_hides_all_layers_below() {
    if !is_root() {
        return;
    }
    let store = TestStore::open().await;
    let layers =
        vec![Tar::default().file("old", "x"), Tar::default().file(".wh..wh..opq", "").file("new", "y")];
    let id = image(&store, layers).await;
    let mounted = mount(&store, &id, "c").await;
    assert!(mounted.0.join("new").exists() && !mounted.0.join("old").exists());
}

#[tokio::test]
async fn the_root_directory_looks_as_in_the_image() {
    if !is_root() {
        return;
    }
    let store = TestStore::open().await;
    let root = Tar::default().add_with(tar::EntryType::Directory, "./", "", b"", |h| {
        h.set_mode(0o1775);
        h.set_gid(12);
    });
    let id = image(&store, vec![root, Tar::default().file("a", "")]).await;
    let mounted = mount(&store, &id, "c").await;
    let seen = fs::metadata(&mounted.0).unwrap();
    assert_eq!((seen.permissions().mode() & 0o7777, seen.gid(), seen.mtime()), (0o1775, 12, 1_000_000));
}

#[tokio::test]
async fn a_root_file_system_keeps_its_image_over_a_restart() {
    if !is_root() {
        return;
    }
    let store = TestStore::open().await;
    let id = image(&store, vec![Tar::default().file("a", "x")]).await;
    store.images.prepare_rootfs(&id, "c").await.unwrap();
    let store = store.reopen().await;
    let refused = store.images.remove(id.as_str(), &|_| false).await;
    assert!(matches!(refused, Err(Error::InUse { .. })));
    assert_eq!(store.images.rootfs_keys().unwrap(), ["c"]);
    let mounted = mount_again(&store).await;
    assert!(mounted.0.join("a").exists());
    store.images.unmount_rootfs(&mounted.0).await.unwrap();
    store.images.remove_rootfs("c").await.unwrap();
    store.images.remove_rootfs("c").await.unwrap();
    assert!(store.images.rootfs_keys().unwrap().is_empty());
    store.images.remove(id.as_str(), &|_| false).await.unwrap();
    assert!(children(&store.dir.path().join("images/layers")).unwrap().is_empty());
}

async fn mount_again(store: &TestStore) -> Mounted {
    let target = store.dir.path().join("mnt");
    fs::create_dir(&target).unwrap();
    store.images.mount_rootfs("c", &target, &MountOptions::default()).await.unwrap();
    Mounted(target)
}

#[tokio::test]
async fn layers_are_seen_with_the_owners_of_a_user_namespace_and_keep_their_own() {
    if !is_root() {
        return;
    }
    let store = TestStore::open().await;
    let owned = |id| {
        move |h: &mut tar::Header| {
            h.set_uid(id);
            h.set_gid(id + 1);
        }
    };
    let root = Tar::default()
        .add_with(tar::EntryType::Directory, "./", "", b"", owned(12))
        .add_with(tar::EntryType::Regular, "a", "", b"x", owned(0))
        .add_with(tar::EntryType::Regular, "b", "", b"x", owned(7))
        .add_with(tar::EntryType::Regular, "beyond", "", b"x", owned(5_000));
    let id = image(&store, vec![root, Tar::default().file("top", "y")]).await;
    let id_map = IdMap { host_id: 400_000, length: 1_000 };
    let holder = Holder::new(id_map);
    let target = store.dir.path().join("mnt");
    fs::create_dir(&target).unwrap();
    let rootfs = store.images.prepare_mapped_rootfs(&id, "c", Some(id_map)).await.unwrap();
    let options = MountOptions { user_namespace: Some(holder.file()), ..MountOptions::default() };
    store.images.mount_rootfs("c", &target, &options).await.unwrap();
    store.images.mount_rootfs("c", &target, &options).await.unwrap();
    store.images.check_mappable(&holder.file()).await.unwrap();
    drop(holder);
    let mounted = Mounted(target);
    let owner = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.uid(), metadata.gid())
    };
    assert_eq!(owner(&mounted.0), (400_012, 400_013));
    assert_eq!(owner(&mounted.0.join("a")), (400_000, 400_001));
    assert_eq!(owner(&mounted.0.join("b")), (400_007, 400_008));
    assert_eq!(owner(&mounted.0.join("beyond")), (65_534, 65_534), "nobody in there is that user");
    fs::write(mounted.0.join("b"), "changed").unwrap();
    assert_eq!(owner(&rootfs.upper.join("b")), (400_007, 400_008), "copied up for the pod's user");
    let layers = store.images.layers();
    let lower = layers.diff_dir(&store.images.find(id.as_str()).unwrap().layers[0]);
    assert_eq!((owner(&lower.join("a")), owner(&lower.join("b"))), ((0, 1), (7, 8)));
    assert_eq!(fs::read_to_string(lower.join("b")).unwrap(), "x");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let below = mounts.lines().filter(|line| line.contains(&*store.dir.path().to_string_lossy())).count();
    assert_eq!(below, 1, "the overlay alone: {mounts}");
}

#[tokio::test]
async fn usage_counts_what_the_container_wrote() {
    if !is_root() {
        return;
    }
    let store = TestStore::open().await;
    let id = image(&store, vec![Tar::default().file("a", "x")]).await;
    let rootfs = store.images.prepare_rootfs(&id, "c").await.unwrap();
    fs::create_dir_all(rootfs.upper.join("d/e")).unwrap();
    fs::write(rootfs.upper.join("d/e/f"), vec![1; 100_000]).unwrap();
    fs::hard_link(rootfs.upper.join("d/e/f"), rootfs.upper.join("g")).unwrap();
    let usage = store.images.rootfs_usage("c").await.unwrap();
    assert_eq!(usage.inodes, 4);
    assert!((100_000..140_000).contains(&usage.bytes), "{usage:?}");
    assert!(matches!(store.images.rootfs_usage("x").await, Err(Error::NoSuchRootfs { .. })));
}

#[tokio::test]
async fn keys_that_are_no_file_names_are_refused() {
    let store = TestStore::open().await;
    let id: ImageId = "a".repeat(64).parse().unwrap();
    for key in ["", "..", "a/b", ".hidden", "a b", &"x".repeat(256)] {
        let refused = store.images.prepare_rootfs(&id, key).await;
        assert!(matches!(refused, Err(Error::BadArgument { .. })), "{key}");
        assert!(matches!(store.images.remove_rootfs(key).await, Err(Error::BadArgument { .. })), "{key}");
    }
    assert!(matches!(store.images.prepare_rootfs(&id, "c").await, Err(Error::NoSuchImage { .. })));
}
