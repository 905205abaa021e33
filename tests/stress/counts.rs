//! What the daemon and its monitors hold, from `/proc`.

use std::fmt;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Of one process, or of several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    pss_kib: u64,
}

/// Everything that a session might leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    daemon: Held,
    monitors: Held,
    /// Below the node's folder: daemon, monitors, runtimes.
    processes: usize,
    /// As the daemon's metrics count them.
    pub(crate) open_sessions: usize,
    daemon_pid: i32,
}

impl Counts {
    /// `metrics` is the address of the daemon's, if they are to be looked at.
    pub(crate) async fn take(socket: &Path, prefix: &Path, metrics: Option<&str>) -> Result<Counts> {
        let daemon = daemon(socket)?;
        let mut monitors = Held::default();
        let processes = linkspan_tests::leftovers::processes(prefix, &[]);
        for process in &processes {
            let Some((pid, command)) = process.split_once(": ") else { continue };
            if command.contains("linkspan-monitor") || command.contains("containerd-shim") {
                monitors.add(&held(pid.parse()?));
            }
        }
        let open_sessions = match metrics {
            Some(address) => open_sessions(address).await?,
            None => 0,
        };
        let processes = processes.len();
        Ok(Counts { daemon: held(daemon), monitors, processes, open_sessions, daemon_pid: daemon })
    }

    /// Descriptors, threads and processes as before, memory within a tenth.
    pub(crate) fn compare(&self, before: &Counts) -> Result<()> {
        self.compare_without_memory(before)?;
        for (name, now, then) in self.beside(before) {
            ensure!(now.pss_kib * 10 <= then.pss_kib * 11, "{name}: {} KiB", now.pss_kib);
        }
        Ok(())
    }

    /// Descriptors, threads, processes and sessions as before.
    pub(crate) fn compare_without_memory(&self, before: &Counts) -> Result<()> {
        ensure!(self.open_sessions <= before.open_sessions, "{} sessions are open", self.open_sessions);
        ensure!(self.processes <= before.processes, "{} processes", self.processes);
        for (name, now, then) in self.beside(before) {
            ensure!(
                now.descriptors <= then.descriptors,
                "{name}: {} descriptors, {} before; the daemon's: {}",
                now.descriptors,
                then.descriptors,
                links(self.daemon_pid).join(", ")
            );
            ensure!(now.threads <= then.threads, "{name}: {} threads", now.threads);
        }
        Ok(())
    }

    fn beside<'c>(&'c self, before: &'c Counts) -> [(&'static str, &'c Held, &'c Held); 2] {
        [("daemon", &self.daemon, &before.daemon), ("monitors", &self.monitors, &before.monitors)]
    }
}

impl Held {
    fn add(&mut self, other: &Held) {
        self.descriptors += other.descriptors;
        self.threads += other.threads;
        self.pss_kib += other.pss_kib;
    }
}

async fn open_sessions(metrics: &str) -> Result<usize> {
    let text = String::from_utf8(linkspan_tests::http::download(metrics, "/metrics").await?)?;
    let lines = text.lines().filter(|line| line.contains("streaming_sessions{"));
    lines.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<usize>()?)).sum()
}

/// The daemon that listens on the socket.
pub(crate) fn daemon(socket: &Path) -> Result<i32> {
    let stream = UnixStream::connect(socket)?;
    Ok(rustix::net::sockopt::socket_peercred(&stream)?.pid.as_raw_nonzero().get())
}

/// What a process has in memory.
pub(crate) fn rss_kib(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

pub(crate) fn descriptors(pid: i32) -> usize {
    held(pid).descriptors
}

fn held(pid: i32) -> Held {
    let entries = |folder: &str| fs::read_dir(format!("/proc/{pid}/{folder}")).map_or(0, Iterator::count);
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    Held {
        descriptors: entries("fd"),
        threads: entries("task"),
        pss_kib: pss.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0),
    }
}

/// What each of its descriptors is of.
fn links(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string())).collect()
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, held) in [("daemon", &self.daemon), ("monitors", &self.monitors)] {
            let Held { descriptors, threads, pss_kib } = held;
            write!(f, "{name}: {descriptors} descriptors, {threads} threads, {pss_kib} KiB; ")?;
        }
        write!(f, "{} processes, {} open sessions", self.processes, self.open_sessions)
    }
}
