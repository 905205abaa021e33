use super::*;

#[test]
fn a_tree_deeper_than_any_path_is_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let mut at =
        rustix::fs::openat(CWD, dir.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let name = "d".repeat(200);
    for _ in 0..100 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        rustix::fs::symlinkat("/etc", &at, "link").unwrap();
    }
    empty(dir.path()).unwrap();
    assert!(names(dir.path()).unwrap().is_empty());
    assert!(Path::new("/etc/passwd").exists());
}

#[test]
fn taking_what_is_gone_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("trash")).unwrap();
    let trash = Trash::open(dir.path().join("trash")).unwrap();
    trash.take(&dir.path().join("gone")).unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    trash.take(&dir.path().join("file")).unwrap();
    assert!(!dir.path().join("file").exists());
    trash.flush();
    assert!(names(&dir.path().join("trash")).unwrap().is_empty());
}

#[test]
fn what_cannot_be_removed_does_not_keep_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let stuck = dir.path().join("z-stuck");
    fs::create_dir(&stuck).unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    let mount = |flags| rustix::mount::mount("tmpfs", &stuck, "tmpfs", flags, None);
    if mount(rustix::mount::MountFlags::empty()).is_err() {
        eprintln!("SKIP: needs root to mount");
        return;
    }
    let failed = empty(dir.path()).is_err();
    rustix::mount::unmount(&stuck, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(failed && !dir.path().join("a").exists());
    empty(dir.path()).unwrap();
    assert!(names(dir.path()).unwrap().is_empty());
}
