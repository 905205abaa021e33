//! A file tree as it can be seen, entry by entry, for comparison.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// One entry with all that tells it from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: &'static str,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    /// Digest of a file, target of a link, number of a device.
    pub content: String,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The first of the paths that are the same file, by name.
    pub same_as: Option<PathBuf>,
}

/// Every entry below `root`, by its path there.
pub fn read(root: &Path) -> Result<BTreeMap<PathBuf, Seen>> {
    let mut paths = Vec::new();
    walk(root, &mut paths)?;
    paths.sort();
    let mut inodes: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut tree = BTreeMap::new();
    for path in paths {
        let name = path.strip_prefix(root)?.to_owned();
        let mut seen = see(&path).with_context(|| format!("reading {}", path.display()))?;
        let metadata = path.symlink_metadata()?;
        if !metadata.is_dir() && metadata.nlink() > 1 {
            let first = inodes.entry((metadata.dev(), metadata.ino())).or_insert_with(|| name.clone());
            seen.same_as = Some(first.clone());
        }
        tree.insert(name, seen);
    }
    Ok(tree)
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        paths.push(entry.path());
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), paths)?;
        }
    }
    Ok(())
}

fn see(path: &Path) -> Result<Seen> {
    let metadata = path.symlink_metadata()?;
    let kind = metadata.file_type();
    let number = || format!("{}:{}", rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let (kind, content) = if kind.is_dir() {
        ("folder", String::new())
    } else if kind.is_symlink() {
        ("link", fs::read_link(path)?.display().to_string())
    } else if kind.is_char_device() {
        ("character device", number())
    } else if kind.is_block_device() {
        ("block device", number())
    } else if kind.is_fifo() {
        ("pipe", String::new())
    } else {
        ("file", format!("{} bytes, {}", metadata.len(), digest(path)?))
    };
    Ok(Seen {
        kind,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        content,
        xattrs: xattrs(path)?,
        same_as: None,
    })
}

fn digest(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

/// All but overlayfs's own.
fn xattrs(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names[..])?;
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        if name.contains("overlay.") {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..])?;
        value.truncate(length);
        found.insert(name, value);
    }
    Ok(found)
}

/// What differs, one line each. `loose` paths may differ in their times: no layer says which they are.
pub fn differences(
    expected: &BTreeMap<PathBuf, Seen>,
    found: &BTreeMap<PathBuf, Seen>,
    loose: &[&str],
) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, seen) in expected {
        let name = path.display();
        let Some(other) = found.get(path) else {
            lines.push(format!("{name}: is missing"));
            continue;
        };
        let mut other = other.clone();
        if loose.iter().any(|loose| Path::new(loose) == path) {
            other.mtime = seen.mtime;
        }
        if other != *seen {
            lines.push(format!("{name}:\n    expected {seen:?}\n    found    {other:?}"));
        }
    }
    for path in found.keys().filter(|path| !expected.contains_key(*path)) {
        lines.push(format!("{}: should not be there", path.display()));
    }
    lines
}
