//! Disk use of a directory tree that containers are writing to.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::Usage;

/// A container can nest deeper than there are file descriptors; what lies below is not counted.
const MAX_DEPTH: usize = 200;

/// Blocks and inodes below `root`, itself included. Links to one file count once. Names that come and go
/// meanwhile are no error.
pub(crate) fn usage(root: &Path) -> rustix::io::Result<Usage> {
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::openat(CWD, root, open, Mode::empty())?;
    let stat = rustix::fs::fstat(&top)?;
    let mut usage = Usage { bytes: stat.st_blocks.cast_unsigned() * 512, inodes: 1 };
    let mut linked = HashSet::new();
    let mut stack: Vec<(OwnedFd, Dir)> = vec![level(top)?];
    while let Some((dir, entries)) = stack.last_mut() {
        let Some(entry) = entries.next() else {
            stack.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match rustix::fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 && !linked.insert(stat.st_ino) {
            continue;
        }
        usage.bytes += stat.st_blocks.cast_unsigned() * 512;
        usage.inodes += 1;
        if kind == FileType::Directory && stack.len() < MAX_DEPTH {
            let (dir, _) = &stack[stack.len() - 1];
            match rustix::fs::openat(dir, name, open, Mode::empty()) {
                Ok(fd) => stack.push(level(fd)?),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(usage)
}

fn level(fd: OwnedFd) -> rustix::io::Result<(OwnedFd, Dir)> {
    let entries = Dir::read_from(&fd)?;
    Ok((fd, entries))
}
