use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::Root;

/// `root` inside of a directory that paths must not lead into.
fn root() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("root");
    fs::create_dir_all(root.join("real/sub")).unwrap();
    fs::create_dir(root.join("etc")).unwrap();
    fs::write(root.join("real/file"), "inside").unwrap();
    fs::write(dir.path().join("secret"), "outside").unwrap();
    for (target, link) in [
        ("/real", "absolute"),
        ("../../../../etc", "upwards"),
        ("/nowhere", "dangling"),
        ("loop", "loop"),
        ("/proc/self/root", "magic"),
        ("../secret", "out"),
        ("../../../real/file", "to-file"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    symlink(dir.path().join("secret"), root.join("out-absolute")).unwrap();
    mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    (dir, root)
}

/// openat2(2), EAGAIN: a busy node, or a pod that renames without end, must not keep containers from being made.
#[test]
fn what_others_rename_meanwhile_hides_nothing() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let (dir, root) = root();
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    fs::write(&one, "").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::rename(&one, &other).unwrap();
                fs::rename(&other, &one).unwrap();
            }
        });
        let rooted = Root::open(&root).unwrap();
        let missed = (0..20_000).filter(|_| rooted.resolve(Path::new("to-file")).is_err()).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(missed, 0);
    });
}

#[test]
fn links_are_followed_within_the_root_only() {
    let (_dir, root) = root();
    let check = |path: &str, expected: Option<&str>| {
        let found = Root::open(&root).unwrap().resolve(Path::new(path)).ok();
        assert_eq!(found, expected.map(|inside| root.join(inside)), "{path}");
    };
    check("", Some(""));
    check("real/sub", Some("real/sub"));
    check("absolute/sub", Some("real/sub"));
    check("absolute/file", Some("real/file"));
    check("upwards", Some("etc"));
    check("../../..", Some(""));
    for path in [
        "dangling",
        "loop",
        "missing",
        "real/file/below",
        "magic",
        "magic/etc",
        "out",
        "out-absolute",
        "pipe",
    ] {
        check(path, None);
    }
}

#[test]
fn files_are_read_up_to_a_length_and_nothing_else_is_opened() {
    let (_dir, root) = root();
    let root = Root::open(&root).unwrap();
    let read = |path: &str, most| root.read(Path::new(path), most).map(|bytes| bytes.map(String::from_utf8));
    for path in ["real/file", "/real/file", "absolute/file", "to-file", "../real/file"] {
        assert_eq!(read(path, 6).unwrap(), Some(Ok("inside".to_owned())), "{path}");
    }
    for path in
        ["real", "pipe", "dangling", "loop", "missing", "real/file/below", "magic", "out", "out-absolute"]
    {
        assert_eq!(read(path, 100).unwrap(), None, "{path}");
    }
    let too_long = read("real/file", 5).unwrap_err().to_string();
    assert!(too_long.contains("longer than 5 bytes"), "{too_long}");
}

#[test]
fn directories_are_made_within_the_root_only() {
    let (dir, root) = root();
    let make = |path: &str| Root::open(&root).unwrap().make_dir(Path::new(path), None).unwrap();
    for (path, made) in [
        ("/new/deep", "new/deep"),
        ("/absolute/new", "real/new"),
        ("/upwards/new", "etc/new"),
        ("../../up", "up"),
    ] {
        make(path);
        assert!(root.join(made).is_dir(), "{path}");
    }
    for path in ["/dangling/new", "/real/file/new", "/pipe"] {
        make(path);
    }
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["root", "secret"]);
    assert!(!root.join("nowhere").exists());
}
