use std::fs;
use std::path::PathBuf;

use crate::layer::tests::{Tar, descriptor, is_root};
use crate::rootfs::overlay;
use crate::store::tests::{TestStore, config_json};
use crate::{Digest, Error, ImageId};

/// A mount that goes away with the test, also when it fails.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = overlay::unmount(&self.0);
    }
}

async fn image(store: &TestStore, layers: Vec<Tar>) -> ImageId {
    let tars: Vec<Vec<u8>> = layers.into_iter().map(Tar::end).collect();
    let diff_ids: Vec<Digest> = tars.iter().map(|tar| Digest::of(tar)).collect();
    let mut parent: Option<Digest> = None;
    for (tar, diff_id) in tars.iter().zip(&diff_ids) {
        let chain_id = Digest::chain(parent.as_ref(), diff_id);
        let staged = store.images.layers().unpack(&tar[..], &descriptor(tar), diff_id).unwrap();
        store.images.layers().publish(staged, parent.as_ref(), &chain_id).unwrap();
        parent = Some(chain_id);
    }
    store.add("example.com/volume:1", &config_json(&diff_ids, "")).await
}

async fn mount(store: &TestStore, id: &ImageId) -> Mounted {
    let target = store.dir.path().join("volume");
    fs::create_dir_all(&target).unwrap();
    store.images.mount_volume(id, &target, &crate::MountOptions::default()).await.unwrap();
    store.images.mount_volume(id, &target, &crate::MountOptions::default()).await.expect("mounted already");
    Mounted(target)
}

/// The mount's options, as the kernel tells them.
fn options(mounted: &Mounted) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let target = mounted.0.to_str().unwrap();
    let lines: Vec<&str> = table.lines().filter(|line| line.split(' ').nth(4) == Some(target)).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].split(' ').nth(5).unwrap().split(',').map(str::to_owned).collect()
}

#[tokio::test]
async fn layers_of_any_number_are_merged_for_reading_alone() {
    if !is_root() {
        return;
    }
    let two = vec![
        Tar::default().dir("d").file("d/below", "1").file("gone", "x"),
        Tar::default().file("d/above", "2").file(".wh.gone", ""),
    ];
    let one = vec![Tar::default().file("alone", "1")];
    for (layers, expected) in [(two, &["d/above", "d/below"][..]), (one, &["alone"]), (vec![], &[])] {
        let store = TestStore::open().await;
        let id = image(&store, layers).await;
        let mounted = mount(&store, &id).await;
        for name in expected {
            assert!(mounted.0.join(name).is_file(), "{name}");
        }
        assert!(!mounted.0.join("gone").exists());
        let options = options(&mounted);
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(options.iter().any(|known| known == option), "{option}: {options:?}");
        }
        assert!(fs::write(mounted.0.join("new"), "x").is_err());
    }
}

#[tokio::test]
async fn an_image_that_was_removed_is_not_mounted() {
    let store = TestStore::open().await;
    let id = store.add("example.com/volume:1", &config_json(&[], "")).await;
    store.images.remove(id.as_str(), &|_| false).await.unwrap();
    let error =
        store.images.mount_volume(&id, store.dir.path(), &crate::MountOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchImage { .. }), "{error}");
}
