//! A process and all that it has started, to hang up or kill the whole of it.
//!
//! Members are found by parent, by session (a runtime makes each exec'd process a session leader, and what it leaves
//! in that session is found even when the parent in between is gone), and by the pipes that only the tree was given.
//! A process that has left its parent, its session and its streams is not found: it is nobody's any more.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use linkspan_monitor::protocol::{Process, ProcessStat};
use rustix::fs::FileType;

/// A tree that still grows after so many stopped generations is a fork bomb faster than us; it is killed as it is.
const MAX_PASSES: usize = 100;

pub(crate) struct Tree {
    members: HashMap<i32, Process>,
    /// Sessions whose leader is, or was, a member.
    sessions: HashSet<i32>,
    /// Spared, with all that they start.
    spared: HashSet<i32>,
    streams: Option<Streams>,
    root_start_time: u64,
}

/// What tells a process of the tree that has left its parent and its session.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pipes: Vec<PipeId>,
    /// The container's, and not ours. A child of the daemon has the daemon's pipes for a moment, between fork and
    /// exec, but never the container's cgroup.
    cgroup: Vec<u8>,
}

impl Streams {
    /// None if nothing would tell the process's pipes from anybody else's.
    pub(crate) fn new(pipes: &[PipeId], process: Process) -> Option<Self> {
        let cgroup = cgroup_of(process.pid)?;
        let this = cgroup_of(rustix::process::getpid().as_raw_nonzero().get())?;
        (cgroup != this && !pipes.is_empty()).then(|| Self { pipes: pipes.to_vec(), cgroup })
    }

    fn are_held_by(&self, pid: i32) -> bool {
        if cgroup_of(pid).is_none_or(|cgroup| cgroup != self.cgroup) {
            return false;
        }
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        let target = |fd: io::Result<fs::DirEntry>| fs::read_link(fd.ok()?.path()).ok();
        fds.filter_map(target).any(|target| self.pipes.contains(&target))
    }
}

fn cgroup_of(pid: i32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/cgroup")).ok()
}

/// As its holders' links in `/proc/<pid>/fd` read: `pipe:[inode]`. They are read, never followed: what a container
/// has open may be a file system that does not answer.
pub(crate) type PipeId = PathBuf;

/// The identity of what a descriptor refers to, if that is a pipe.
pub(crate) fn pipe_id(fd: impl AsFd) -> Option<PipeId> {
    let stat = rustix::fs::fstat(fd).ok()?;
    let is_pipe = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
    is_pipe.then(|| PathBuf::from(format!("pipe:[{}]", stat.st_ino)))
}

impl Tree {
    /// The tree of one process, itself included. It may be gone already: its session is searched all the same.
    pub(crate) fn of(root: Process) -> Self {
        let mut tree = Self::new();
        tree.members.insert(root.pid, root);
        tree.sessions.insert(root.pid);
        tree.root_start_time = root.start_time;
        tree
    }

    fn new() -> Self {
        let this = rustix::process::getpid().as_raw_nonzero().get();
        Self {
            members: HashMap::new(),
            sessions: HashSet::new(),
            spared: HashSet::from([1, this]),
            streams: None,
            root_start_time: 0,
        }
    }

    /// Whoever holds one of these streams and is younger than the root belongs to it, too.
    pub(crate) fn with_streams(mut self, streams: Option<&Streams>) -> Self {
        self.streams = streams.cloned();
        self
    }

    /// All below this process, but not itself.
    pub(crate) fn below_this_process() -> Self {
        let mut tree = Self::new();
        if let Ok(this) = Process::this() {
            tree.members.insert(this.pid, this);
        }
        tree
    }

    pub(crate) fn add(&mut self, process: Process) {
        self.members.insert(process.pid, process);
    }

    /// Kills all of it that is found now; returns how many were found alive. Call again until it returns 0: a killed
    /// process takes a moment to die.
    pub(crate) fn kill(&mut self) -> usize {
        self.stop();
        self.signal(&[libc::SIGKILL])
    }

    /// Hangs all of it up, as a terminal that goes does it to its sessions: at once. A shell whose job is told before it would
    /// take the job's end for a reason to go on with its next command.
    pub(crate) fn hang_up(&mut self) {
        self.stop();
        // What is stopped could not take the first signal.
        self.signal(&[libc::SIGHUP, libc::SIGCONT]);
    }

    /// Leaves and parents alike: what is stopped starts nothing new and loses no child to init.
    fn stop(&mut self) {
        let mut stopped = HashSet::new();
        for _ in 0..MAX_PASSES {
            let fresh: Vec<Process> =
                self.alive().into_iter().filter(|process| stopped.insert(process.pid)).collect();
            if fresh.is_empty() {
                break;
            }
            for process in fresh {
                let _ = process.signal(libc::SIGSTOP);
            }
        }
    }

    /// Returns how many were found alive.
    fn signal(&mut self, signals: &[i32]) -> usize {
        let alive = self.alive();
        for process in &alive {
            for signal in signals {
                let _ = process.signal(*signal);
            }
        }
        alive.len()
    }

    /// Whether nothing of it is found alive.
    pub(crate) fn is_dead(&mut self) -> bool {
        self.alive().is_empty()
    }

    /// Members that run, after looking for new ones.
    fn alive(&mut self) -> Vec<Process> {
        let stats = every_process();
        // A leader that is gone leaves its PID to its session until that is empty; then it may be anybody's.
        self.sessions.retain(|leader| {
            let now = stats.get(leader);
            now.is_none_or(|now| self.members.get(leader).is_some_and(|m| m.start_time == now.start_time))
        });
        while self.grow(&stats) {}
        let alive = |stat: &&ProcessStat| {
            !matches!(stat.state, 'Z' | 'X' | 'x')
                && !self.spared.contains(&stat.pid)
                && self.members.get(&stat.pid).is_some_and(|member| member.start_time == stat.start_time)
        };
        let found = stats.values().filter(alive);
        found.map(|stat| Process { pid: stat.pid, start_time: stat.start_time }).collect()
    }

    /// One generation more; whether there was any.
    fn grow(&mut self, stats: &HashMap<i32, ProcessStat>) -> bool {
        let is_member = |pid: i32| {
            let member = self.members.get(&pid);
            let now = stats.get(&pid);
            matches!((member, now), (Some(member), Some(now)) if member.start_time == now.start_time)
        };
        let fresh: Vec<ProcessStat> = stats
            .values()
            .filter(|stat| !is_member(stat.pid) && !self.spared.contains(&stat.pid))
            .filter(|stat| {
                is_member(stat.parent) || self.sessions.contains(&stat.session) || self.holds_a_stream(stat)
            })
            .copied()
            .collect();
        for stat in &fresh {
            self.members.insert(stat.pid, Process { pid: stat.pid, start_time: stat.start_time });
        }
        let leaders: Vec<i32> =
            stats.values().filter(|s| s.session == s.pid && self.is_new_leader(s)).map(|s| s.pid).collect();
        let grown = !fresh.is_empty() || !leaders.is_empty();
        self.sessions.extend(leaders);
        grown
    }

    fn holds_a_stream(&self, stat: &ProcessStat) -> bool {
        let is_young = stat.start_time >= self.root_start_time;
        is_young && self.streams.as_ref().is_some_and(|streams| streams.are_held_by(stat.pid))
    }

    fn is_new_leader(&self, stat: &ProcessStat) -> bool {
        let member = self.members.get(&stat.pid);
        !self.sessions.contains(&stat.pid)
            && !self.spared.contains(&stat.pid)
            && member.is_some_and(|member| member.start_time == stat.start_time)
    }
}

/// Everything in `/proc`.
fn every_process() -> HashMap<i32, ProcessStat> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| Some((pid, ProcessStat::read(pid).ok()?)))
        .collect()
}

/// Whether this process has children, alive or not reaped.
pub(crate) fn has_children() -> bool {
    let this = rustix::process::getpid().as_raw_nonzero().get();
    every_process().values().any(|stat| stat.parent == this)
}

#[cfg(test)]
mod tests;
