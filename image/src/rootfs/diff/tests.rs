use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::super::tests::{image, mount};
use super::*;
use crate::layer::tests::{Tar, is_root};
use crate::store::tests::TestStore;

#[tokio::test]
async fn what_one_container_changed_can_be_done_to_another() {
    if !is_root() {
        return;
    }
    let store = TestStore::open().await;
    let base = Tar::default()
        .dir("etc")
        .file("etc/kept", "1")
        .file("etc/changed", "1")
        .file("gone", "x")
        .dir("emptied")
        .file("emptied/old", "x")
        .dir("tree")
        .dir("tree/below")
        .file("tree/below/file", "x");
    let id = image(&store, vec![base]).await;
    let first = mount(&store, &id, "first").await;
    let root = &first.0;
    fs::write(root.join("etc/changed"), "2").unwrap();
    fs::remove_file(root.join("gone")).unwrap();
    fs::remove_dir_all(root.join("emptied")).unwrap();
    fs::create_dir(root.join("emptied")).unwrap();
    fs::write(root.join("emptied/new"), "y").unwrap();
    fs::remove_dir_all(root.join("tree")).unwrap();
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/b/tool"), "#!").unwrap();
    std::os::unix::fs::chown(root.join("a/b/tool"), Some(7), Some(8)).unwrap();
    fs::set_permissions(root.join("a/b/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("a/b/tool"), root.join("a/again")).unwrap();
    symlink("/etc/kept", root.join("a/link")).unwrap();
    rustix::fs::lsetxattr(root.join("a/b/tool"), "user.note", b"n", rustix::fs::XattrFlags::empty()).unwrap();

    let archive = store.dir.path().join("diff.tar");
    let deleted = store.images.rootfs_diff("first", &archive).await.unwrap();
    assert_eq!(deleted, ["emptied/old", "gone", "tree"]);

    let second = mount(&store, &id, "second").await;
    let root = &second.0;
    store.images.apply_rootfs_diff(root, &archive, deleted).await.unwrap();
    assert_eq!(fs::read_to_string(root.join("etc/changed")).unwrap(), "2");
    assert_eq!(fs::read_to_string(root.join("etc/kept")).unwrap(), "1");
    assert_eq!(fs::read_to_string(root.join("emptied/new")).unwrap(), "y");
    for gone in ["gone", "emptied/old", "tree", ATTIC] {
        assert!(!root.join(gone).exists(), "{gone}");
    }
    let tool = fs::metadata(root.join("a/b/tool")).unwrap();
    assert_eq!((tool.mode() & 0o7777, tool.uid(), tool.gid(), tool.nlink()), (0o4755, 7, 8, 2));
    assert_eq!(fs::read_link(root.join("a/link")).unwrap(), Path::new("/etc/kept"));
    let mut value = [0; 8];
    let length = rustix::fs::lgetxattr(root.join("a/b/tool"), "user.note", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"n");
}

#[tokio::test]
async fn neither_list_nor_archive_leads_out_of_the_root() {
    if !is_root() {
        return;
    }
    let store = TestStore::open().await;
    let id = image(&store, vec![Tar::default().dir("d")]).await;
    let mounted = mount(&store, &id, "c").await;
    let outside = store.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "kept").unwrap();
    symlink(&outside, mounted.0.join("way")).unwrap();
    let none = store.dir.path().join("none.tar");
    for path in ["way/file", "../outside/file"] {
        // Refused or without effect: either will do.
        let _ = store.images.apply_rootfs_diff(&mounted.0, &none, vec![path.to_owned()]).await;
        assert!(outside.join("file").exists(), "{path}");
    }
    let archive = store.dir.path().join("hostile.tar");
    fs::write(&archive, Tar::default().file("../outside/made", "x").end()).unwrap();
    store.images.apply_rootfs_diff(&mounted.0, &archive, Vec::new()).await.unwrap_err();
    assert!(!outside.join("made").exists());
}
