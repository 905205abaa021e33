//! One pod: its pause, its containers, the execs in them, and the loop that serves them.

mod attach;
mod calls;
mod create;
mod exec;
mod exit;
mod hang_up;
mod logs;
mod output;
mod pause;
mod shutdown;
mod stdin;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use linkspan_monitor::crash_point;
use linkspan_monitor::protocol::{
    Answer, Event, ExitRecord, Failure, FromMonitor, Outcome, Reply, RequestId, SOCKET_NAME,
};
use rustix::net::SocketFlags;
use rustix::time::{ClockId, clock_gettime};

use crate::args::Args;
use crate::connection::Connection;
use crate::log::Writer;
use crate::note::note;
use crate::poll::{Key, Kind, Poll, Source, Watch};
use crate::setup::Entered;
use crate::{sys, tree};
use create::Container;
use exec::Exec;
use pause::Pause;
use shutdown::Shutdown;

/// While no daemon is there, we look this often whether the pod's directory still is.
const ORPHAN_CHECK: Duration = Duration::from_secs(60);
/// How long the end of the monitor waits for the disk of the logs.
const LAST_WRITES: Duration = Duration::from_secs(1);
/// Connections that have not said hello.
const MAX_STRANGERS: usize = 8;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    connection: Key,
    id: RequestId,
}

/// Everything that the monitor knows.
pub(crate) struct Pod {
    args: Args,
    inherited_oom_score_adj: Option<String>,
    poll: Poll,
    listener: Watch,
    signals: Watch,
    connections: BTreeMap<Key, Connection>,
    /// The one daemon that is told.
    daemon: Option<Key>,
    pause: Option<Pause>,
    containers: BTreeMap<Key, Container>,
    execs: BTreeMap<Key, Exec>,
    /// Exits that were not forgotten yet.
    exits: BTreeMap<String, ExitRecord>,
    shutdown: Option<Shutdown>,
    last_key: Key,
    /// Somebody has ended whom we may have to reap.
    look_for_orphans: bool,
    /// SIGTERM came, or nobody will: the loop ends when nothing runs.
    end_when_idle: bool,
    orphan_check: Instant,
    done: bool,
    /// For all reads: one at a time.
    buffer: Vec<u8>,
    writer: Writer,
}

impl Pod {
    /// Serves until the daemon ends it, or nothing is left to serve.
    pub(crate) fn run(entered: Entered) -> io::Result<()> {
        let poll = Poll::new()?;
        let listener = poll.watch_readable(entered.listener, Source::new(Kind::Listener, 0))?;
        let signals = poll.watch_readable(entered.signals, Source::new(Kind::Signals, 0))?;
        let writer = Writer::new(&poll)?;
        let mut pod = Self {
            args: entered.args,
            inherited_oom_score_adj: entered.inherited_oom_score_adj,
            poll,
            listener,
            signals,
            connections: BTreeMap::new(),
            daemon: None,
            pause: None,
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            exits: BTreeMap::new(),
            shutdown: None,
            last_key: 0,
            look_for_orphans: false,
            end_when_idle: false,
            orphan_check: Instant::now() + ORPHAN_CHECK,
            done: false,
            buffer: Vec::new(),
            writer,
        };
        pod.admit(entered.first_connection);
        crash_point("monitor-entered");
        while !pod.done {
            pod.turn()?;
        }
        pod.writer.finish(LAST_WRITES);
        let _ = std::fs::remove_file(pod.args.pod_dir.join(SOCKET_NAME));
        drop(entered.lock);
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let timeout = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        for source in self.poll.wait(timeout)? {
            self.guarded(|pod| pod.dispatch(source));
        }
        let now = Instant::now();
        self.guarded(|pod| pod.expire_containers(now));
        self.guarded(|pod| pod.expire_execs(now));
        if self.look_for_orphans {
            self.reap_orphans();
        }
        self.guarded(|pod| pod.advance_shutdown(now));
        self.end_if_orphaned(now);
        Ok(())
    }

    /// A mistake of ours about one container must not take the others' exit codes with it.
    fn guarded(&mut self, act: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| act(self))).is_err() {
            note("went on after a panic");
        }
    }

    fn dispatch(&mut self, source: Source) {
        let key = source.key;
        match source.kind {
            Kind::Console | Kind::ConsolePeer => self.with_call(key, |call| call.advance_console()),
            Kind::Capture => self.with_call(key, |call| call.listen()),
            Kind::Stdout => self.read_stream(key, crate::log::Stream::Stdout),
            Kind::Stderr => self.read_stream(key, crate::log::Stream::Stderr),
            Kind::Stdin => self.feed_stdin(key),
            Kind::ClientStdin => self.read_client(key),
            Kind::ClientStdout => self.write_client(key, crate::log::Stream::Stdout),
            Kind::ClientStderr => self.write_client(key, crate::log::Stream::Stderr),
            Kind::Memory => self.count_oom_kills(key),
            Kind::LogWriter => self.hear_writer(),
            Kind::Listener => self.accept(),
            Kind::Connection => self.serve(key),
            Kind::Signals => self.take_signals(),
            Kind::RuntimeExit => self.runtime_ended(key),
            Kind::ExecExit => self.exec_ended(key),
            Kind::InitExit => self.init_ended(key),
            Kind::PauseExit => self.pause_ended(),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let containers = self.containers.values().filter_map(Container::deadline);
        let execs = self.execs.values().filter_map(Exec::deadline);
        let orphan_check = self.daemon.is_none().then_some(self.orphan_check);
        let shutdown = self.shutdown.as_ref().map(Shutdown::deadline);
        containers.chain(execs).chain(orphan_check).chain(shutdown).min()
    }

    fn new_key(&mut self) -> Key {
        self.last_key += 1;
        self.last_key
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = rustix::net::accept_with(self.listener.as_fd(), flags) {
            let strangers = self.connections.values().filter(|connection| !connection.greeted).count();
            if strangers < MAX_STRANGERS {
                self.admit(socket);
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd) {
        let key = self.new_key();
        match Connection::new(socket, &self.poll, key) {
            Ok(connection) => drop(self.connections.insert(key, connection)),
            Err(e) => note(&format!("taking a connection: {e}")),
        }
    }

    /// What must not outlive its caller goes with the connection.
    fn drop_connection(&mut self, key: Key) {
        self.connections.remove(&key);
        if self.daemon == Some(key) {
            self.daemon = None;
            self.orphan_check = Instant::now();
        }
        if self.connections.is_empty() && !self.has_begun() {
            // The daemon died before it had anything done here. The next one may have looked for a monitor before this one
            // could be found: nobody else ends it.
            self.end_when_idle = true;
        }
        self.hang_up_execs_of(key);
        self.detach_clients_of(key);
    }

    fn reply(&mut self, caller: Caller, outcome: Result<Answer, Failure>) {
        let outcome = match outcome {
            Ok(answer) => Outcome::Ok(answer),
            Err(failure) => Outcome::Err(failure),
        };
        let message = FromMonitor::Reply(Reply { id: caller.id, outcome });
        self.send(caller.connection, &message, None);
    }

    fn tell(&mut self, event: Event) {
        if let Some(daemon) = self.daemon {
            self.send(daemon, &FromMonitor::Event(event), None);
        }
    }

    /// A caller whose connection is gone gets no answer; its successor learns the state by its hello.
    fn send(&mut self, key: Key, message: &FromMonitor, fd: Option<OwnedFd>) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if connection.send(message, fd).is_err() {
            self.drop_connection(key);
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = sys::next_signal(self.signals.as_fd()) {
            match signal {
                libc::SIGCHLD => self.look_for_orphans = true,
                // Whoever ends the machine sends it to all; ours is to outlive what we watch.
                libc::SIGTERM | libc::SIGINT => self.end_when_idle = true,
                _ => {}
            }
        }
    }

    /// Reaps what was left to us by its parents. Never a child that somebody has a name for: its exit code would be
    /// gone. While a runtime runs, any unknown child may be the one whose PID we are about to read.
    fn reap_orphans(&mut self) {
        loop {
            let Some(pid) = sys::peek_ended_child() else {
                self.look_for_orphans = false;
                return;
            };
            if self.is_known(pid) {
                // Its own descriptor has told already, or will in the next turn; then we come back.
                return;
            }
            if self.runtimes_run() {
                return;
            }
            let Some(pid) = rustix::process::Pid::from_raw(pid) else { return };
            let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG;
            let _ = rustix::process::waitid(rustix::process::WaitId::Pid(pid), options);
        }
    }

    fn runtimes_run(&self) -> bool {
        let creating = self.containers.values().any(|container| container.runtime_pid().is_some());
        creating || self.execs.values().any(|exec| exec.runtime_pid().is_some())
    }

    fn is_known(&self, pid: i32) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.awaits(pid))
            || self.containers.values().any(|container| container.awaits(pid))
            || self.execs.values().any(|exec| exec.awaits(pid))
    }

    /// Whether there is, or was, anything that somebody may ask for.
    fn has_begun(&self) -> bool {
        let nothing = self.containers.is_empty() && self.execs.is_empty() && self.exits.is_empty();
        self.pause.is_some() || !nothing
    }

    fn is_idle(&self) -> bool {
        self.is_over() && !self.containers.values().any(Container::is_active)
    }

    /// Nothing runs; the disk may still have to take what was said.
    fn is_over(&self) -> bool {
        let paused = self.pause.as_ref().is_some_and(Pause::is_running);
        let execs_run = self.execs.values().any(Exec::is_active);
        let active = |container: &Container| container.is_active() && !container.waits_for_its_log();
        !paused && !execs_run && !self.containers.values().any(active)
    }

    /// A monitor that nobody can find any more, with nothing to watch, ends.
    fn end_if_orphaned(&mut self, now: Instant) {
        let unreachable = self.daemon.is_none() && now >= self.orphan_check && {
            self.orphan_check = now + ORPHAN_CHECK;
            !self.args.pod_dir.join(SOCKET_NAME).exists()
        };
        if (unreachable || self.end_when_idle) && self.is_idle() && !tree::has_children() {
            self.done = true;
        }
    }
}

/// Wall clock, nanoseconds since the epoch.
fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}
