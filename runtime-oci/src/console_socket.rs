//! A name for the socket that a runtime sends a terminal to.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use crate::error::Error;

const NAME: &str = "console.sock";

/// A socket's name may have 107 bytes, and a bundle's may be longer. A name relative to the runtime's working directory
/// would do for runc and crun; youki follows it from a directory of its own. This one is short and good from anywhere,
/// for as long as the value lives.
#[derive(Debug)]
pub struct ConsoleSocket(OwnedFd);

impl ConsoleSocket {
    /// One in `dir`, which must exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn in_dir(dir: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let what = format!("opening {}", dir.display());
        Ok(Self(open(dir, flags, Mode::empty()).map_err(Error::sys(what))?))
    }

    /// Absolute.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let own = rustix::process::getpid().as_raw_nonzero();
        PathBuf::from(format!("/proc/{own}/fd/{}/{NAME}", self.0.as_raw_fd()))
    }
}
