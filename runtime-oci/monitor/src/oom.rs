//! Counts of the kernel's OOM kills in a container's groups.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::event::epoll::EventFlags;

use crate::poll::{Key, Kind, Poll, Source, Watch};

/// The counters of one container. They are open from before it starts: a file that is open still reads (or has told
/// of its last change) when its group is being removed.
#[derive(Default)]
pub(crate) struct OomKills {
    counters: Vec<Counter>,
}

struct Counter {
    file: File,
    baseline: u64,
    last: u64,
    /// cgroup v2 tells of changes (v1 does not).
    changes: Option<Watch>,
}

impl OomKills {
    /// Opens those of `files` that exist and remembers their counts; a group may have a past.
    pub(crate) fn open<'a>(files: impl Iterator<Item = &'a Path>, poll: &Poll, key: Key) -> Self {
        let counters = files.filter_map(|path| Counter::open(path, poll, key)).collect();
        Self { counters }
    }

    /// Kills since the start, as far as anybody can still know.
    pub(crate) fn count(&mut self) -> u64 {
        self.counters.iter_mut().map(Counter::refresh).sum()
    }
}

impl Counter {
    fn open(path: &Path, poll: &Poll, key: Key) -> Option<Self> {
        let file = File::open(path).ok()?;
        let baseline = read(&file)?;
        let is_v2 = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("memory.events"));
        let changes = if is_v2 {
            let duplicate = file.try_clone().ok()?;
            poll.watch(duplicate.into(), Source::new(Kind::Memory, key), EventFlags::PRI).ok()
        } else {
            None
        };
        Some(Self { file, baseline, last: baseline, changes })
    }

    fn refresh(&mut self) -> u64 {
        match read(&self.file) {
            Some(count) => self.last = count,
            // The group is gone; the file would report an error for ever.
            None => self.changes = None,
        }
        self.last.saturating_sub(self.baseline)
    }
}

fn read(file: &File) -> Option<u64> {
    let mut text = [0; 512];
    let length = file.read_at(&mut text, 0).ok()?;
    count_in(std::str::from_utf8(text.get(..length)?).ok()?)
}

/// `memory.oom_control` and `memory.events` both have a line `oom_kill N`. A kernel without it counts nothing.
fn count_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).map_or(Some(0), |count| count.parse().ok())
}

#[cfg(test)]
mod tests;
