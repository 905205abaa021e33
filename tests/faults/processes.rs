//! Processes of the node under test: found below its own folder and by their parents, never by a bare name.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use linkspan_tests::tools;
use rustix::process::{Pid, PidfdFlags, Signal};

/// One that is alive.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    parent: i32,
    /// With the PID it is one process and no later one.
    start_time: u64,
}

impl Process {
    /// `None` if it has ended, waited for or not.
    pub(crate) fn find(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let is_dead = matches!(*fields.first()?, "Z" | "X");
        let process =
            Process { pid, parent: fields.get(1)?.parse().ok()?, start_time: fields.get(19)?.parse().ok()? };
        (!is_dead).then_some(process)
    }

    pub(crate) fn command(&self) -> Vec<String> {
        let text = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        text.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    fn program(&self) -> PathBuf {
        fs::read_link(format!("/proc/{}/exe", self.pid)).unwrap_or_default()
    }

    /// Its control groups, of all hierarchies.
    fn groups(&self) -> String {
        fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).unwrap_or_default()
    }

    /// To be held before the blow, so that two fall at once.
    pub(crate) fn aim(&self) -> Option<OwnedFd> {
        let descriptor = rustix::process::pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        let same = Self::find(self.pid)?;
        (same.start_time == self.start_time).then_some(descriptor)
    }
}

/// `kill -9`; `false` if it had ended.
pub(crate) fn kill(target: &OwnedFd) -> bool {
    rustix::process::pidfd_send_signal(target, Signal::KILL).is_ok()
}

fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Process::find(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// The node's monitors, by the sandbox that each is of.
pub(crate) fn monitors(prefix: &Path) -> BTreeMap<String, Process> {
    let pods = format!("{}/run/linkspan/pods/", prefix.display());
    let sandbox = |process: &Process| {
        let command = process.command();
        let is_monitor = command.first()?.ends_with("/linkspan-monitor");
        let dir = command.iter().find_map(|word| word.strip_prefix(&pods));
        dir.filter(|_| is_monitor).map(str::to_owned)
    };
    all().into_iter().filter_map(|process| Some((sandbox(&process)?, process))).collect()
}

/// Calls of the OCI runtime that the daemon or a monitor has under way. What a call leaves running is not one: it is in a group
/// of its own.
pub(crate) fn runtime_calls(prefix: &Path, daemon: i32) -> Vec<Process> {
    let state = format!("{}/run/linkspan/runtimes", prefix.display());
    let processes = all();
    let monitors = monitors(prefix);
    let callers: BTreeMap<i32, String> = processes
        .iter()
        .filter(|process| {
            process.pid == daemon || monitors.values().any(|monitor| monitor.pid == process.pid)
        })
        .map(|process| (process.pid, process.groups()))
        .collect();
    let is_call = |process: &Process| {
        let Some(groups) = callers.get(&process.parent) else { return false };
        process.command().iter().any(|word| word.contains(&state)) && process.groups() == *groups
    };
    processes.into_iter().filter(is_call).collect()
}

/// CNI plugins that the daemon has called, and those that they have.
pub(crate) fn plugin_calls(daemon: i32) -> Vec<Process> {
    let folder = tools::cni_plugins();
    let processes = all();
    let parents: BTreeMap<i32, i32> = processes.iter().map(|process| (process.pid, process.parent)).collect();
    let is_below_daemon = |process: &Process| {
        let mut parent = process.parent;
        while parent > 1 && parent != daemon {
            parent = parents.get(&parent).copied().unwrap_or(0);
        }
        parent == daemon
    };
    let is_plugin = |process: &Process| process.program().starts_with(&folder);
    processes.iter().filter(|process| is_below_daemon(process) && is_plugin(process)).cloned().collect()
}

/// How many are alive in a control group, but not below it; by the group's last name.
pub(crate) fn by_group(name: &str) -> Result<BTreeMap<String, BTreeMap<i32, Process>>> {
    let mut found: BTreeMap<String, BTreeMap<i32, Process>> = BTreeMap::new();
    for group in linkspan_tests::leftovers::cgroups(name) {
        let last = group.file_name().context("a group's name")?.to_string_lossy().into_owned();
        let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        let alive = pids.lines().filter_map(|pid| Process::find(pid.parse().ok()?));
        found.entry(last).or_default().extend(alive.map(|process| (process.pid, process)));
    }
    Ok(found)
}
