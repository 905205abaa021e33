//! Paths inside a root file system that never lead out of it, whatever links the image has.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat, open, openat2};
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

/// Makes the directory and those above it (mode 0755), of `owner` if there is one. There already, as whatever: Ok.
pub(super) fn make_dir(root: &Path, path: &Path, owner: Option<u32>) -> Result<(), Error> {
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
                let made = open_dir(&root_dir, &walked).map_err(failed())?;
                if let Some(id) = owner {
                    let own = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
                    chownat(&made, "", own.0, own.1, AtFlags::EMPTY_PATH).map_err(failed())?;
                }
                made
            }
            Err(Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(failed()(errno)),
        };
    }
    Ok(())
}

/// Where a file or directory inside the root really is, links followed within the root. The root must be one whose
/// content nobody can change.
///
/// # Errors
/// [`Error::Store`] if nothing is there, or what is there is neither file nor directory.
pub(super) fn resolve(root: &Path, path: &Path) -> Result<PathBuf, Error> {
    let root_dir = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::sys("opening", root))?;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = openat2(&root_dir, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
        .map_err(Error::sys("looking inside for", path))?;
    let metadata = fs::File::from(found.try_clone().map_err(Error::store("looking at", path))?).metadata();
    let metadata = metadata.map_err(Error::store("looking at", path))?;
    if !metadata.is_dir() && !metadata.is_file() {
        return Err(Error::sys("neither a file nor a directory:", path)(Errno::INVAL));
    }
    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
    fs::read_link(&link).map_err(Error::store("reading link", link))
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::resolve;

    #[test]
    fn links_are_followed_within_the_root_only() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("root");
        fs::create_dir_all(root.join("real/sub")).unwrap();
        fs::write(root.join("real/file"), "").unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        symlink("/real", root.join("absolute")).unwrap();
        symlink("../../../../etc", root.join("upwards")).unwrap();
        symlink("/nowhere", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let check = |path: &str, expected: Option<&str>| {
            let found = resolve(&root, Path::new(path)).ok();
            assert_eq!(found, expected.map(|inside| root.join(inside)), "{path}");
        };
        check("", Some(""));
        check("real/sub", Some("real/sub"));
        check("absolute/sub", Some("real/sub"));
        check("absolute/file", Some("real/file"));
        check("upwards", Some("etc"));
        for path in ["dangling", "loop", "missing", "real/file/below"] {
            check(path, None);
        }
    }
}
