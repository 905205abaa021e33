//! Groups as directories, and the processes in them.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, sleep};

use super::layout::Layout;
use super::{CgroupMode, put, text, write};
use crate::error::Error;

pub(super) const PROCS: &str = "cgroup.procs";

/// What pods and containers are limited by, where the host has it.
const V2_CONTROLLERS: [&str; 8] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb", "misc", "rdma"];
/// A dead process leaves its group a moment after it is reaped.
const DRAIN: Duration = Duration::from_secs(2);
/// Long enough for a process that dumps its memory to swap or core.
const DEATH: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How many processes are held at once while they are killed: the daemon needs descriptors for others, too.
const MOST_HELD: usize = 256;

/// In every hierarchy or, if one of them refuses, in none.
pub(super) fn create(layout: &Layout, below: &Path) -> Result<bool, Error> {
    let mut made = Vec::new();
    let created = layout.hierarchies.iter().try_for_each(|tree| {
        if create_dirs(&tree.mount, below)? {
            made.push(tree.mount.join(below));
        }
        match tree.controllers.iter().any(|controller| controller == "cpuset") {
            true => inherit_cpuset(&tree.mount, below),
            false => Ok(()),
        }
    });
    if let Err(error) = created {
        for dir in made {
            if let Err(error) = fs::remove_dir(&dir) {
                tracing::warn!(group = %dir.display(), %error, "a half-made control group was not removed");
            }
        }
        return Err(error);
    }
    if layout.mode == CgroupMode::V2 {
        for tree in &layout.hierarchies {
            delegate(&tree.mount, below);
        }
    }
    Ok(!made.is_empty())
}

/// Like `mkdir -p`, but again from the top if someone removes an empty group above meanwhile.
fn create_dirs(mount: &Path, below: &Path) -> Result<bool, Error> {
    let dir = mount.join(below);
    let what = || format!("making cgroup {}", dir.display());
    for _ in 0..5 {
        fs::create_dir_all(dir.parent().unwrap_or(mount)).map_err(Error::io(what()))?;
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(what())(error)),
        }
    }
    Err(Error::io(what())(ErrorKind::NotFound.into()))
}

/// A v1 cpuset without CPUs or memory nodes takes no process (cpusets(7)).
fn inherit_cpuset(mount: &Path, below: &Path) -> Result<(), Error> {
    let mut dir = mount.to_path_buf();
    for part in below {
        let parent = dir.clone();
        dir.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let inherited = text(Some(&parent), file);
            if text(Some(&dir), file).is_empty() && !inherited.is_empty() {
                write(&dir.join(file), &inherited)?;
            }
        }
    }
    Ok(())
}

/// Controllers reach a v2 group only if every group above passes them on. One that cannot (it holds processes, or the
/// host lacks the controller) costs that limit, not the pod.
fn delegate(mount: &Path, below: &Path) {
    let mut dir = mount.to_path_buf();
    for part in below {
        let there = text(Some(&dir), "cgroup.controllers");
        for controller in
            V2_CONTROLLERS.iter().filter(|name| there.split_whitespace().any(|other| other == **name))
        {
            if let Err(error) = write(&dir.join("cgroup.subtree_control"), &format!("+{controller}")) {
                tracing::debug!(%error, controller, "controller not passed on");
            }
        }
        dir.push(part);
    }
}

pub(super) async fn remove(layout: &Layout, path: &str, below: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + DRAIN;
    let mut pause = Duration::from_millis(1);
    loop {
        let failed =
            layout.everywhere(below).find_map(|dir| remove_tree(&dir).err().map(|error| (dir, error)));
        match failed {
            None => return Ok(()),
            Some((_, error)) if is_busy(&error) && Instant::now() < deadline => {}
            Some((_, error)) if is_busy(&error) => {
                return Err(Error::CgroupBusy { path: path.to_owned(), pids: pids(layout, below)? });
            }
            Some((dir, error)) => return Err(Error::io(format!("removing cgroup {}", dir.display()))(error)),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// `false` if there is anything in it anywhere; then nothing is removed, or what is left is made again by who needs it.
pub(super) fn remove_if_empty(layout: &Layout, below: &Path) -> Result<bool, Error> {
    if !children(layout, below).is_empty() || !pids(layout, below)?.is_empty() {
        return Ok(false);
    }
    for dir in layout.everywhere(below) {
        match fs::remove_dir(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if is_busy(&error) => return Ok(false),
            Err(error) => return Err(Error::io(format!("removing cgroup {}", dir.display()))(error)),
        }
    }
    Ok(true)
}

/// Names of the groups directly below.
pub(super) fn children(layout: &Layout, below: &Path) -> BTreeSet<String> {
    let groups = layout.everywhere(below).flat_map(|dir| child_groups(&dir));
    groups.filter_map(|dir| Some(dir.file_name()?.to_string_lossy().into_owned())).collect()
}

/// Children first; what is gone meanwhile is fine.
fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in child_groups(dir) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A new group in the tree also makes it "not empty" for a moment.
fn is_busy(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::DirectoryNotEmpty)
}

fn child_groups(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

pub(super) fn pids(layout: &Layout, below: &Path) -> Result<Vec<i32>, Error> {
    // A process is in every hierarchy, but a runtime may leave one out: those that all of them fill come first.
    let preferred =
        ["pids", "memory", "devices", "freezer"].iter().filter_map(|name| layout.dir(name, below));
    let Some(dir) = preferred.chain(layout.dirs(below)).find(|dir| dir.is_dir()) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    collect_pids(&dir, &mut found)?;
    Ok(found)
}

fn collect_pids(dir: &Path, found: &mut Vec<i32>) -> Result<(), Error> {
    let file = dir.join(PROCS);
    match fs::read_to_string(&file) {
        Ok(procs) => found.extend(procs.lines().filter_map(|line| line.parse::<i32>().ok())),
        // ENODEV: removed while we read it. EOPNOTSUPP: a threaded group, its processes are listed above.
        Err(error)
            if error.kind() == ErrorKind::NotFound
                || matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EOPNOTSUPP)) => {}
        Err(error) => return Err(Error::io(format!("reading {}", file.display()))(error)),
    }
    child_groups(dir).iter().try_for_each(|child| collect_pids(child, found))
}

pub(super) async fn kill_all(layout: &Layout, path: &str, below: &Path) -> Result<(), Error> {
    let no_forks = ForkBan::impose(layout, below);
    let deadline = Instant::now() + DEATH;
    let mut pause = Duration::from_millis(1);
    let own = getpid().as_raw_nonzero().get();
    let result = loop {
        let mut left = pids(layout, below)?;
        left.retain(|pid| *pid != own);
        if left.is_empty() {
            break Ok(());
        }
        if Instant::now() >= deadline {
            break Err(Error::CgroupBusy { path: path.to_owned(), pids: left });
        }
        kill(layout, below, &left)?;
        thaw(layout, below);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    };
    no_forks.lift();
    result
}

/// Kills what is in the group, `seen` in it a moment ago: by the group itself, forks included (Linux 5.14), else one by one.
fn kill(layout: &Layout, below: &Path, seen: &[i32]) -> Result<(), Error> {
    let at_once = |dir: PathBuf| put(&dir.join("cgroup.kill"), "1").is_ok();
    if layout.mode == CgroupMode::V2 && layout.dirs(below).all(at_once) {
        return Ok(());
    }
    for seen in seen.chunks(MOST_HELD) {
        let hold = |pid: &i32| Some((*pid, pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok()?));
        let held: Vec<_> = seen.iter().filter_map(hold).collect();
        // One that had gone before it was held has left its number to anybody: who is still in the group was meant.
        let still: HashSet<i32> = pids(layout, below)?.into_iter().collect();
        for (_, pidfd) in held.iter().filter(|(pid, _)| still.contains(pid)) {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
    Ok(())
}

/// A frozen v1 group does not die until it is thawed; nor does a PID namespace's first process before those in a frozen
/// group below. (A v2 group dies frozen: there it is for what is to end by itself.)
pub(super) fn thaw(layout: &Layout, below: &Path) {
    let (file, thawed) = match layout.mode {
        CgroupMode::V2 => ("cgroup.freeze", "0"),
        CgroupMode::V1 | CgroupMode::Hybrid => ("freezer.state", "THAWED"),
    };
    let mut dirs: Vec<PathBuf> = layout.dir("freezer", below).into_iter().collect();
    while let Some(dir) = dirs.pop() {
        let state = text(Some(&dir), file);
        if !state.is_empty() && state != thawed {
            let _ = put(&dir.join(file), thawed);
        }
        dirs.extend(child_groups(&dir));
    }
}

/// While it lasts, nothing in a v1 group can fork faster than we kill.
struct ForkBan {
    file: Option<PathBuf>,
    before: String,
}

impl ForkBan {
    fn impose(layout: &Layout, below: &Path) -> Self {
        let dir = layout.dir("pids", below).filter(|_| layout.mode != CgroupMode::V2);
        let before = text(dir.as_deref(), "pids.max");
        let file = dir.map(|dir| dir.join("pids.max")).filter(|file| put(file, "0").is_ok());
        Self { file, before }
    }

    fn lift(self) {
        if let Some(file) = self.file {
            let _ = put(&file, &self.before);
        }
    }
}

#[cfg(test)]
mod tests;
