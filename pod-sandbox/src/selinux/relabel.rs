//! CRI `Mount.selinux_relabel`: gives a volume the label of the container that mounts it.
//!
//! Other containers may write to the volume meanwhile: nothing is reached by a path that they can turn elsewhere.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, Mode, OFlags, XattrFlags, lgetxattr, lsetxattr, openat};
use rustix::io::Errno;

use crate::error::Error;
use crate::host_files::Step;

const LABEL: &str = "security.selinux";

/// As deep as directories are followed; what lies below keeps its label.
const MAX_DEPTH: usize = 200;

/// What the host itself is made of: with a container's label on it, the host would not come up again.
const HOST: [&str; 27] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/selinux",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/tmp",
];

/// # Errors
/// [`Error::BadConfig`] for a directory that the host itself needs; `field` names it.
pub(crate) fn check_path(field: &str, path: &Path) -> Result<(), Error> {
    let below = |top: &str| path.starts_with(top);
    if HOST.iter().any(|host| path == Path::new(host))
        || ["/proc", "/sys", "/dev", "/boot"].into_iter().any(below)
    {
        return Err(Error::bad(field, format!("{} is the host's own and is not relabelled", path.display())));
    }
    Ok(())
}

/// Labels a file, or a directory with all in it; each is a step. A file system without labels stays as it is. What vanishes meanwhile
/// is no error.
///
/// # Errors
/// [`Error::Store`].
pub(crate) fn relabel(path: &Path, label: &str, step: &Step) -> Result<(), Error> {
    const STAGE: &str = "labelling";
    let failed = || Error::sys(STAGE, path);
    step.next(STAGE, path)?;
    match set(path, label) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        result => result.map_err(failed())?,
    }
    let Some(top) = open(CWD, path).map_err(failed())? else { return Ok(()) };
    let mut stack = vec![top];
    while let Some((dir, entries)) = stack.last_mut() {
        let Some(entry) = entries.next() else {
            stack.pop();
            continue;
        };
        let entry = entry.map_err(failed())?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        step.next(STAGE, path)?;
        match set(&beneath(dir, name), label) {
            Err(Errno::NOENT | Errno::OPNOTSUPP) => {}
            result => result.map_err(failed())?,
        }
        let depth = stack.len();
        let (dir, _) = &stack[depth - 1];
        if depth < MAX_DEPTH
            && let Some(below) = open(dir, name).map_err(failed())?
        {
            stack.push(below);
        }
    }
    Ok(())
}

/// A path to an entry of an open directory, which nobody can turn elsewhere.
fn beneath(dir: &OwnedFd, name: &CStr) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let dir = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    dir.join(std::ffi::OsStr::from_bytes(name.to_bytes()))
}

/// `None`: it is no directory, or none any more.
fn open(dir: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Result<Option<(OwnedFd, Dir)>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => {
            let entries = Dir::read_from(&fd)?;
            Ok(Some((fd, entries)))
        }
        Err(Errno::NOTDIR | Errno::NOENT | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Links are labelled themselves. What has the label already is left alone: a change costs more than a look.
fn set(path: &Path, label: &str) -> Result<(), Errno> {
    // The kernel ends labels with a NUL.
    let value = [label.as_bytes(), b"\0"].concat();
    let mut known = [0u8; 512];
    if let Ok(length) = lgetxattr(path, LABEL, &mut known)
        && known[..length] == value[..]
    {
        return Ok(());
    }
    lsetxattr(path, LABEL, &value, XattrFlags::empty())
}
