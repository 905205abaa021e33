//! Processes exec'd in containers.
//!
//! ```text
//! Starting ─runtime ends well─▶ Running ─process ends─▶ Ended ─▶ answered
//!    └────────timeout──────────────┴─▶ killing, until the whole tree is dead ─▶ answered
//! ```
//!
//! No byte of an exec passes through here: its process has the daemon's own pipes, or a terminal whose master end is
//! handed over to the daemon.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use linkspan_monitor::protocol::{Answer, Event, ExecCall, Failure, FailureKind, FromMonitor, Process};

use super::hang_up::HangUp;
use super::{Caller, Pod, create};
use crate::note::note;
use crate::poll::{Key, Kind, Poll, Source, Watch};
use crate::runtime_call::{Killing, RuntimeCall, RuntimeSpec, RuntimeStdio, failure, wait_code};
use crate::sys;
use crate::tree::{PipeId, Streams, Tree, pipe_id};

const KILLED: i32 = 137;

pub(super) struct Exec {
    pub(super) exec_id: String,
    container_id: String,
    /// The container's.
    init: Option<Process>,
    /// None once answered, while the rest of a tree that was hung up may still live.
    pub(super) caller: Option<Caller>,
    pub(super) ends_with_caller: bool,
    pub(super) phase: Phase,
    timeout: Option<Instant>,
    timed_out: bool,
    pub(super) killing: Option<Killing>,
    pub(super) hang_up: Option<HangUp>,
    /// Why it never ran; told once what it left is dead.
    refused: Option<Failure>,
    /// Those that the daemon gave it.
    pipes: Vec<PipeId>,
    /// Those, once it runs.
    streams: Option<Streams>,
    has_terminal: bool,
    /// While the process runs, see [`sys::open_peer`]. It does not keep the hang-up from anybody.
    terminal_peer: Option<OwnedFd>,
}

pub(super) enum Phase {
    Starting(Box<RuntimeCall>),
    Running {
        process: Process,
        exit: Watch,
    },
    /// Reaped; the rest of its tree may still have to be killed.
    Ended {
        code: i32,
    },
}

impl Exec {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let own = match &self.phase {
            _ if self.killing.is_some() => self.killing.as_ref().map(|killing| killing.next),
            Phase::Starting(call) => Some(call.deadline),
            Phase::Running { .. } | Phase::Ended { .. } => None,
        };
        let timeout = self.timeout.filter(|_| self.killing.is_none() && self.is_active());
        own.into_iter().chain(timeout).chain(self.kill_at()).min()
    }

    /// Whether somebody waits for its end.
    pub(super) fn is_active(&self) -> bool {
        self.caller.is_some()
    }

    fn kill_at(&self) -> Option<Instant> {
        self.hang_up.as_ref().filter(|_| self.killing.is_none()).map(|hang_up| hang_up.kill_at)
    }

    pub(super) fn runtime_pid(&self) -> Option<i32> {
        if let Phase::Starting(call) = &self.phase { call.pid() } else { None }
    }

    pub(super) fn awaits(&self, pid: i32) -> bool {
        let running = matches!(&self.phase, Phase::Running { process, .. } if process.pid == pid);
        running || self.runtime_pid() == Some(pid)
    }

    pub(super) fn call(&mut self) -> Option<&mut RuntimeCall> {
        if let Phase::Starting(call) = &mut self.phase { Some(call) } else { None }
    }

    /// What there is to hang up or to kill.
    pub(super) fn tree(&mut self) -> Option<Tree> {
        if let Some(known) = self.hang_up.as_mut().and_then(|hang_up| hang_up.tree.take()) {
            return Some(known);
        }
        match &self.phase {
            Phase::Starting(call) => {
                // Its own cgroup is not known yet.
                let streams = self.init.and_then(|init| Streams::new(&self.pipes, init));
                Some(call.tree().with_streams(streams.as_ref()))
            }
            Phase::Running { process, .. } => Some(Tree::of(*process).with_streams(self.streams.as_ref())),
            Phase::Ended { .. } => None,
        }
    }
}

impl Pod {
    /// Starts the runtime; the caller is answered when the process has ended.
    pub(super) fn exec(
        &mut self,
        caller: Caller,
        request: &ExecCall,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        let (_, container) = self.running(&request.container_id)?;
        let init = container.process();
        let io = |e: std::io::Error| failure(FailureKind::Io, format!("making a pipe: {e}"));
        let pipes = fds.iter().filter_map(pipe_id).collect();
        let mut given = fds.into_iter();
        let mut next = |is_passed: bool| if is_passed { given.next() } else { None };
        let mut stdio = RuntimeStdio {
            stdin: next(request.has_stdin),
            stdout: next(request.has_stdout),
            stderr: next(request.has_stderr),
            capture: None,
        };
        if request.tty {
            stdio.stdin = None;
            (stdio.capture, stdio.stdout, stdio.stderr) = create::capture().map_err(io)?;
        }
        let spec = RuntimeSpec {
            command: &request.command,
            cwd: request.cwd.as_path(),
            pid_file: request.pid_file.as_path(),
            runtime_log: request.runtime_log.as_path(),
            console_socket: request.console_socket.as_ref().filter(|_| request.tty).map(|p| p.as_path()),
            deadline: Duration::from_millis(request.deadline_ms),
            oom_score_adj: self.inherited_oom_score_adj.clone(),
        };
        let key = self.new_key();
        let call = RuntimeCall::start(&spec, stdio, &self.poll, key)?;
        let exec = Exec {
            exec_id: request.exec_id.clone(),
            container_id: request.container_id.clone(),
            init,
            caller: Some(caller),
            ends_with_caller: request.ends_with_caller,
            phase: Phase::Starting(Box::new(call)),
            timeout: request.timeout_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms))),
            timed_out: false,
            killing: None,
            hang_up: None,
            refused: None,
            pipes,
            streams: None,
            has_terminal: request.tty,
            terminal_peer: None,
        };
        self.execs.insert(key, exec);
        Ok(())
    }

    /// The runtime's `exec` has ended; the process runs, or never will.
    pub(super) fn exec_started(&mut self, key: Key) {
        let Some(exec) = self.execs.get_mut(&key) else { return };
        let Phase::Starting(call) = &mut exec.phase else { return };
        let Some(code) = call.reap() else { return };
        self.look_for_orphans = true;
        if exec.killing.is_some() {
            return;
        }
        call.listen();
        let begun = match code {
            0 => exec.begin_to_run(&self.poll, key),
            code => Err(call.refused(code)),
        };
        match begun {
            Ok(terminal) => self.exec_runs(key, terminal),
            // A runtime may fail, or be killed, when its process runs already.
            Err(refused) => {
                exec.refused = Some(refused);
                self.kill_exec(key);
            }
        }
    }

    /// If the caller's connection is gone, so is the terminal: its process is hung up by that.
    fn exec_runs(&mut self, key: Key, terminal: Option<OwnedFd>) {
        let Some(exec) = self.execs.get_mut(&key) else { return };
        exec.hang_up_as_due();
        if let (Some(terminal), Some(caller)) = (terminal, exec.caller) {
            let event = Event::ExecTerminal { exec_id: exec.exec_id.clone() };
            self.send(caller.connection, &FromMonitor::Event(event), Some(terminal));
        }
    }

    pub(super) fn exec_ended(&mut self, key: Key) {
        let Some(exec) = self.execs.get_mut(&key) else { return };
        let Phase::Running { exit, .. } = &exec.phase else { return };
        let Some(code) = wait_code(exit) else { return };
        self.look_for_orphans = true;
        exec.phase = Phase::Ended { code };
        exec.terminal_peer = None;
        if exec.killing.is_none() {
            self.answer_exec(key, Ok(code));
        }
    }

    /// Those of a container that have ended, whatever order their exits are told in by the kernel.
    pub(super) fn finish_ended_execs(&mut self, container_id: &str) {
        for key in self.execs_of(container_id) {
            self.exec_ended(key);
        }
    }

    /// The container is dead: what still runs in it, in a PID namespace that it shares, goes too.
    pub(super) fn kill_execs(&mut self, container_id: &str) {
        for key in self.execs_of(container_id) {
            self.kill_exec(key);
        }
    }

    fn execs_of(&self, container_id: &str) -> Vec<Key> {
        let own = self.execs.iter().filter(|(_, exec)| exec.container_id == container_id);
        own.map(|(key, _)| *key).collect()
    }

    pub(super) fn kill_exec(&mut self, key: Key) {
        let Some(exec) = self.execs.get_mut(&key) else { return };
        if exec.killing.is_none()
            && let Some(tree) = exec.tree()
        {
            let now = Instant::now();
            exec.killing = Some(Killing::new(tree, now));
            self.kill_on(key, now);
        }
    }

    fn kill_on(&mut self, key: Key, now: Instant) {
        let Some(exec) = self.execs.get_mut(&key) else { return };
        let Some(killing) = &mut exec.killing else { return };
        let (is_dead, code) = match &mut exec.phase {
            Phase::Starting(call) => {
                call.reap();
                (killing.pass_after(call, now), Some(KILLED))
            }
            Phase::Running { exit, .. } => (killing.pass(now), wait_code(exit)),
            Phase::Ended { code } => (killing.pass(now), Some(*code)),
        };
        if let (Phase::Running { .. }, Some(code)) = (&exec.phase, code) {
            exec.phase = Phase::Ended { code };
        }
        self.look_for_orphans = true;
        match code {
            Some(code) if is_dead => self.answer_exec(key, Ok(code)),
            _ if killing_is_over(exec, now) => {
                note("processes of an exec do not die");
                self.answer_exec(key, Ok(code.unwrap_or(KILLED)));
            }
            _ => {}
        }
    }

    pub(super) fn expire_execs(&mut self, now: Instant) {
        let late = |exec: &Exec| exec.deadline().is_some_and(|at| at <= now);
        let late: Vec<Key> = self.execs.iter().filter(|(_, exec)| late(exec)).map(|(key, _)| *key).collect();
        for key in late {
            let Some(exec) = self.execs.get_mut(&key) else { continue };
            let is_hung_up = exec.kill_at().is_some_and(|at| at <= now);
            match &mut exec.phase {
                _ if exec.killing.is_some() => self.kill_on(key, now),
                Phase::Ended { code } => {
                    let code = *code;
                    self.kill_exec(key);
                    if self.execs.get(&key).is_some_and(|exec| exec.killing.is_none()) {
                        self.answer_exec(key, Ok(code));
                    }
                }
                _ if is_hung_up => self.kill_exec(key),
                _ if exec.timeout.is_some_and(|at| at <= now) => {
                    exec.timed_out = true;
                    self.kill_exec(key);
                }
                Phase::Starting(call) => {
                    let words = call.words();
                    exec.refused = Some(failure(FailureKind::TimedOut, words));
                    self.kill_exec(key);
                }
                Phase::Running { .. } => {}
            }
        }
    }

    /// The exec is over, but for those that it left when it was hung up.
    fn answer_exec(&mut self, key: Key, outcome: Result<i32, Failure>) {
        let Some(exec) = self.execs.get_mut(&key) else { return };
        if let Phase::Starting(call) = &exec.phase {
            call.remove_log();
            call.remove_pid_file();
        }
        let timed_out = exec.timed_out;
        let outcome = exec.refused.take().map_or(outcome, Err);
        let caller = exec.caller.take();
        if !exec.has_left_others() {
            self.execs.remove(&key);
        }
        if let Some(caller) = caller {
            self.reply(caller, outcome.map(|code| Answer::ExecEnded { code, timed_out }));
        }
    }
}

fn killing_is_over(exec: &Exec, now: Instant) -> bool {
    exec.killing.as_ref().is_some_and(|killing| killing.has_given_up(now))
}

impl Exec {
    /// Returns its terminal, if it has one.
    fn begin_to_run(&mut self, poll: &Poll, key: Key) -> Result<Option<OwnedFd>, Failure> {
        let Phase::Starting(call) = &mut self.phase else { return Ok(None) };
        let (process, pidfd) = call.made()?;
        let io = |e: std::io::Error| failure(FailureKind::Io, format!("watching the process: {e}"));
        let mut terminal = None;
        if self.has_terminal {
            terminal = call.take_terminal();
            let Some(terminal) = &terminal else {
                return Err(failure(FailureKind::Runtime, "it sent no terminal".to_owned()));
            };
            self.terminal_peer = sys::open_peer(terminal).ok();
        }
        let exit = poll.watch_readable(pidfd.into(), Source::new(Kind::ExecExit, key)).map_err(io)?;
        call.remove_log();
        call.remove_pid_file();
        self.streams = Streams::new(&self.pipes, process);
        self.phase = Phase::Running { process, exit };
        Ok(terminal)
    }
}
