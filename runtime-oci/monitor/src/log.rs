//! A container's log file, in CRI's format.

mod format;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

pub(crate) use format::{Formatter, Stream};

use crate::note::note;

/// Formatted output is written when it is longer than this, so that a read full of newlines costs no megabytes.
const BATCH_BYTES: usize = 64 * 1024;

/// Where a container's output goes. Without a path it is dropped.
pub(crate) struct Log {
    path: Option<PathBuf>,
    file: Option<File>,
    /// The file was not there before: a create that fails removes it.
    made: bool,
    formatter: Formatter,
    /// A write ended in the middle of a line: the next one starts on a new line.
    torn: bool,
    dropped_bytes: u64,
}

impl Log {
    /// Opens the file, with its directory (mode 0700) if missing. A symbolic link in its place is removed, wherever it
    /// leads (kubernetes/kubernetes #44043 is about dangling ones).
    pub(crate) fn open(path: Option<&Path>, max_line_bytes: usize) -> io::Result<Self> {
        let mut log = Self {
            path: path.map(Path::to_path_buf),
            file: None,
            made: false,
            formatter: Formatter::new(max_line_bytes),
            torn: false,
            dropped_bytes: 0,
        };
        if let Some(path) = path {
            let (file, made) = open_file(path)?;
            log.file = Some(file);
            log.made = made;
        }
        Ok(log)
    }

    /// After a rotation: the new file first, then the old one is closed. A line begun before goes to the new one.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let (file, _) = open_file(path)?;
            self.file = Some(file);
            self.torn = false;
        }
        Ok(())
    }

    /// Formats what was read from a stream, and writes it.
    pub(crate) fn write(&mut self, stream: Stream, now_ns: i64, data: &[u8]) {
        if self.file.is_none() {
            return;
        }
        let mut batch = Vec::new();
        // A chunk may be all newlines: each gets a prefix many times its own length.
        for chunk in data.chunks(BATCH_BYTES / 16) {
            self.formatter.feed(stream, now_ns, chunk, &mut batch);
            if batch.len() >= BATCH_BYTES {
                self.append(&batch);
                batch.clear();
            }
        }
        self.append(&batch);
    }

    /// The streams have ended: what had no newline is written as a partial line.
    pub(crate) fn finish(&mut self, now_ns: i64) {
        let mut batch = Vec::new();
        self.formatter.finish(now_ns, &mut batch);
        self.append(&batch);
        self.file = None;
    }

    /// The container was never made: a file that only we know of goes again.
    pub(crate) fn discard(self) {
        if let (true, Some(path)) = (self.made, &self.path) {
            let _ = fs::remove_file(path);
        }
    }

    /// Output lost because the disk was full.
    pub(crate) fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// Never fails and never blocks the container: what cannot be written is dropped and counted.
    fn append(&mut self, batch: &[u8]) {
        let Some(file) = &mut self.file else { return };
        if batch.is_empty() {
            return;
        }
        if self.torn && file.write_all(b"\n").is_ok() {
            self.torn = false;
        }
        let mut rest = batch;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(length) if length > 0 => rest = &rest[length..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    let written = &batch[..batch.len() - rest.len()];
                    self.torn |= written.last().is_some_and(|byte| *byte != b'\n');
                    if self.dropped_bytes == 0 {
                        note(&format!("writing {:?}: {result:?}: output is dropped", self.path));
                    }
                    self.dropped_bytes += rest.len() as u64;
                    return;
                }
            }
        }
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
