//! The client of a pod's monitor: the process that is the parent of all that runs in the pod.
//!
//! ```text
//! Monitor (handle, Clone) ──calls──▶ connection task ──seqpacket socket──▶ linkspan-monitor
//!        subscribers      ◀─events──
//! ```
//!
//! Dropping the future of a call does not undo the call: the monitor goes on. Dropping every handle closes the
//! connection and leaves the monitor and its pod as they are.

mod connection;
mod request;
mod spawn;
pub(crate) mod sys;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use linkspan_monitor::protocol::PAUSE;
use linkspan_monitor::protocol::{self, Answer, AttachCall, Call, FailureKind, HelloAnswer};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::process::Process;
use crate::runtime::{means_not_begun, until_begun};
use crate::terminal::TerminalSize;
use crate::{Error, Timestamp};
use connection::Connection;
pub use request::{AttachStdio, CreateRequest, ExecRequest, ExecStdio, MonitorSpec, PauseSpec};

/// For calls that only touch the monitor's own files.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries to connect that fail for a reason of ours; twice as long after each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What the monitor gets on top of a deadline that it keeps itself: killing and collecting takes time.
const SLACK: Duration = Duration::from_secs(15);
/// What a monitor that has nothing else to do is given for an answer, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(3);
/// For the runtime's part of an exec: the kubelet's own limit for a CRI call.
const EXEC_RUNTIME_DEADLINE: Duration = Duration::from_secs(120);

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 128 + n for signal n; 255 if nobody can know.
    pub code: i32,
    pub at: Timestamp,
    /// Killed by the kernel for lack of memory.
    pub oom_killed: bool,
    /// Bytes of its output that its log could not take.
    #[serde(default)]
    pub log_bytes_dropped: u64,
}

impl From<&protocol::ExitRecord> for Exit {
    fn from(record: &protocol::ExitRecord) -> Self {
        Self {
            code: record.code,
            at: Timestamp(record.at_ns),
            oom_killed: record.oom_killed,
            log_bytes_dropped: record.log_bytes_dropped,
        }
    }
}

/// How an exec'd process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecExit {
    /// 128 + n for signal n.
    pub code: i32,
    /// Its timeout passed: it and all that it had started are dead.
    pub timed_out: bool,
}

/// What a monitor tells unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A container's init ended, or pause ([`protocol::PAUSE`]); the record is on disk already.
    Exited { container_id: String, exit: Exit },
    /// The kernel killed a process of the container for lack of memory; the container may go on.
    Oom { container_id: String },
    /// The monitor died, or its connection was taken over. Nothing comes after it.
    Lost,
}

/// A container as the monitor knows it when a daemon connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownContainer {
    pub container_id: String,
    /// None while the runtime's `create` still runs.
    pub process: Option<Process>,
    pub exit: Option<Exit>,
}

/// A handle to one pod's monitor.
#[derive(Clone, Debug)]
pub struct Monitor {
    connection: Arc<Connection>,
    hello: Arc<HelloAnswer>,
    pod_dir: Arc<PathBuf>,
}

impl Monitor {
    /// Starts the monitor of a new pod; it lives on when the daemon dies, and is reaped if the daemon lives.
    ///
    /// # Errors
    /// If the binary cannot be started, or ends at once: with what it said.
    pub async fn spawn(spec: &MonitorSpec) -> Result<Self, Error> {
        spawn::spawn(spec).await
    }

    /// Connects to the monitor of a pod that an earlier daemon left. Replaces that daemon's connection.
    ///
    /// # Errors
    /// [`Error::MonitorLost`] if there is none, or it is dead; [`Error::TimedOut`] if it does not answer;
    /// [`Error::Io`] for want of descriptors, or with too many who wait to be let in.
    pub async fn connect(pod_dir: &Path) -> Result<Self, Error> {
        Self::greet(Self::dial(pod_dir)?, pod_dir, connecting(pod_dir), Some(CALL_DEADLINE)).await
    }

    /// [`Self::connect`], however long the monitor takes to answer: one that is silent waits for something, and one that
    /// is dead says so by its socket. What fails of ours is tried again. Dropping the future leaves the monitor as it is.
    ///
    /// # Errors
    /// [`Error::MonitorLost`] if there is none, or it is dead; [`Error::MonitorRefused`] or [`Error::Monitor`] if it does
    /// not want us.
    pub async fn reach(pod_dir: &Path) -> Result<Self, Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            let failed = match Self::dial(pod_dir) {
                // Its connection alone may be lost: if the monitor is too, the next call says so.
                Ok(socket) => match Self::greet(socket, pod_dir, connecting(pod_dir), None).await {
                    Err(error @ (Error::MonitorLost { .. } | Error::Io { .. })) => error,
                    answer => return answer,
                },
                Err(lost @ Error::MonitorLost { .. }) => return Err(lost),
                Err(error) => error,
            };
            tracing::warn!(error = %failed, again_in = ?pause, "no connection to a monitor yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whoever listens is alive.
    fn dial(pod_dir: &Path) -> Result<std::os::fd::OwnedFd, Error> {
        protocol::connect(pod_dir).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                Error::MonitorLost { what: connecting(pod_dir), reason: source.to_string() }
            }
            _ => Error::Io { what: connecting(pod_dir), source },
        })
    }

    async fn greet(
        socket: std::os::fd::OwnedFd,
        pod_dir: &Path,
        what: String,
        deadline: Option<Duration>,
    ) -> Result<Self, Error> {
        let connection = Arc::new(Connection::open(socket)?);
        let hello = Call::Hello(protocol::HelloCall {
            version: protocol::VERSION,
            oldest_version: protocol::OLDEST_VERSION,
        });
        match connection.call(what.clone(), hello, Vec::new(), deadline).await? {
            Answer::Hello(hello) => {
                connection.learn_exits(&hello.exits);
                Ok(Self { connection, hello: Arc::new(hello), pod_dir: Arc::new(pod_dir.to_path_buf()) })
            }
            answer => Err(unexpected(what, &answer)),
        }
    }

    /// The monitor's own process.
    #[must_use]
    pub fn process(&self) -> Process {
        self.hello.monitor
    }

    /// Pause, as it was when this connection was made.
    #[must_use]
    pub fn pause(&self) -> Option<Process> {
        self.hello.pause
    }

    /// The sandbox that the monitor was started for.
    #[must_use]
    pub fn sandbox_id(&self) -> &str {
        &self.hello.sandbox_id
    }

    /// The containers as they were when this connection was made; what happened since is in the events.
    #[must_use]
    pub fn containers(&self) -> Vec<KnownContainer> {
        let exit_of =
            |id: &str| self.hello.exits.iter().find(|record| record.container_id == id).map(Exit::from);
        self.hello
            .containers
            .iter()
            .map(|state| KnownContainer {
                container_id: state.container_id.clone(),
                process: state.process,
                exit: exit_of(&state.container_id),
            })
            .collect()
    }

    /// Events from now on. Exits that are known already come first, so that none is missed between two calls;
    /// one may therefore come twice.
    #[must_use]
    pub fn subscribe(&self) -> UnboundedReceiver<Event> {
        self.connection.subscribe()
    }

    /// Starts pause.
    ///
    /// # Errors
    /// If a namespace or cgroup cannot be entered; it is not running then.
    pub async fn start_pause(&self, spec: PauseSpec) -> Result<Process, Error> {
        let what = self.what("starting pause");
        let call = Call::StartPause(spec.into());
        let answer = self.connection.call(what.clone(), call, Vec::new(), Some(CALL_DEADLINE)).await?;
        started(what, answer)
    }

    /// Runs the runtime's `create`; returns the container's init, which waits for the runtime's `start`.
    ///
    /// # Errors
    /// With the runtime's own words. Nothing of the container is left then but what the runtime's `delete --force`
    /// removes: no process, no log file that was not there before.
    pub async fn create(&self, request: CreateRequest) -> Result<Process, Error> {
        let what = format!("creating container {}", request.container_id);
        let deadline = request.deadline;
        let verb = if request.restores { "restore" } else { "create" };
        let context = request::context(&request.command, verb, &request.container_id, deadline);
        let call = Call::Create(request.into());
        let answer = until_begun(
            || self.connection.call(what.clone(), call.clone(), Vec::new(), Some(deadline + SLACK)),
            |answer| matches!(answer, Err(Error::MonitorRefused { message, .. }) if means_not_begun(message)),
        )
        .await;
        started(what, answer.map_err(|e| context.explain(e))?)
    }

    /// Runs a process in a container and waits for its end. Its bytes do not pass through the monitor. If the daemon
    /// dies meanwhile, a process without a terminal runs on, until its timeout at most, unless it
    /// [`ends_with_caller`](ExecRequest::ends_with_caller); the going of its [`Terminal`](crate::Terminal) hangs up one
    /// that has one. Dropping the future changes nothing for the process; [`Self::hang_up_exec`] ends it.
    ///
    /// # Errors
    /// If the runtime cannot start it: with the runtime's own words. [`Error::TimedOut`] if its timeout has passed and the
    /// monitor, which is to end it then, does not answer.
    pub async fn exec(&self, request: ExecRequest, stdio: ExecStdio) -> Result<ExecExit, Error> {
        let what = format!("exec {} in container {}", request.exec_id, request.container_id);
        let deadline = request.timeout.map(|timeout| timeout + EXEC_RUNTIME_DEADLINE + SLACK);
        let context =
            request::context(&request.command, "exec", &request.container_id, EXEC_RUNTIME_DEADLINE);
        if let (Some(id), ExecStdio::Pipes { stdin, stdout, stderr }) = (request.stdio_owner, &stdio) {
            for pipe in [stdin, stdout, stderr].into_iter().flatten() {
                std::os::unix::fs::fchown(pipe, Some(id), Some(id))
                    .map_err(Error::io(format!("{what}: giving away a pipe")))?;
            }
        }
        let timeout = request.timeout;
        let (call, fds, terminal) = request.into_call(stdio, EXEC_RUNTIME_DEADLINE);
        let answer = tokio::select! {
            biased;
            answer = self.connection.exec(what.clone(), call, fds, terminal, deadline) => answer,
            after = self.silent_after(timeout) => {
                let what = format!("{what}, whose monitor does not answer,");
                Err(Error::TimedOut { what, after })
            }
        };
        match answer.map_err(|e| context.explain(e))? {
            Answer::ExecEnded { code, timed_out } => Ok(ExecExit { code, timed_out }),
            answer => Err(unexpected(what, &answer)),
        }
    }

    /// Whether it lives and does nothing: it is stopped, or stuck in the kernel.
    async fn is_silent(&self) -> bool {
        // Nobody has this name: the answer comes at once.
        let call = Call::EndStdin { container_id: String::new(), attach_id: String::new() };
        let answer = self.done(self.what("asking whether anybody is there"), call, PATIENCE).await;
        matches!(answer, Err(Error::TimedOut { .. }))
    }

    /// Resolves once `after` has passed and it is silent; without a time never.
    async fn silent_after(&self, after: Option<Duration>) -> Duration {
        let Some(after) = after else { return std::future::pending().await };
        tokio::time::sleep(after).await;
        while !self.is_silent().await {
            tokio::time::sleep(PATIENCE).await;
        }
        after
    }

    /// The client of an exec has left: its process gets SIGHUP with all that it has started, and what is left of them
    /// `grace` later is killed. Returns at once; the pending [`Self::exec`] tells the end. One that is unknown, or has
    /// ended, is fine.
    ///
    /// # Errors
    /// [`Error::MonitorLost`], [`Error::TimedOut`].
    pub async fn hang_up_exec(&self, exec_id: &str, grace: Duration) -> Result<(), Error> {
        let what = self.what(&format!("hanging up exec {exec_id}"));
        let call = Call::HangUpExec { exec_id: exec_id.to_owned(), grace_ms: request::milliseconds(grace) };
        self.done(what, call, CALL_DEADLINE).await
    }

    /// Joins a running container's streams: its output from now on, and its stdin if it was created with one. Ends
    /// when the output has ended and was delivered, or when our ends of all descriptors are gone, so that dropping
    /// those detaches. A reader that does not keep up holds up neither the container nor its log, and is ended with an
    /// error; but a container with `stdin_once` waits for its only client. With a terminal all output comes on stdout.
    /// Several clients may write to stdin: a chunk of one, then a chunk of the other. `attach_id` is unique in the pod.
    ///
    /// # Errors
    /// [`Error::NotRunning`] if the container has exited; [`Error::MonitorRefused`] if it is unknown, too many are
    /// attached, or this one read too slowly: it says how many bytes did not fit any more.
    pub async fn attach(&self, container_id: &str, attach_id: &str, stdio: AttachStdio) -> Result<(), Error> {
        let what = format!("attaching to container {container_id}");
        let call = Call::Attach(AttachCall {
            container_id: container_id.to_owned(),
            attach_id: attach_id.to_owned(),
            has_stdin: stdio.stdin.is_some(),
            has_stdout: stdio.stdout.is_some(),
            has_stderr: stdio.stderr.is_some(),
        });
        let fds = [stdio.stdin, stdio.stdout, stdio.stderr].into_iter().flatten().collect();
        let outcome = match self.connection.call(what.clone(), call, fds, None).await {
            Ok(Answer::Done) => Ok(()),
            Ok(answer) => Err(unexpected(what, &answer)),
            Err(e) => Err(e),
        };
        outcome.map_err(|e| not_running(container_id, e))
    }

    /// An attached client has ended its input, or left: what its pipe still holds is delivered, and then the
    /// container's stdin is closed if it was created with `stdin_once` and has no terminal. To be called before our end
    /// of the pipe is closed: without this the end of the pipe means nothing, for a daemon that dies ends no
    /// container's input. One that is unknown is fine.
    ///
    /// # Errors
    /// [`Error::MonitorLost`], [`Error::TimedOut`].
    pub async fn end_stdin(&self, container_id: &str, attach_id: &str) -> Result<(), Error> {
        let what = format!("ending a client's input to container {container_id}");
        let call = Call::EndStdin { container_id: container_id.to_owned(), attach_id: attach_id.to_owned() };
        self.done(what, call, CALL_DEADLINE).await
    }

    /// Sets the window size of the container's own terminal; its foreground processes get SIGWINCH.
    ///
    /// # Errors
    /// [`Error::NotRunning`] if it has exited; [`Error::MonitorRefused`] if it is unknown, or has no terminal.
    pub async fn resize(&self, container_id: &str, size: TerminalSize) -> Result<(), Error> {
        let what = format!("resizing the terminal of container {container_id}");
        let TerminalSize { columns, rows } = size;
        let call = Call::Resize { container_id: container_id.to_owned(), columns, rows };
        self.done(what, call, CALL_DEADLINE).await.map_err(|e| not_running(container_id, e))
    }

    /// Opens the log file anew; when this returns the new file is there and the old one gets no more writes.
    ///
    /// # Errors
    /// [`Error::NotRunning`] if the container has exited; [`Error::MonitorRefused`] if it is unknown, or the file
    /// cannot be opened.
    pub async fn reopen_log(&self, container_id: &str) -> Result<(), Error> {
        let what = format!("reopening the log of container {container_id}");
        let call = Call::ReopenLog { container_id: container_id.to_owned() };
        self.done(what, call, CALL_DEADLINE).await.map_err(|e| not_running(container_id, e))
    }

    /// The container was removed: its exit record and descriptors go. An unknown one is fine, and so is a monitor that ends.
    ///
    /// # Errors
    /// [`Error::StillRuns`]; if the record cannot be removed.
    pub async fn forget(&self, container_id: &str) -> Result<(), Error> {
        let what = format!("forgetting container {container_id}");
        let call = Call::Forget { container_id: container_id.to_owned() };
        self.connection.forget_exit(container_id);
        match self.done(what, call, CALL_DEADLINE).await {
            Err(Error::MonitorRefused { kind: FailureKind::AlreadyExists, .. }) => {
                Err(Error::StillRuns { id: container_id.to_owned() })
            }
            // With its pod it forgets all.
            Err(Error::MonitorRefused { kind: FailureKind::ShuttingDown, .. }) => Ok(()),
            done => done,
        }
    }

    /// Kills what is left of the pod, and ends the monitor. When this returns the process is gone, and its socket.
    /// A monitor that is gone already is fine.
    ///
    /// # Errors
    /// [`Error::MonitorRefused`] if something would not die; [`Error::TimedOut`] if the monitor does not answer, or does not
    /// end. It may be repeated.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let what = self.what("ending the monitor");
        self.connection.expect_the_end();
        if self.is_silent().await {
            return Err(Error::TimedOut { what, after: PATIENCE });
        }
        match self.done(what.clone(), Call::Shutdown, SLACK).await {
            Ok(()) | Err(Error::MonitorLost { .. }) => {}
            Err(e) => return Err(e),
        }
        spawn::wait_until_gone(self.process(), what, CALL_DEADLINE).await
    }

    /// Kills the monitor alone, which does not answer. What it was the parent of stays.
    ///
    /// # Errors
    /// [`Error::TimedOut`] if it does not die: it is stuck in the kernel.
    pub async fn kill(&self) -> Result<(), Error> {
        let what = self.what("killing the monitor");
        self.connection.expect_the_end();
        self.process().signal(libc::SIGKILL).map_err(Error::io(what.clone()))?;
        spawn::wait_until_gone(self.process(), what, CALL_DEADLINE).await
    }

    async fn done(&self, what: String, call: Call, deadline: Duration) -> Result<(), Error> {
        match self.connection.call(what.clone(), call, Vec::new(), Some(deadline)).await? {
            Answer::Done => Ok(()),
            answer => Err(unexpected(what, &answer)),
        }
    }

    fn what(&self, doing: &str) -> String {
        format!("{doing} in {}", self.pod_dir.display())
    }
}

/// Our pause, as a static program for this machine.
#[must_use]
pub fn pause_program() -> &'static [u8] {
    linkspan_monitor::PAUSE_PROGRAM
}

/// How a container ended, from its record: works with no monitor alive.
///
/// # Errors
/// If there is a record that cannot be read.
pub fn read_exit(pod_dir: &Path, container_id: &str) -> Result<Option<Exit>, Error> {
    protocol::read_exit(pod_dir, container_id)
        .map(|record| record.as_ref().map(Exit::from))
        .map_err(Error::io(format!("reading the exit record of {container_id} in {}", pod_dir.display())))
}

fn connecting(pod_dir: &Path) -> String {
    format!("connecting to the monitor of {}", pod_dir.display())
}

fn not_running(container_id: &str, error: Error) -> Error {
    match error {
        Error::MonitorRefused { kind: FailureKind::NotRunning, .. } => {
            Error::NotRunning { id: container_id.to_owned() }
        }
        error => error,
    }
}

fn started(what: String, answer: Answer) -> Result<Process, Error> {
    match answer {
        Answer::Started(process) => Ok(process),
        answer => Err(unexpected(what, &answer)),
    }
}

fn unexpected(what: String, answer: &Answer) -> Error {
    Error::Monitor { what, message: format!("an answer to another question: {answer:?}") }
}
