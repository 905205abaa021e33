//! A container's log file. Its calls wait for the disk that it is on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use crate::note::note;

pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// It was not there before: a create that fails removes it.
    made: bool,
    /// A write ended in the middle of a line: the next one starts on a new line.
    torn: bool,
    has_dropped: bool,
}

impl LogFile {
    /// Opens the file, with its directory (mode 0700) if missing. A symbolic link in its place is removed, wherever it
    /// leads (kubernetes/kubernetes #44043 is about dangling ones).
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let (file, made) = open_file(&path)?;
        Ok(Self { path, file, made, torn: false, has_dropped: false })
    }

    /// After a rotation: the new file first, then the old one is closed. A line begun before goes to the new one.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        (self.file, _) = open_file(&self.path)?;
        self.torn = false;
        Ok(())
    }

    /// The container was never made: a file that only we know of goes again.
    pub(super) fn discard(self) {
        if self.made {
            let _ = fs::remove_file(self.path);
        }
    }

    /// Never fails: what cannot be written is dropped. Returns how many bytes that were.
    pub(super) fn append(&mut self, batch: &[u8]) -> usize {
        if self.torn && self.file.write_all(b"\n").is_ok() {
            self.torn = false;
        }
        let mut rest = batch;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(length) if length > 0 => rest = &rest[length..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    let written = &batch[..batch.len() - rest.len()];
                    self.torn |= written.last().is_some_and(|byte| *byte != b'\n');
                    if !self.has_dropped {
                        note(&format!("writing {:?}: {result:?}: output is dropped", self.path));
                    }
                    self.has_dropped = true;
                    return rest.len();
                }
            }
        }
        0
    }
}

/// Returns whether the file is new. Who can write to the directory of logs must not choose what root writes to: a link is
/// not followed, and what is no file is not even opened, since that alone could do something (a device) or wait (a pipe).
fn open_file(path: &Path) -> io::Result<(File, bool)> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("opening log file {}: {e}", path.display()));
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(named)?;
    }
    let bad = |reason: &str| named(io::Error::new(io::ErrorKind::InvalidInput, reason));
    // The second time after a link was removed.
    for _ in 0..2 {
        match OpenOptions::new().append(true).create_new(true).mode(0o640).open(path) {
            Ok(file) => return Ok((file, true)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(named(e)),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| named(e.into()))?;
        let stat = rustix::fs::fstat(&found).map_err(|e| named(e.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let same = format!("/proc/self/fd/{}", found.as_raw_fd());
                return Ok((OpenOptions::new().append(true).open(same).map_err(named)?, false));
            }
            FileType::Symlink => fs::remove_file(path).map_err(named)?,
            _ => return Err(bad("not a regular file")),
        }
    }
    Err(bad("something else is put there again and again"))
}

#[cfg(test)]
mod tests;
