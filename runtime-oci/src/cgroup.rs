//! Control groups: making, filling, reading and removing them, on cgroup v1, v2 and the mix of both.
//!
//! Paths are absolute below each hierarchy's root, `/kubepods/pod1`; the daemon's own group never enters into them.

mod counters;
#[cfg(test)]
mod fixture;
mod group;
mod layout;
mod limits;
mod owner;
mod stats;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linkspan_config::CgroupDriver;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::spec::Resources;

use layout::Layout;

pub use counters::{CgroupCounters, DeviceIo, MemoryCounters, Throttling};
pub use stats::{CgroupStats, Pressure, PressureData, Psi};

/// How the host arranges its hierarchies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupMode {
    /// One hierarchy per controller.
    V1,
    /// The single hierarchy, at `/sys/fs/cgroup`.
    #[default]
    V2,
    /// Controllers on v1, and a v2 tree beside them that runtimes leave alone.
    Hybrid,
}

/// Which limits the host's kernel and hierarchies can set at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Support {
    /// Swap is accounted for.
    pub swap: bool,
    /// There is a hugetlb controller where runtimes look for it.
    pub hugetlb: bool,
}

/// The host's control groups. Cheap to clone. Calls are short and blocking, but for those that wait: they are async.
#[derive(Clone, Debug)]
pub struct Cgroups {
    layout: Arc<Layout>,
    support: Support,
}

impl Cgroups {
    /// Looks at what is mounted.
    ///
    /// # Errors
    /// [`Error::Unimplemented`] for the systemd driver; [`Error::Io`] if there is no cgroup file system.
    pub fn detect(config: &linkspan_config::Cgroup) -> Result<Self, Error> {
        match config.driver {
            CgroupDriver::Cgroupfs => {}
            CgroupDriver::Systemd => return Err(Error::Unimplemented("the systemd cgroup driver")),
        }
        let path = "/proc/self/mountinfo";
        let mountinfo = fs::read_to_string(path).map_err(Error::io(format!("reading {path}")))?;
        let layout = Layout::parse(&mountinfo).ok_or_else(|| Error::Io {
            what: "looking for cgroups".to_owned(),
            source: io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted"),
        })?;
        let support = layout.support();
        Ok(Self { layout: Arc::new(layout), support })
    }

    /// The host's arrangement.
    #[must_use]
    pub fn mode(&self) -> CgroupMode {
        self.layout.mode
    }

    /// What limits can be set here.
    #[must_use]
    pub fn support(&self) -> Support {
        self.support
    }

    /// Makes the group, and those above it, in every hierarchy. `true` if it was not there before.
    ///
    /// # Errors
    /// [`Error::Io`]; what was made until then stays, [`Cgroups::remove`] takes it away.
    pub fn create(&self, path: &str) -> Result<bool, Error> {
        group::create(&self.layout, below_root(path)?)
    }

    /// Of the group and those above it the ones that no hierarchy has, the outermost first.
    ///
    /// # Errors
    /// For a path that is no group's.
    pub fn missing(&self, path: &str) -> Result<Vec<String>, Error> {
        let is_there = |group: &&Path| self.layout.dirs(group).any(|dir| dir.is_dir());
        let groups = below_root(path)?.ancestors().filter(|group| !group.as_os_str().is_empty());
        let missing =
            groups.take_while(|group| !is_there(group)).map(|group| format!("/{}", group.display()));
        let mut missing: Vec<String> = missing.collect();
        missing.reverse();
        Ok(missing)
    }

    /// Removes the group and those below it; waits up to two seconds for dying processes. Gone is fine. Cancelling
    /// leaves what was not removed yet.
    ///
    /// # Errors
    /// [`Error::CgroupBusy`] names the processes that are still in it.
    pub async fn remove(&self, path: &str) -> Result<(), Error> {
        group::remove(&self.layout, path, below_root(path)?).await
    }

    /// Removes the group if it holds neither a process nor a group, whoever's: `false` if it does. Gone is fine.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_if_empty(&self, path: &str) -> Result<bool, Error> {
        group::remove_if_empty(&self.layout, below_root(path)?)
    }

    /// Names of the groups directly below this one, in any hierarchy. A group that is gone has none.
    ///
    /// # Errors
    /// For a path that is no group's.
    pub fn children(&self, path: &str) -> Result<BTreeSet<String>, Error> {
        Ok(group::children(&self.layout, below_root(path)?))
    }

    /// Notes on the group that `owner` made it, for as long as it is there. Only the host's root can do and read that.
    ///
    /// # Errors
    /// [`Error::Io`], where the kernel or the lack of CAP_SYS_ADMIN in the host's user namespace forbids it.
    pub fn mark(&self, path: &str, owner: &Path) -> Result<(), Error> {
        owner::mark(&self.layout, below_root(path)?, owner)
    }

    /// Who made the group, if it is there and that was noted.
    #[must_use]
    pub fn owner(&self, path: &str) -> Option<PathBuf> {
        owner::of(&self.layout, below_root(path).ok()?)
    }

    /// Moves a process, with all its threads, into the group in every hierarchy.
    ///
    /// # Errors
    /// [`Error::NoSuchCgroup`]; [`Error::Io`], also for a process that is gone.
    pub fn add_process(&self, path: &str, pid: i32) -> Result<(), Error> {
        let files = self.procs_files(path);
        if files.is_empty() {
            return Err(Error::NoSuchCgroup { path: path.to_owned() });
        }
        files.iter().try_for_each(|file| write(file, &pid.to_string()))
    }

    /// The files to which a process writes its number to enter the group; those that exist.
    #[must_use]
    pub fn procs_files(&self, path: &str) -> Vec<PathBuf> {
        let Ok(path) = below_root(path) else { return Vec::new() };
        let files = self.layout.dirs(path).map(|dir| dir.join(group::PROCS));
        files.filter(|file| file.exists()).collect()
    }

    /// Processes in the group and below it. A group that is gone has none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn pids(&self, path: &str) -> Result<Vec<i32>, Error> {
        group::pids(&self.layout, below_root(path)?)
    }

    /// Kills every process in the group and below it, and waits up to ten seconds until they are gone. Our own
    /// process is spared. On v1 the group may not fork meanwhile.
    ///
    /// # Errors
    /// [`Error::CgroupBusy`] names those that would not go.
    pub async fn kill_all(&self, path: &str) -> Result<(), Error> {
        group::kill_all(&self.layout, path, below_root(path)?).await
    }

    /// Lets the processes of the group and of those below it run again, whoever froze them. Gone is fine.
    ///
    /// # Errors
    /// For a path that is no group's.
    pub fn thaw(&self, path: &str) -> Result<(), Error> {
        group::thaw(&self.layout, below_root(path)?);
        Ok(())
    }

    /// What the group has used until now.
    ///
    /// # Errors
    /// [`Error::NoSuchCgroup`].
    pub fn stats(&self, path: &str) -> Result<CgroupStats, Error> {
        let below = self.existing(path)?;
        Ok(stats::read(&self.layout, below))
    }

    /// All that the group has counted until now.
    ///
    /// # Errors
    /// [`Error::NoSuchCgroup`].
    pub fn counters(&self, path: &str) -> Result<CgroupCounters, Error> {
        let below = self.existing(path)?;
        Ok(counters::read(&self.layout, below))
    }

    /// How many processes of the group the kernel killed for want of memory.
    ///
    /// # Errors
    /// [`Error::NoSuchCgroup`].
    pub fn oom_kills(&self, path: &str) -> Result<u64, Error> {
        self.existing(path)?;
        let counters = self.oom_file(path).and_then(|file| fs::read_to_string(file).ok());
        Ok(stats::flat(&counters.unwrap_or_default(), "oom_kill").unwrap_or(0))
    }

    /// Where the line `oom_kill N` is found: a descriptor opened now can still be read when the last process dies. `None`
    /// if the host does not limit memory by groups.
    #[must_use]
    pub fn oom_file(&self, path: &str) -> Option<PathBuf> {
        let file = if self.mode() == CgroupMode::V2 { "memory.events" } else { "memory.oom_control" };
        Some(self.layout.dir("memory", Path::new(path.trim_start_matches('/')))?.join(file))
    }

    /// The limits in force, in the words of a request: negative is unlimited, zero or empty is unknown.
    ///
    /// # Errors
    /// [`Error::NoSuchCgroup`].
    pub fn limits(&self, path: &str) -> Result<Resources, Error> {
        let below = self.existing(path)?;
        Ok(limits::read(&self.layout, below))
    }

    /// Sets those limits that `resources` names; used for groups without a runtime, a pod's above all.
    ///
    /// # Errors
    /// [`Error::NoSuchCgroup`]; [`Error::Io`] names the file that would not take its value. Nothing is changed then.
    pub fn apply(&self, path: &str, resources: &Resources) -> Result<(), Error> {
        let below = self.existing(path)?;
        limits::apply(&self.layout, self.support, below, resources)
    }

    fn existing<'a>(&self, path: &'a str) -> Result<&'a Path, Error> {
        let below = below_root(path)?;
        match self.layout.dirs(below).any(|dir| dir.is_dir()) {
            true => Ok(below),
            false => Err(Error::NoSuchCgroup { path: path.to_owned() }),
        }
    }
}

/// The path relative to a hierarchy's mount point; never the root group, which is not ours to change.
fn below_root(path: &str) -> Result<&Path, Error> {
    let below = path.strip_prefix('/').map(|below| below.trim_start_matches('/')).unwrap_or_default();
    if below.is_empty() || below.split('/').any(|part| part == "..") {
        return Err(Error::bad("cgroup", format!("{path:?} is not a clean absolute path below the root")));
    }
    Ok(Path::new(below))
}

fn write(file: &Path, value: &str) -> Result<(), Error> {
    put(file, value).map_err(Error::io(format!("writing {value:?} to {}", file.display())))
}

/// Into a file that the kernel has put there; none is ever made.
fn put(file: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).truncate(true).open(file)?.write_all(value.as_bytes())
}

/// A file's only number; `None` if there is no such group or file, or it says `max`.
fn number(dir: Option<&Path>, file: &str) -> Option<u64> {
    text(dir, file).parse().ok()
}

fn text(dir: Option<&Path>, file: &str) -> String {
    let text = dir.and_then(|dir| fs::read_to_string(dir.join(file)).ok());
    text.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests;
