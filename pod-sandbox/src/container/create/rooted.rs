//! Paths inside a root file system that never lead out of it, whatever links the image has.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, open, openat2};
use rustix::io::Errno;

use crate::error::Error;

/// A directory inside the root, held open.
pub(super) struct Rooted(OwnedFd);

impl Rooted {
    /// `None` if there is no directory.
    pub(super) fn find(root: &Path, path: &Path) -> Result<Option<Self>, Error> {
        let root_dir = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(Error::sys("opening", root))?;
        match open_dir(&root_dir, path) {
            Ok(dir) => Ok(Some(Self(dir))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => {
                Err(Error::sys("opening", root.join(path.strip_prefix("/").unwrap_or(path)))(errno))
            }
        }
    }

    /// A path by which other calls can reach it; good while `self` lives.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// Makes the directory and those above it (mode 0755). There already, as whatever: Ok.
pub(super) fn make_dir(root: &Path, path: &Path) -> Result<(), Error> {
    let mut dir = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::sys("opening", root))?;
    let root_dir = dir.try_clone().map_err(Error::store("opening", root))?;
    let mut walked = PathBuf::new();
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        walked.push(name);
        let failed = || Error::sys("making directory", root.join(&walked));
        dir = match open_dir(&root_dir, &walked) {
            Ok(next) => next,
            Err(Errno::NOENT) => {
                match mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
                    // A link that leads nowhere: the runtime says what it thinks of it.
                    Err(Errno::EXIST) => return Ok(()),
                    made => made.map_err(failed())?,
                }
                open_dir(&root_dir, &walked).map_err(failed())?
            }
            Err(Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(failed()(errno)),
        };
    }
    Ok(())
}

fn open_dir(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Whether something is at `path`, links not followed.
pub(super) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
