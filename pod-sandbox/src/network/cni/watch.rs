//! Watching the configuration directory, which may not exist yet.

mod sys;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask};
use tokio::io::unix::AsyncFd;

/// Wakes its owner when something may have changed in the directory.
///
/// Directories are watched, never files: a file that is replaced is another file. If the directory
/// is missing, its nearest existing ancestor is watched until the next step of the path is there.
#[derive(Debug)]
pub(crate) struct DirWatch {
    dir: PathBuf,
    inotify: AsyncFd<Inotify>,
    watches: Vec<WatchDescriptor>,
    /// While an ancestor is watched: the only name in it that matters.
    awaited: Option<OsString>,
}

impl DirWatch {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let inotify = sys::register()?;
        let mut watch = Self { dir: dir.to_path_buf(), inotify, watches: Vec::new(), awaited: None };
        watch.rearm(None)?;
        Ok(watch)
    }

    /// Looks again where to watch. Call it before the directory is read, so that nothing is
    /// missed in between. `extra` is one more directory, for the network's own plugins; it is
    /// watched if it exists.
    pub(crate) fn rearm(&mut self, extra: Option<&Path>) -> io::Result<()> {
        // Adding a watch that is there changes nothing, and finds a directory made anew.
        let mut now = vec![self.watch_nearest()?];
        now.extend(extra.and_then(|extra| self.add(extra).ok()));
        for old in std::mem::take(&mut self.watches) {
            if !now.contains(&old) {
                // A watch whose directory is gone went with it.
                let _ = self.inotify.get_ref().watches().remove(old);
            }
        }
        self.watches = now;
        Ok(())
    }

    fn watch_nearest(&mut self) -> io::Result<WatchDescriptor> {
        loop {
            let nearest = nearest(&self.dir);
            let step = self.dir.strip_prefix(nearest).ok().and_then(|rest| rest.components().next());
            let awaited = step.map(|step| step.as_os_str().to_owned());
            let watch = self.add(nearest);
            // It may have gone, or the next step may have come, just before the watch.
            if nearest == self::nearest(&self.dir) {
                self.awaited = awaited;
                return watch;
            }
        }
    }

    fn add(&self, dir: &Path) -> io::Result<WatchDescriptor> {
        let mask = WatchMask::CREATE
            | WatchMask::CLOSE_WRITE
            | WatchMask::DELETE
            | WatchMask::MOVE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        self.inotify.get_ref().watches().add(dir, mask)
    }

    /// Waits for the next change. Cancelling it loses nothing that a look at the directory after
    /// it would not find.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let mut seen = false;
        loop {
            let mut ready = self.inotify.readable_mut().await?;
            let read = ready.try_io(|inotify| {
                let events = inotify.get_mut().read_events(&mut buffer)?;
                // Every event is looked at: `any` would leave some unread.
                Ok(events.filter(|event| matters(event, self.awaited.as_deref())).count() != 0)
            });
            match read {
                // Read all that is there: a burst of events is one change.
                Ok(Ok(any)) => seen |= any,
                Ok(Err(error)) => return Err(error),
                Err(_) if seen => return Ok(()),
                Err(_) => {}
            }
        }
    }
}

fn matters(event: &Event<&OsStr>, awaited: Option<&OsStr>) -> bool {
    // The end of a watch that was removed.
    if event.mask == EventMask::IGNORED {
        return false;
    }
    match (event.name, awaited) {
        (Some(name), Some(awaited)) => name == awaited,
        _ => true,
    }
}

/// The directory itself, or the closest of its ancestors that is a directory.
fn nearest(dir: &Path) -> &Path {
    dir.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"))
}
