//! One run of the OCI runtime: `create` or `exec`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use linkspan_monitor::protocol::{Failure, FailureKind, PidFd, Process, Text};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::console::Console;
use crate::poll::{Key, Kind, Poll, Source, Watch};
use crate::sys;
use crate::tree::Tree;
use crate::words::{self, RuntimeLog};

/// Of what the runtime writes to its stderr, the end is kept for an error's text.
const SAID_LIMIT_BYTES: usize = 4096;
/// How long killing may take; a process in an uninterruptible wait outlives any of it.
const KILL_LIMIT: Duration = Duration::from_secs(10);
const KILL_PAUSE: Duration = Duration::from_millis(2);
const KILL_PAUSE_MAX: Duration = Duration::from_millis(100);

/// What to run.
pub(crate) struct RuntimeSpec<'a> {
    pub(crate) command: &'a [Text],
    pub(crate) cwd: &'a Path,
    pub(crate) pid_file: &'a Path,
    pub(crate) runtime_log: &'a Path,
    /// With a terminal: where it comes.
    pub(crate) console_socket: Option<&'a Path>,
    pub(crate) deadline: Duration,
    pub(crate) oom_score_adj: Option<String>,
}

/// The runtime's own standard streams; none: `/dev/null`.
#[derive(Default)]
pub(crate) struct RuntimeStdio {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    /// Our end of a pipe that is stdout and stderr of the runtime, if no container's streams are.
    pub(crate) capture: Option<OwnedFd>,
}

/// A runtime that runs, or whose end was not looked into yet.
pub(crate) struct RuntimeCall {
    process: Process,
    /// None once reaped.
    exit: Option<Watch>,
    log: RuntimeLog,
    said: Vec<u8>,
    capture: Option<Watch>,
    console: Option<Console>,
    pid_file: PathBuf,
    pub(crate) deadline: Instant,
}

impl RuntimeCall {
    pub(crate) fn start(
        spec: &RuntimeSpec<'_>,
        stdio: RuntimeStdio,
        poll: &Poll,
        key: Key,
    ) -> Result<Self, Failure> {
        let io = |what: &str| {
            let what = what.to_owned();
            move |e: io::Error| failure(FailureKind::Io, format!("{what}: {e}"))
        };
        // One left by an earlier try would be taken for this one's.
        let _ = fs::remove_file(spec.pid_file);
        let console = match spec.console_socket {
            Some(path) => {
                let path = spec.cwd.join(path);
                Some(Console::listen(&path, poll, key).map_err(io("listening at the console socket"))?)
            }
            None => None,
        };
        let capture = match stdio.capture {
            Some(fd) => Some(
                poll.watch_readable(fd, Source::new(Kind::Capture, key)).map_err(io("watching a pipe"))?,
            ),
            None => None,
        };
        let Some((program, args)) = spec.command.split_first() else {
            return Err(failure(FailureKind::RuntimeMissing, "the command is empty".to_owned()));
        };
        let log = RuntimeLog::new(spec.runtime_log);
        let mut command = Command::new(program.as_os_str());
        command.args(args.iter().map(Text::as_os_str)).current_dir(spec.cwd);
        command.stdin(or_null(stdio.stdin)).stdout(or_null(stdio.stdout)).stderr(or_null(stdio.stderr));
        sys::start_apart(&mut command, spec.oom_score_adj.clone());
        let child = command.spawn().map_err(|e| {
            let what = format!("{} in {}: {e}", program.as_path().display(), spec.cwd.display());
            failure(FailureKind::RuntimeMissing, what)
        })?;
        let pid = child.id().cast_signed();
        let (process, exit) = watch_child(pid, poll, Source::new(Kind::RuntimeExit, key))
            .map_err(io(&format!("watching the runtime, PID {pid}")))?;
        let deadline = Instant::now() + spec.deadline;
        let pid_file = spec.pid_file.to_path_buf();
        Ok(Self { process, exit: Some(exit), log, said: Vec::new(), capture, console, pid_file, deadline })
    }

    /// The runtime's PID, until it is reaped.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.exit.as_ref().map(|_| self.process.pid)
    }

    /// Reaps the runtime if it has ended; returns its exit code, once.
    pub(crate) fn reap(&mut self) -> Option<i32> {
        let code = wait_code(self.exit.as_ref()?)?;
        self.exit = None;
        Some(code)
    }

    /// Keeps the end of what the runtime says on its stderr.
    pub(crate) fn hear(&mut self, data: &[u8]) {
        self.said.extend_from_slice(data);
        let excess = self.said.len().saturating_sub(SAID_LIMIT_BYTES);
        self.said.drain(..excess);
    }

    /// Reads the runtime's own streams, so that it never waits for us.
    pub(crate) fn listen(&mut self) {
        let mut data = [0; 4096];
        while let Some(capture) = &self.capture {
            match rustix::io::read(capture, &mut data) {
                Ok(length) if length > 0 => self.hear(&data[..length]),
                Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::INTR) => {}
                _ => self.capture = None,
            }
        }
    }

    pub(crate) fn advance_console(&mut self) {
        if let Some(console) = &mut self.console {
            console.advance();
        }
    }

    pub(crate) fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.console.take()?.take_terminal()
    }

    /// What it made, from its PID file.
    pub(crate) fn made(&self) -> Result<(Process, PidFd), Failure> {
        let path = self.pid_file.display();
        let fail = |e: String| failure(FailureKind::Runtime, format!("reading PID file {path}: {e}"));
        let text = fs::read_to_string(&self.pid_file).map_err(|e| fail(e.to_string()))?;
        let pid: i32 = text.trim().parse().map_err(|_| fail(format!("{text:?} is no PID")))?;
        // It cannot have been reaped: it is our child, and we reap by name.
        let process = Process::of(pid).map_err(|e| fail(format!("PID {pid}: {e}")))?;
        let pidfd = process.open_pidfd().ok_or_else(|| fail(format!("PID {pid} is gone")))?;
        Ok((process, pidfd))
    }

    /// Why it failed, in its own words.
    pub(crate) fn refused(&mut self, code: i32) -> Failure {
        let words = self.words();
        failure(FailureKind::Runtime, format!("{words} (exit code {code})"))
    }

    pub(crate) fn words(&mut self) -> String {
        self.listen();
        let words = match self.log.words() {
            words if words.is_empty() => words::readable(&self.said),
            words => words,
        };
        if words.is_empty() { "it said nothing".to_owned() } else { words }
    }

    /// The runtime with all that it left, to be killed.
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::of(self.process);
        if let Ok((process, _)) = self.made() {
            tree.add(process);
        }
        tree
    }

    /// The runtime's log is of no more use.
    pub(crate) fn remove_log(&self) {
        self.log.remove();
    }

    pub(crate) fn remove_pid_file(&self) {
        let _ = fs::remove_file(&self.pid_file);
    }
}

/// Watches the end of a child that nobody has reaped, so that the PID is its own until we say so. One that cannot be watched,
/// for want of descriptors, is killed and reaped: nobody would ever know of it.
pub(crate) fn watch_child(pid: i32, poll: &Poll, source: Source) -> io::Result<(Process, Watch)> {
    let watched = Process::of(pid).and_then(|process| {
        let pidfd = process.open_pidfd().ok_or(io::ErrorKind::NotFound)?;
        Ok((process, poll.watch_readable(pidfd.into(), source)?))
    });
    if let (Err(_), Some(pid)) = (&watched, Pid::from_raw(pid)) {
        let _ = kill_process(pid, Signal::KILL);
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
    }
    watched
}

/// The exit code of a child that has ended, which is thereby reaped: 128 + n for signal n, 255 if it is not our child.
pub(crate) fn wait_code(pidfd: &Watch) -> Option<i32> {
    match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(Some(status)) => {
            let signal = status.terminating_signal().map(|signal| 128 + signal);
            Some(status.exit_status().or(signal).unwrap_or(255))
        }
        Ok(None) | Err(rustix::io::Errno::INTR) => None,
        Err(_) => Some(255),
    }
}

/// A tree that is being killed, in passes: a killed process takes a moment to die.
pub(crate) struct Killing {
    tree: Tree,
    until: Instant,
    pause: Duration,
    pub(crate) next: Instant,
    /// What a runtime left was looked for when that was reaped already.
    is_complete: bool,
}

impl Killing {
    pub(crate) fn new(tree: Tree, now: Instant) -> Self {
        Self { tree, until: now + KILL_LIMIT, pause: KILL_PAUSE, next: now, is_complete: false }
    }

    /// One pass; whether all of it is dead.
    pub(crate) fn pass(&mut self, now: Instant) -> bool {
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(KILL_PAUSE_MAX);
        self.tree.kill() == 0
    }

    /// One pass over what a runtime left, itself included. Its PID file is looked at again until the runtime is reaped:
    /// between our first look and its death it may have written it, and parted with the process that it names. Not
    /// later: that process is an orphan then, is reaped when it has died, and its PID may be anybody's.
    pub(crate) fn pass_after(&mut self, call: &RuntimeCall, now: Instant) -> bool {
        if !self.is_complete
            && let Ok((process, _)) = call.made()
        {
            self.tree.add(process);
        }
        self.is_complete = call.pid().is_none();
        self.pass(now) && self.is_complete
    }

    pub(crate) fn has_given_up(&self, now: Instant) -> bool {
        now >= self.until
    }
}

pub(crate) fn failure(kind: FailureKind, message: String) -> Failure {
    Failure { kind, message }
}

fn or_null(fd: Option<OwnedFd>) -> Stdio {
    fd.map_or_else(Stdio::null, Stdio::from)
}

#[cfg(test)]
mod tests;
