//! Removal that takes one rename; the disk is freed by a thread of its own.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::Error;

/// A directory whose content is on its way out.
#[derive(Clone)]
pub(crate) struct Trash {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    next: AtomicU64,
    wake: Sender<Option<Done>>,
}

/// Told once all that was there is gone.
type Done = Sender<()>;

impl Trash {
    /// Empties `dir`, which is there, of what an earlier life left, in the background.
    pub(crate) fn open(dir: PathBuf) -> Result<Self, Error> {
        let (wake, woken) = channel();
        // Names go on where an earlier life stopped.
        let numbers = names(&dir).map_err(Error::io("listing", &dir))?;
        let used = numbers.iter().filter_map(|name| name.to_str().ok()?.parse::<u64>().ok()).max();
        let shared = Shared { dir: dir.clone(), next: AtomicU64::new(used.map_or(0, |last| last + 1)), wake };
        let trash = Self { shared: Arc::new(shared) };
        // Dropping the last `Trash` ends the thread; so does the end of the process, at any moment.
        thread::Builder::new()
            .name("trash".to_owned())
            .spawn({
                let dir = dir.clone();
                move || empty_when_woken(&dir, &woken)
            })
            .map_err(Error::io("starting a thread for", &dir))?;
        trash.wake();
        Ok(trash)
    }

    /// Takes a file or directory away. Gone already: Ok.
    pub(crate) fn take(&self, path: &Path) -> Result<(), Error> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        match fs::rename(path, self.shared.dir.join(number.to_string())) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("removing", path)(error)),
            Ok(()) => {
                self.wake();
                Ok(())
            }
        }
    }

    /// Waits until all that was taken so far is gone, or could not be removed.
    pub(crate) fn flush(&self) {
        let (done, all_done) = channel();
        let _ = self.shared.wake.send(Some(done));
        let _ = all_done.recv();
    }

    fn wake(&self) {
        // The thread ends only after the sender does.
        let _ = self.shared.wake.send(None);
    }
}

fn empty_when_woken(dir: &Path, woken: &Receiver<Option<Done>>) {
    while let Ok(first) = woken.recv() {
        let waiting: Vec<Done> = std::iter::once(first).chain(woken.try_iter()).flatten().collect();
        if let Err(error) = empty(dir) {
            tracing::warn!(path = %dir.display(), %error, "trash could not be emptied; tried again at the next removal");
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}

/// Empties a directory of any depth with two file descriptors: directories found inside are moved up to the
/// top first, so that no path ever gets long. Containers can nest deeper than any path may be. What cannot be
/// removed does not keep the rest: the first reason is told at the end.
fn empty(dir: &Path) -> Result<(), std::io::Error> {
    let top = open(CWD, dir)?;
    let mut moved = 0;
    let mut queue = entries(&top)?;
    let mut failure = None;
    while let Some(name) = queue.pop() {
        if let Err(error) = remove(&top, &name, &mut moved, &mut queue) {
            failure.get_or_insert(error);
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Removes one entry; the directories it has are queued.
fn remove(
    top: &OwnedFd,
    name: &CString,
    moved: &mut u64,
    queue: &mut Vec<CString>,
) -> Result<(), std::io::Error> {
    if unlink(top, name)? {
        return Ok(());
    }
    let inner = open(top, name)?;
    for entry in entries(&inner)? {
        if unlink(&inner, &entry)? || rustix::fs::unlinkat(&inner, &entry, AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        let up = loop {
            *moved += 1;
            let up = CString::new(format!("deep-{moved}"))?;
            match rustix::fs::renameat_with(&inner, &entry, top, &up, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => break other.map(|()| up)?,
            }
        };
        queue.push(up);
    }
    Ok(rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)?)
}

fn open(parent: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// `false` if it is a directory.
fn unlink(dir: &OwnedFd, name: &CString) -> rustix::io::Result<bool> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn names(dir: &Path) -> rustix::io::Result<Vec<CString>> {
    entries(&open(CWD, dir)?)
}

fn entries(dir: impl AsFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
