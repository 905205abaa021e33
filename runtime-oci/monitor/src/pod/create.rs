//! Containers, from the runtime's `create` on.
//!
//! ```text
//! Opening ─log is there─▶ Creating
//!    └─it cannot be, or its deadline passes─▶ (gone)
//! Creating ─runtime ends well─▶ Running ─init ends─▶ Exited ─forget─▶ (gone)
//!    └─runtime fails, or its deadline passes─▶ Failing ─all of it dead─▶ (gone)
//! ```

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use linkspan_monitor::crash_point;
use linkspan_monitor::protocol::{
    Answer, ContainerState, CreateCall, Failure, FailureKind, PAUSE, PidFd, Process,
};
use rustix::pipe::{PipeFlags, pipe_with};

use super::attach::Client;
use super::exit::Unrecorded;
use super::output::DRAIN;
use super::stdin::Stdin;
use super::{Caller, Pod};
use crate::log::Log;
use crate::note::note;
use crate::oom::OomKills;
use crate::poll::{Key, Kind, Poll, Source, Watch};
use crate::runtime_call::{Killing, RuntimeCall, RuntimeSpec, RuntimeStdio, failure};
use crate::sys;

/// What opening a log may take. The daemon's own patience is a little longer than the runtime's.
const OPENING: Duration = Duration::from_secs(10);

pub(super) struct Container {
    pub(super) container_id: String,
    pub(super) phase: Phase,
    pub(super) log: Log,
    /// Stdout and stderr, or the terminal in stdout's place; none once ended.
    pub(super) streams: [Option<Watch>; 2],
    /// While the container runs, see [`sys::open_peer`].
    pub(super) terminal_peer: Option<OwnedFd>,
    /// The terminal hung up while the container runs; it may be opened again.
    pub(super) terminal_retry: Option<Instant>,
    pub(super) stdin: Stdin,
    pub(super) clients: Vec<Client>,
    /// Its exit, while its log is waited for.
    pub(super) unrecorded: Option<Unrecorded>,
    /// Until then clients may read what an ended container has said.
    pub(super) last_reads: Option<Instant>,
    pub(super) oom_kills: OomKills,
    pub(super) oom_kills_told: u64,
    /// Its processes write before its runtime has ended.
    pub(super) is_restored: bool,
    /// Its input is one client's, and so is its output as long as that is the only one.
    pub(super) has_stdin_once: bool,
    has_terminal: bool,
    /// A terminal's stdin is the terminal itself, once it comes.
    has_stdin: bool,
    oom_files: Vec<std::path::PathBuf>,
}

pub(super) enum Phase {
    Opening { caller: Caller, request: Box<CreateCall>, deadline: Instant },
    Creating { caller: Caller, call: Box<RuntimeCall> },
    Failing { caller: Caller, call: Box<RuntimeCall>, killing: Box<Killing>, failure: Failure },
    Running { process: Process, exit: Watch },
    Exited { process: Process, drained: Option<Instant> },
}

impl Container {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Opening { deadline, .. } => Some(*deadline),
            Phase::Creating { call, .. } => Some(call.deadline),
            Phase::Failing { killing, .. } => Some(killing.next),
            Phase::Running { .. } => self.terminal_retry,
            Phase::Exited { drained, .. } => {
                let untold = self.unrecorded.as_ref().map(|unrecorded| unrecorded.until);
                drained.iter().copied().chain(self.last_reads).chain(untold).min()
            }
        }
    }

    pub(super) fn has_exited(&self) -> bool {
        matches!(self.phase, Phase::Exited { .. })
    }

    pub(super) fn terminal(&self) -> Option<&Watch> {
        self.streams[0].as_ref().filter(|_| self.has_terminal)
    }

    /// Whether the monitor must stay for it.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.phase, Phase::Exited { drained: None, .. }) || self.unrecorded.is_some()
    }

    /// It has not begun, or has ended and that was told; all that it waits for is the disk.
    pub(super) fn waits_for_its_log(&self) -> bool {
        let has_ended = self.has_exited() && self.unrecorded.is_none() && self.log.is_full();
        has_ended || matches!(self.phase, Phase::Opening { .. })
    }

    pub(super) fn runtime_pid(&self) -> Option<i32> {
        match &self.phase {
            Phase::Creating { call, .. } | Phase::Failing { call, .. } => call.pid(),
            _ => None,
        }
    }

    /// Its init, once there is one.
    pub(super) fn process(&self) -> Option<Process> {
        match &self.phase {
            Phase::Running { process, .. } | Phase::Exited { process, .. } => Some(*process),
            _ => None,
        }
    }

    /// Whether this PID is one whose exit we look for by name.
    pub(super) fn awaits(&self, pid: i32) -> bool {
        let init = matches!(&self.phase, Phase::Running { process, .. } if process.pid == pid);
        init || self.runtime_pid() == Some(pid)
    }

    pub(super) fn call(&mut self) -> Option<&mut RuntimeCall> {
        match &mut self.phase {
            Phase::Creating { call, .. } | Phase::Failing { call, .. } => Some(call),
            _ => None,
        }
    }
}

impl From<&Container> for ContainerState {
    fn from(container: &Container) -> Self {
        Self {
            container_id: container.container_id.clone(),
            process: container.process(),
            exited: container.has_exited(),
            log_bytes_dropped: container.log.dropped_bytes(),
        }
    }
}

impl Pod {
    /// Starts the runtime; the caller is answered when it has ended.
    pub(super) fn create(&mut self, caller: Caller, request: &CreateCall) -> Result<(), Failure> {
        // Its name becomes a file's.
        let id = &request.container_id;
        if id.is_empty() || id == PAUSE || id.starts_with('.') || id.contains(['/', '\0']) {
            return Err(failure(FailureKind::BadRequest, format!("{id:?} is no container ID")));
        }
        if self.containers.values().any(|container| container.container_id == request.container_id) {
            let message = format!("container {} exists", request.container_id);
            return Err(failure(FailureKind::AlreadyExists, message));
        }
        let key = self.new_key();
        let log_path = request.log_path.as_ref().map(|path| path.as_path());
        let log = Log::open(&mut self.writer, key, log_path, self.args.max_log_line_bytes)
            .map_err(|e| failure(FailureKind::Io, format!("starting the thread of the logs: {e}")))?;
        let is_kept = log.is_kept();
        let deadline = Instant::now() + OPENING.min(Duration::from_millis(request.deadline_ms));
        let container = Container {
            container_id: request.container_id.clone(),
            phase: Phase::Opening { caller, request: Box::new(request.clone()), deadline },
            log,
            streams: [None, None],
            terminal_peer: None,
            terminal_retry: None,
            stdin: Stdin::default(),
            clients: Vec::new(),
            unrecorded: None,
            last_reads: None,
            oom_kills: OomKills::default(),
            oom_kills_told: 0,
            is_restored: request.restores,
            has_stdin_once: request.stdin_once,
            has_terminal: request.tty,
            has_stdin: request.stdin,
            oom_files: request.oom_files.iter().map(|path| path.as_path().to_path_buf()).collect(),
        };
        self.containers.insert(key, container);
        if !is_kept {
            self.log_opened(key, Ok(()));
        }
        Ok(())
    }

    /// Its log is there, or cannot be: only now the runtime is called. The container stays known meanwhile, whatever
    /// becomes of that: its deadline ends it then.
    pub(super) fn log_opened(&mut self, key: Key, outcome: Result<(), Failure>) {
        let Some(container) = self.containers.get(&key) else { return };
        let Phase::Opening { caller, request, .. } = &container.phase else { return };
        let caller = *caller;
        let ending = || failure(FailureKind::ShuttingDown, "the monitor is shutting down".to_owned());
        let outcome = outcome.and_then(|()| self.shutdown.as_ref().map_or(Ok(()), |_| Err(ending())));
        match outcome.and_then(|()| self.call_runtime(key, request)) {
            Ok((plumbing, call)) => {
                let Some(container) = self.containers.get_mut(&key) else { return };
                container.streams = plumbing.streams;
                container.stdin = plumbing.stdin;
                container.phase = Phase::Creating { caller, call: Box::new(call) };
            }
            Err(failure) => {
                let Some(container) = self.containers.remove(&key) else { return };
                self.refuse(container.log, caller, failure);
            }
        }
    }

    /// The caller is answered when the log that was made for it is gone.
    fn refuse(&mut self, log: Log, caller: Caller, failure: Failure) {
        if let Err((caller, failure)) = log.discard(caller, failure) {
            self.reply(caller, Err(failure));
        }
    }

    fn call_runtime(&self, key: Key, request: &CreateCall) -> Result<(Plumbing, RuntimeCall), Failure> {
        Plumbing::new(request, &self.poll, key).and_then(|(plumbing, stdio)| {
            let spec = RuntimeSpec {
                command: &request.command,
                cwd: request.cwd.as_path(),
                pid_file: request.pid_file.as_path(),
                runtime_log: request.runtime_log.as_path(),
                console_socket: request.console_socket.as_ref().filter(|_| request.tty).map(|p| p.as_path()),
                deadline: Duration::from_millis(request.deadline_ms),
                oom_score_adj: self.inherited_oom_score_adj.clone(),
            };
            Ok((plumbing, RuntimeCall::start(&spec, stdio, &self.poll, key)?))
        })
    }

    /// The runtime's `create` has ended.
    pub(super) fn created(&mut self, key: Key) {
        // What a `create` said must not be taken for the container's output.
        self.drain_streams(key);
        let Some(container) = self.containers.get_mut(&key) else { return };
        let made = match &mut container.phase {
            Phase::Creating { call, .. } => {
                let Some(code) = call.reap() else { return };
                if code == 0 { Ok(()) } else { Err(call.refused(code)) }
            }
            Phase::Failing { call, .. } => {
                call.reap();
                return;
            }
            _ => return,
        };
        self.look_for_orphans = true;
        let running = made.and_then(|()| container.begin_to_run(&self.poll, key));
        match running {
            Ok((caller, process)) => {
                crash_point("monitor-created");
                self.reply(caller, Ok(Answer::Started(process)));
            }
            Err(failure) => self.fail_create(key, failure),
        }
    }

    /// Kills what the runtime left; the caller is answered when it is dead.
    pub(super) fn fail_create(&mut self, key: Key, failure: Failure) {
        let now = Instant::now();
        // Looked for while the container is known: a mistake of ours in that must not lose it.
        let killing = match self.containers.get(&key).map(|container| &container.phase) {
            Some(Phase::Creating { call, .. }) => Some(Box::new(Killing::new(call.tree(), now))),
            _ => None,
        };
        let Some(mut container) = self.containers.remove(&key) else { return };
        match (container.phase, killing) {
            (Phase::Creating { caller, call }, Some(killing)) => {
                container.phase = Phase::Failing { caller, call, killing, failure };
                self.containers.insert(key, container);
                self.kill_failed(key, now);
            }
            // Its disk does not answer: nobody waits for that.
            (Phase::Opening { caller, .. }, _) => {
                container.log.abandon();
                self.reply(caller, Err(failure));
            }
            (phase, _) => {
                container.phase = phase;
                self.containers.insert(key, container);
            }
        }
    }

    fn kill_failed(&mut self, key: Key, now: Instant) {
        let Some(Container { phase: Phase::Failing { call, killing, .. }, .. }) =
            self.containers.get_mut(&key)
        else {
            return;
        };
        call.reap();
        let is_dead = killing.pass_after(call, now);
        if !(is_dead || killing.has_given_up(now)) {
            return;
        }
        if !is_dead {
            note("processes of a failed create do not die");
        }
        self.look_for_orphans = true;
        let Some(container) = self.containers.remove(&key) else { return };
        if let Phase::Failing { caller, call, failure, .. } = container.phase {
            call.remove_log();
            call.remove_pid_file();
            self.refuse(container.log, caller, failure);
        }
    }

    pub(super) fn expire_containers(&mut self, now: Instant) {
        let late = |container: &Container| container.deadline().is_some_and(|at| at <= now);
        let late: Vec<Key> =
            self.containers.iter().filter(|(_, container)| late(container)).map(|(key, _)| *key).collect();
        for key in late {
            let Some(container) = self.containers.get_mut(&key) else { continue };
            match &mut container.phase {
                Phase::Opening { request, .. } => {
                    let path = request.log_path.as_ref().map(|path| path.as_path().display().to_string());
                    let words =
                        format!("opening log file {}: its disk does not answer", path.unwrap_or_default());
                    self.fail_create(key, failure(FailureKind::Io, words));
                }
                Phase::Creating { call, .. } => {
                    let words = call.words();
                    self.fail_create(key, failure(FailureKind::TimedOut, words));
                }
                Phase::Failing { .. } => self.kill_failed(key, now),
                Phase::Running { .. } => self.retry_terminal(key),
                Phase::Exited { .. } => self.expire_exited(key, now),
            }
        }
    }

    fn expire_exited(&mut self, key: Key, now: Instant) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        let Phase::Exited { drained, .. } = &mut container.phase else { return };
        let late = |at: &Instant| *at <= now;
        let is_untold = container.unrecorded.as_ref().is_some_and(|unrecorded| late(&unrecorded.until));
        match drained {
            // What it has said is still in its pipe.
            Some(at) if late(at) && container.log.is_full() => *at = now + DRAIN,
            Some(at) if late(at) => self.close_streams(key),
            None if container.last_reads.as_ref().is_some_and(late) => self.end_clients(key),
            _ => {}
        }
        if is_untold {
            note("the disk of a container's log does not answer: its exit is told without its last lines");
            self.record_exit(key);
        }
    }
}

impl Container {
    fn begin_to_run(&mut self, poll: &Poll, key: Key) -> Result<(Caller, Process), Failure> {
        let Phase::Creating { caller, call } = &mut self.phase else {
            return Err(failure(FailureKind::Io, "not being created".to_owned()));
        };
        let (process, pidfd): (Process, PidFd) = call.made()?;
        let io = |e: std::io::Error| failure(FailureKind::Io, format!("watching the container: {e}"));
        if self.has_terminal {
            let Some(terminal) = call.take_terminal() else {
                return Err(failure(FailureKind::Runtime, "it sent no terminal".to_owned()));
            };
            self.terminal_peer = sys::open_peer(&terminal).ok();
            if self.has_stdin {
                // The end of a client's input means nothing to a terminal: end of file is a character.
                let fd = terminal.try_clone().map_err(io)?;
                self.stdin = Stdin::new(fd, false, Source::new(Kind::Stdin, key), poll).map_err(io)?;
            }
            let source = Source::new(Kind::Stdout, key);
            self.streams[0] = Some(poll.watch_readable(terminal, source).map_err(io)?);
        }
        let exit = poll.watch_readable(pidfd.into(), Source::new(Kind::InitExit, key)).map_err(io)?;
        self.oom_kills = OomKills::open(self.oom_files.iter().map(Path::new), poll, key);
        let caller = *caller;
        call.remove_log();
        self.phase = Phase::Running { process, exit };
        Ok((caller, process))
    }
}

/// Our ends of a container's streams.
struct Plumbing {
    streams: [Option<Watch>; 2],
    stdin: Stdin,
}

impl Plumbing {
    /// With a terminal, only what the runtime itself says comes by pipe.
    fn new(request: &CreateCall, poll: &Poll, key: Key) -> Result<(Self, RuntimeStdio), Failure> {
        let io = |e: std::io::Error| failure(FailureKind::Io, format!("making pipes: {e}"));
        let mut stdio = RuntimeStdio::default();
        let mut plumbing = Self { streams: [None, None], stdin: Stdin::default() };
        if request.tty {
            (stdio.capture, stdio.stdout, stdio.stderr) = capture().map_err(io)?;
            return Ok((plumbing, stdio));
        }
        let stream = |kind| {
            let (ours, theirs) = output_pipe()?;
            give_away(&theirs, request.stdio_owner)?;
            Ok::<_, std::io::Error>((poll.watch_readable(ours, Source::new(kind, key))?, theirs))
        };
        let (stdout, stderr) = (stream(Kind::Stdout).map_err(io)?, stream(Kind::Stderr).map_err(io)?);
        plumbing.streams = [Some(stdout.0), Some(stderr.0)];
        (stdio.stdout, stdio.stderr) = (Some(stdout.1), Some(stderr.1));
        if request.stdin {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| io(e.into()))?;
            give_away(&theirs, request.stdio_owner).map_err(io)?;
            let source = Source::new(Kind::Stdin, key);
            plumbing.stdin = Stdin::new(ours, request.stdin_once, source, poll).map_err(io)?;
            stdio.stdin = Some(theirs);
        }
        Ok((plumbing, stdio))
    }
}

/// Root of a user namespace can pass on to its users only what is its own.
fn give_away(pipe: &OwnedFd, owner: Option<u32>) -> std::io::Result<()> {
    match owner {
        Some(id) => std::os::unix::fs::fchown(pipe, Some(id), Some(id)),
        None => Ok(()),
    }
}

/// A pipe of which only our end, the reading one, does not block.
fn output_pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

type Capture = (Option<OwnedFd>, Option<OwnedFd>, Option<OwnedFd>);

/// Our end, and the runtime's stdout and stderr.
pub(super) fn capture() -> std::io::Result<Capture> {
    let (ours, theirs) = output_pipe()?;
    let second = theirs.try_clone()?;
    Ok((Some(ours), Some(theirs), Some(second)))
}
