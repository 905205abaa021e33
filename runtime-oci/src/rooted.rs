//! What somebody else filled, an image's root file system before anything else: paths in it never lead out of it,
//! whatever links it has, and nothing in it is opened before it is known to be a file or a directory. Opening alone is
//! an act: a device node of an image could start a watchdog or rewind a tape, a named pipe would wait for a writer.
//!
//! The image store has a stricter rule of its own for unpacking, where no link is followed at all.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fstat, mkdirat, open, openat2,
};
use rustix::io::Errno;

use crate::error::Error;

/// Each takes microseconds. As many as runc and libpathrs try.
const ATTEMPTS: usize = 128;

/// A directory that is `/` for all paths and links in it.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
}

/// A directory inside the root, held open.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl Root {
    /// # Errors
    /// [`Error::Io`] if there is no directory at `path`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let dir = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(Error::sys(format!("opening root file system {}", path.display())))?;
        Ok(Self { dir, path: path.to_owned() })
    }

    /// The file at `path`, for reading; `None` if there is none, or something that is no regular file.
    ///
    /// # Errors
    /// [`Error::Io`] if it is there and cannot be opened.
    pub fn file(&self, path: &Path) -> Result<Option<File>, Error> {
        let Some(found) = self.find(path)?.filter(|(_, kind)| *kind == FileType::RegularFile) else {
            return Ok(None);
        };
        let file = File::open(magic_link(&found.0)).map_err(self.failed("opening", path))?;
        Ok(Some(file))
    }

    /// What is in the file at `path`; `None` if there is none, or something that is no regular file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::BadSpec`] if it is longer than `most_bytes`.
    pub fn read(&self, path: &Path, most_bytes: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(most_bytes + 1).read_to_end(&mut bytes).map_err(self.failed("reading", path))?;
        if bytes.len() as u64 > most_bytes {
            let field = format!("{} in the root file system", path.display());
            return Err(Error::bad(field, format!("is longer than {most_bytes} bytes")));
        }
        Ok(Some(bytes))
    }

    /// The directory at `path`; `None` if there is none, or something else.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be looked for.
    pub fn dir(&self, path: &Path) -> Result<Option<Dir>, Error> {
        let found = self.find(path)?.filter(|(_, kind)| *kind == FileType::Directory);
        Ok(found.map(|(dir, _)| Dir(dir)))
    }

    /// Where a file or directory inside the root really is. The root must be one whose content nobody can change.
    ///
    /// # Errors
    /// [`Error::BadSpec`] if nothing is there, or what is there is neither file nor directory; [`Error::Io`].
    pub fn resolve(&self, path: &Path) -> Result<PathBuf, Error> {
        let found = match self.find(path)? {
            Some((found, FileType::RegularFile | FileType::Directory)) => found,
            Some(_) => return Err(self.bad(path, "is neither a file nor a directory")),
            None => return Err(self.bad(path, "is not there")),
        };
        std::fs::read_link(magic_link(&found)).map_err(self.failed("looking for", path))
    }

    /// Makes the directory and those above it (mode 0755), of `owner` if there is one. There already, as whatever: Ok.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn make_dir(&self, path: &Path, owner: Option<u32>) -> Result<(), Error> {
        let mut dir = self.dir.try_clone().map_err(self.failed("making directory", path))?;
        let mut walked = PathBuf::new();
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            walked.push(name);
            let failed = |errno: Errno| self.failed("making directory", &walked)(errno.into());
            dir = match self.open_dir(&walked) {
                Ok(next) => next,
                Err(Errno::NOENT) => {
                    match mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
                        // A link that leads nowhere: the runtime says what it thinks of it.
                        Err(Errno::EXIST) => return Ok(()),
                        made => made.map_err(failed)?,
                    }
                    let made = self.open_dir(&walked).map_err(failed)?;
                    if let Some(id) = owner {
                        let own = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
                        chownat(&made, "", own.0, own.1, AtFlags::EMPTY_PATH).map_err(failed)?;
                    }
                    made
                }
                Err(Errno::NOTDIR) => return Ok(()),
                Err(errno) => return Err(failed(errno)),
            };
        }
        Ok(())
    }

    /// A handle that neither reads nor writes, and what it is of; `None` if nothing is there, or links lead round.
    fn find(&self, path: &Path) -> Result<Option<(OwnedFd, FileType)>, Error> {
        let found = match self.open_at(path, OFlags::PATH) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(self.failed("looking for", path)(errno.into())),
        };
        let stat = fstat(&found).map_err(|errno| self.failed("looking at", path)(errno.into()))?;
        Ok(Some((found, FileType::from_raw_mode(stat.st_mode))))
    }

    fn open_dir(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.open_at(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let open = || openat2(&self.dir, path, flags | OFlags::CLOEXEC, Mode::empty(), within);
        // Behind a `..` the kernel wants the whole host to have renamed and mounted nothing meanwhile, or it says EAGAIN.
        (1..ATTEMPTS).map(|_| open()).find(|opened| !matches!(opened, Err(Errno::AGAIN))).unwrap_or_else(open)
    }

    fn bad(&self, path: &Path, reason: &str) -> Error {
        Error::bad(format!("{} in {}", path.display(), self.path.display()), reason)
    }

    fn failed(&self, what: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        Error::io(format!("{what} {} in {}", path.display(), self.path.display()))
    }
}

impl Dir {
    /// A path by which other calls can reach it; good while `self` lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        magic_link(&self.0)
    }
}

/// Opens what the handle is of, and no other.
fn magic_link(handle: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

#[cfg(test)]
mod tests;
