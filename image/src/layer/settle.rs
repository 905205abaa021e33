//! What a layer could not know while it was unpacked beside its siblings, settled when the layers below are
//! there: attributes of directories it did not list, and links to files it did not have.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::attributes;
use super::below::{Below, Found};
use super::extract::{Extracted, LateLink};
use super::fault::{Fault, show};
use super::tree::{Dir, Origin, STAY_WITHIN, Tree, open_below};

/// Settles the layer unpacked at `root`. With nothing below, implied directories belong to root, have mode 0755 and are of 1970.
pub(crate) fn settle(root: OwnedFd, extracted: &mut Extracted, below: &Below) -> Result<(), Fault> {
    let mut tree = Tree::new(root);
    for link in std::mem::take(&mut extracted.late_links) {
        late_link(&mut tree, &link, extracted, below)?;
    }
    let root = tree.root().clone();
    let made = tree.made();
    extracted.size.inodes += made;
    extracted.size.disk_bytes += made * 4096;
    let new = tree
        .into_origins()
        .into_iter()
        .filter(|(name, origin)| *origin == Origin::Implied && !name.is_empty());
    extracted.implied.extend(new.map(|(name, _)| name));
    for name in &extracted.implied {
        let dir = open_below(&root, name)?;
        match below.find(name)? {
            Some(Found { root: lower, kind: FileType::Directory }) => {
                attributes::copy(open_below(lower, name)?, &dir, name)?;
            }
            // What nobody gives is the same wherever the image is unpacked, whatever the umask is.
            _ => {
                let mode = Mode::from_raw_mode(0o755);
                rustix::fs::fchmod(&dir, mode).map_err(Fault::disk("setting the mode of", name))?;
                attributes::Times::default().apply(&dir, name)?;
            }
        }
    }
    Ok(())
}

/// Does what `ln` does on overlayfs: the file is copied up under its own name, then linked.
fn late_link(
    tree: &mut Tree,
    link: &LateLink,
    extracted: &mut Extracted,
    below: &Below,
) -> Result<(), Fault> {
    let missing = || {
        let (name, target) = (show(link.name.as_bytes()), show(link.target.as_bytes()));
        Fault::bad(format!("{name}: hard link to {target}, which no layer has"))
    };
    let (parent, base) = link.name.split().ok_or_else(missing)?;
    let (target_parent, target_base) = link.target.split().ok_or_else(missing)?;
    let to = tree.make(parent)?;
    let from = tree.make(target_parent)?;
    let (to_times, from_times) = (times(&to)?, times(&from)?);
    if !exists(&from, target_base)? {
        let target = from.join(target_base);
        let found = below.find(&target)?.ok_or_else(missing)?;
        copy_up(&found, &target, &from, target_base, extracted)?;
    }
    match rustix::fs::linkat(&from, target_base, &to, base, AtFlags::empty()) {
        // A later member has taken the name.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Fault::disk("linking", link.name.as_bytes())(errno)),
    }
    for (dir, times) in [(&to, to_times), (&from, from_times)] {
        rustix::fs::futimens(dir, &times).map_err(Fault::disk("setting the times of", dir.path()))?;
    }
    Ok(())
}

fn copy_up(
    found: &Found<'_>,
    target: &[u8],
    dir: &Dir,
    base: &[u8],
    extracted: &mut Extracted,
) -> Result<(), Fault> {
    if found.kind != FileType::RegularFile {
        return copy_up_node(found, target, dir, base, extracted);
    }
    let from = open_file(found.root, target, OFlags::RDONLY).map_err(Fault::disk("copying up", target))?;
    let to = open_file(dir.as_fd(), base, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
        .map_err(Fault::disk("copying up", target))?;
    let mut from = std::fs::File::from(from);
    let mut to = std::fs::File::from(to);
    // Uses copy_file_range, which shares the blocks where the file system can.
    let bytes = io::copy(&mut from, &mut to).map_err(|source| Fault::Disk {
        action: "copying up",
        name: target.to_owned(),
        source,
    })?;
    extracted.size.inodes += 1;
    extracted.size.content_bytes += bytes;
    extracted.size.disk_bytes += bytes.next_multiple_of(4096);
    attributes::copy(&from, &to, target)
}

fn open_file(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR | Mode::WUSR } else { Mode::empty() };
    rustix::fs::openat2(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode, STAY_WITHIN)
}

/// A symlink, device or fifo: few of these are ever linked, and none carries attributes worth a walk.
fn copy_up_node(
    found: &Found<'_>,
    target: &[u8],
    dir: &Dir,
    base: &[u8],
    extracted: &mut Extracted,
) -> Result<(), Fault> {
    let failed = |errno| Fault::disk("copying up", target)(errno);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::openat2(found.root, target, flags, Mode::empty(), STAY_WITHIN).map_err(failed)?;
    let stat = rustix::fs::fstat(&node).map_err(failed)?;
    match found.kind {
        FileType::Directory => {
            return Err(Fault::bad(format!("{}: hard link to a directory", show(target))));
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(&node, "", Vec::new()).map_err(failed)?;
            rustix::fs::symlinkat(&link, dir, base).map_err(failed)?;
        }
        kind => {
            let mode = Mode::from_raw_mode(stat.st_mode);
            rustix::fs::mknodat(dir, base, kind, mode, stat.st_rdev).map_err(failed)?;
            rustix::fs::chmodat(dir, base, mode, AtFlags::empty()).map_err(failed)?;
        }
    }
    extracted.size.inodes += 1;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(dir, base, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    rustix::fs::utimensat(dir, base, &times_of(&stat), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
}

fn exists(dir: &Dir, base: &[u8]) -> Result<bool, Fault> {
    match rustix::fs::statat(dir, base, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Fault::disk("examining", &dir.join(base))(errno)),
    }
}

fn times(dir: &Dir) -> Result<Timestamps, Fault> {
    let stat = rustix::fs::fstat(dir).map_err(Fault::disk("examining", dir.path()))?;
    Ok(times_of(&stat))
}

fn times_of(stat: &rustix::fs::Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec.cast_signed() },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.cast_signed() },
    }
}
