//! A mounted image is what `umoci unpack` makes of it, file by file.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use linkspan_image::{Digest, Images, MountOptions};

/// What can be said of a file without its place in the file system.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    device: u64,
    /// Of a file its length and digest, of a symlink its target.
    content: String,
    xattrs: BTreeMap<String, Vec<u8>>,
    /// The first name of the same file.
    first_link: PathBuf,
}

fn tree(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut entries = BTreeMap::new();
    let mut first_links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut todo = vec![root.to_owned()];
    let mut all = Vec::new();
    while let Some(path) = todo.pop() {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.push(path);
    }
    all.sort();
    for path in all {
        let name = path.strip_prefix(root).unwrap().to_owned();
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let content = if kind.is_file() {
            let content = fs::read(&path).unwrap();
            format!("{} {}", content.len(), Digest::of(&content))
        } else if kind.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else {
            String::new()
        };
        let same = (meta.dev(), meta.ino());
        let first_link = first_links.entry(same).or_insert_with(|| name.clone()).clone();
        // umoci leaves the root of an image that does not list it at the time of the unpacking.
        let modified = if name == Path::new("") { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
        let entry = Entry {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            modified,
            device: meta.rdev(),
            content,
            xattrs: xattrs(&path),
            first_link,
        };
        entries.insert(name, entry);
    }
    entries
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    let names = list[..length].split(|&b| b == 0).filter(|name| !name.is_empty());
    let mut found = BTreeMap::new();
    for name in names {
        let name = String::from_utf8(name.to_vec()).unwrap();
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..]).unwrap();
        value.truncate(length);
        found.insert(name, value);
    }
    found
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
}

fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    let umoci = Command::new("umoci").arg("--version").output().is_ok();
    if !root || !umoci {
        eprintln!("SKIP: needs root and umoci (apt-get install umoci)");
    }
    root && umoci
}

/// Three layers with everything that a layer can say.
fn make_layout(layout: &Path, scratch: &Path) {
    let image = format!("{}:latest", layout.display());
    run("umoci", &["init", "--layout", layout.to_str().unwrap()]);
    run("umoci", &["new", "--image", &image]);
    for (number, change) in [first_layer, second_layer, third_layer].into_iter().enumerate() {
        let bundle = scratch.join(format!("bundle{number}"));
        run("umoci", &["unpack", "--image", &image, bundle.to_str().unwrap()]);
        change(&bundle.join("rootfs"));
        run("umoci", &["repack", "--image", &image, bundle.to_str().unwrap()]);
    }
}

fn first_layer(root: &Path) {
    for dir in ["usr/lib/a", "etc/deep/er", "var/gone", "var/opaque", "tmp", "home/u"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    fs::write(root.join("usr/lib/a/tool"), "elf".repeat(1000)).unwrap();
    fs::set_permissions(root.join("usr/lib/a/tool"), PermissionsExt::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("usr/lib/a/tool"), root.join("usr/lib/a/tool2")).unwrap();
    symlink("usr/lib", root.join("lib")).unwrap();
    symlink("/nowhere", root.join("etc/dangling")).unwrap();
    fs::write(root.join(format!("etc/{}", "n".repeat(200))), "long name").unwrap();
    fs::write(root.join("etc/ünï"), "not ascii").unwrap();
    fs::write(root.join("var/gone/f"), "x").unwrap();
    fs::write(root.join("var/opaque/f"), "x").unwrap();
    fs::write(root.join("home/u/owned"), "x").unwrap();
    std::os::unix::fs::chown(root.join("home/u/owned"), Some(70_000), Some(3_000_000)).unwrap();
    run("mknod", &[root.join("etc/null").to_str().unwrap(), "c", "1", "3"]);
    run("mkfifo", &[root.join("etc/fifo").to_str().unwrap()]);
    let flags = rustix::fs::XattrFlags::empty();
    let capability = b"\x01\0\0\x02\x0a\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    rustix::fs::setxattr(root.join("etc/ünï"), "security.capability", capability, flags).unwrap();
    rustix::fs::setxattr(root.join("etc/ünï"), "user.note", b"a\nb", flags).unwrap();
    let sparse = fs::File::create(root.join("var/sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
}

fn second_layer(root: &Path) {
    fs::remove_dir_all(root.join("var/gone")).unwrap();
    fs::remove_dir_all(root.join("var/opaque")).unwrap();
    fs::create_dir(root.join("var/opaque")).unwrap();
    fs::write(root.join("var/opaque/new"), "y").unwrap();
    fs::write(root.join("etc/deep/er/added"), "z").unwrap();
    fs::remove_file(root.join("usr/lib/a/tool2")).unwrap();
    fs::set_permissions(root.join("home/u"), PermissionsExt::from_mode(0o2700)).unwrap();
}

fn third_layer(root: &Path) {
    fs::remove_file(root.join("lib")).unwrap();
    fs::create_dir(root.join("lib")).unwrap();
    fs::write(root.join("lib/now-a-directory"), "x").unwrap();
    fs::remove_dir_all(root.join("etc/deep")).unwrap();
    fs::write(root.join("etc/deep"), "now a file").unwrap();
    fs::write(root.join("var/gone"), "back as a file").unwrap();
}

/// Takes the layout in, mounts it, and compares.
async fn check(layout: &Path, scratch: &Path) {
    let config = linkspan_config::Image {
        containers_dir: scratch.to_owned(),
        certs_dirs: Vec::new(),
        auth_file: None,
        mirror_credentials: false,
        max_parallel_layers: 2,
        progress_timeout: Duration::from_secs(10),
        pinned: Vec::new(),
        max_layer_bytes: 1 << 34,
        max_layer_entries: 1 << 20,
    };
    let images = Images::open(&config, &scratch.join("images"), scratch).await.unwrap();
    let ids = images.load(layout, None).await.unwrap();
    let mounted = scratch.join("mounted");
    fs::create_dir(&mounted).unwrap();
    images.prepare_rootfs(&ids[0], "c").await.unwrap();
    images.mount_rootfs("c", &mounted, &MountOptions::default()).await.unwrap();
    let ours = tree(&mounted);
    images.unmount_rootfs(&mounted).await.unwrap();
    images.flush().unwrap();

    let bundle = scratch.join("expected");
    run("umoci", &["unpack", "--image", &format!("{}:latest", layout.display()), bundle.to_str().unwrap()]);
    let theirs = tree(&bundle.join("rootfs"));
    for (name, expected) in &theirs {
        let seen = ours.get(name);
        assert!(seen.is_some(), "{} is missing", name.display());
        assert_eq!(seen, Some(expected), "{}", name.display());
    }
    let more: Vec<_> = ours.keys().filter(|name| !theirs.contains_key(*name)).collect();
    assert!(more.is_empty(), "too much: {more:?}");
}

#[tokio::test]
async fn a_mounted_image_is_what_umoci_unpacks() {
    if !can_run() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let layout = scratch.path().join("layout");
    make_layout(&layout, scratch.path());
    check(&layout, scratch.path()).await;
}

/// `LINKSPAN_TEST_LAYOUTS`: OCI layout directories with a tag `latest`, separated by colons.
#[tokio::test]
async fn so_are_the_layouts_of_the_environment() {
    let Ok(layouts) = std::env::var("LINKSPAN_TEST_LAYOUTS") else {
        eprintln!("SKIP: LINKSPAN_TEST_LAYOUTS names no OCI layouts");
        return;
    };
    if !can_run() {
        return;
    }
    for layout in layouts.split(':') {
        let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
        check(Path::new(layout), scratch.path()).await;
    }
}
