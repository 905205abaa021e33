use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::{Access, close, create, make_dir, write};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn what_was_there_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (sub, file) = (dir.path().join("sub"), dir.path().join("file"));
    fs::create_dir(&sub).unwrap();
    fs::write(&file, "old and longer").unwrap();
    for path in [&sub, &file] {
        fs::set_permissions(path, Permissions::from_mode(0o2777)).unwrap();
    }
    make_dir(&sub, Access::Private).unwrap();
    write(&file, "new", Access::Private).unwrap();
    assert_eq!((mode(&sub), mode(&file)), (0o700, 0o600));
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    close(&sub, Access::Passable).unwrap();
    assert_eq!(mode(&sub), 0o711);
}

#[test]
fn a_link_to_a_directory_elsewhere_is_as_good_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    make_dir(&link.join("a/b"), Access::Private).unwrap();
    make_dir(&link, Access::Private).unwrap();
    assert_eq!([mode(&real), mode(&real.join("a")), mode(&real.join("a/b"))], [0o700; 3]);
}

#[test]
fn a_file_in_a_directorys_place_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    drop(create(&file, Access::Private).unwrap());
    let error = make_dir(&file, Access::Private).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotADirectory);
}

#[test]
fn a_group_passes_and_reads() {
    let dir = tempfile::tempdir().unwrap();
    let own = rustix::process::getegid().as_raw();
    // Only root gives away.
    let group = if rustix::process::geteuid().is_root() { 4711 } else { own };
    let sub = dir.path().join("sub");
    make_dir(&sub, Access::Group(group)).unwrap();
    write(&sub.join("file"), "x", Access::Group(group)).unwrap();
    for (path, expected) in [(sub.clone(), 0o710), (sub.join("file"), 0o640)] {
        assert_eq!((mode(&path), fs::metadata(&path).unwrap().gid()), (expected, group));
    }
}
