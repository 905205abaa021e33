//! What is asked of a monitor, and how its refusals read.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linkspan_monitor::protocol::{CreateCall, ExecCall, FailureKind, PauseCall, Text};
use tokio::sync::oneshot;

use crate::Error;
use crate::terminal::Terminal;

/// A monitor to start.
#[derive(Clone, Debug)]
pub struct MonitorSpec {
    /// The `linkspan-monitor` binary.
    pub binary: PathBuf,
    /// `<run>/pods/<id>`: must exist; socket, exit records and `monitor.log` go there.
    pub pod_dir: PathBuf,
    pub sandbox_id: String,
    /// `cgroup.procs` files of the groups to enter: outside the pod's memory limit and the daemon's service.
    pub cgroup_procs: Vec<PathBuf>,
    /// For the monitor alone; what it starts gets the daemon's own value back.
    pub oom_score_adj: Option<i32>,
    /// Longer lines are split in the log.
    pub max_log_line_bytes: usize,
}

/// A pause to start.
#[derive(Clone, Debug, Default)]
pub struct PauseSpec {
    /// Namespaces to join, as files. In the user namespace it is root, and a new PID namespace is owned by it.
    pub user: Option<PathBuf>,
    pub network: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
    /// Whether it is PID 1 of a new PID namespace.
    pub new_pid: bool,
    /// `cgroup.procs` files of the pod's groups.
    pub cgroup_procs: Vec<PathBuf>,
    pub oom_score_adj: Option<i32>,
}

/// A container to create.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    pub container_id: String,
    /// From [`crate::Runtime::create_command`], or [`crate::Runtime::restore_command`].
    pub command: Vec<OsString>,
    /// The latter: the container runs at once.
    pub restores: bool,
    /// The runtime's working directory.
    pub bundle: PathBuf,
    /// As in `command`.
    pub pid_file: PathBuf,
    /// As in `command`; removed once the runtime has ended well.
    pub runtime_log: PathBuf,
    /// CRI log; its directory is made (mode 0700) if missing. None: output is read and dropped.
    pub log_path: Option<PathBuf>,
    pub tty: bool,
    pub stdin: bool,
    pub stdin_once: bool,
    /// With `tty`, as in `command`: a [`crate::ConsoleSocket`]'s.
    pub console_socket: Option<PathBuf>,
    /// For the runtime; then it is killed with all that it left.
    pub deadline: Duration,
    /// The user and group of ours that pipes of its streams are given to: root of the pod's user namespace, so that the
    /// runtime can pass them on to the container's user. None: they stay root's.
    pub stdio_owner: Option<u32>,
    /// Files that count OOM kills: `…/memory.oom_control` (v1) or `…/memory.events` (v2) of the container's group,
    /// which need not exist yet.
    pub oom_files: Vec<PathBuf>,
}

/// A process to run in a container.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    pub container_id: String,
    /// Unique in the pod while it runs.
    pub exec_id: String,
    /// From [`crate::Runtime::exec_command`].
    pub command: Vec<OsString>,
    /// The runtime's working directory.
    pub bundle: PathBuf,
    pub pid_file: PathBuf,
    pub runtime_log: PathBuf,
    pub tty: bool,
    /// As in [`CreateRequest`].
    pub console_socket: Option<PathBuf>,
    /// As in [`CreateRequest`], of the pipes in [`ExecStdio`].
    pub stdio_owner: Option<u32>,
    /// Then its whole process tree is killed.
    pub timeout: Option<Duration>,
    /// If our connection to the monitor goes, the process is hung up and then killed with its tree: somebody at a
    /// keyboard cannot come back to it.
    pub ends_with_caller: bool,
}

/// What an exec'd process gets.
#[derive(Debug)]
pub enum ExecStdio {
    /// Exactly these descriptors; none: `/dev/null`. The runtime gives pipes to the process's user, so that it can also
    /// open them by name (`/dev/stdin`).
    Pipes { stdin: Option<OwnedFd>, stdout: Option<OwnedFd>, stderr: Option<OwnedFd> },
    /// For a request with `tty`: the terminal's master end comes here as soon as the process runs. Dropped without it
    /// if the process cannot be started.
    Terminal(oneshot::Sender<Terminal>),
}

/// A client's ends of pipes, to be joined with a container's streams.
#[derive(Debug, Default)]
pub struct AttachStdio {
    /// The reading end of the client's input.
    pub stdin: Option<OwnedFd>,
    /// Writing ends, made non-blocking and as wide as 1 MiB.
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Who gets an exec's terminal, if it has one.
pub(super) type Taker = Option<oneshot::Sender<Terminal>>;

impl From<PauseSpec> for PauseCall {
    fn from(spec: PauseSpec) -> Self {
        Self {
            user: spec.user.map(Text::from),
            network: spec.network.map(Text::from),
            ipc: spec.ipc.map(Text::from),
            uts: spec.uts.map(Text::from),
            new_pid: spec.new_pid,
            cgroup_procs: texts(spec.cgroup_procs),
            oom_score_adj: spec.oom_score_adj,
        }
    }
}

impl From<CreateRequest> for CreateCall {
    fn from(request: CreateRequest) -> Self {
        Self {
            container_id: request.container_id,
            command: texts(request.command),
            cwd: request.bundle.into(),
            pid_file: request.pid_file.into(),
            runtime_log: request.runtime_log.into(),
            log_path: request.log_path.map(Text::from),
            tty: request.tty,
            stdin: request.stdin,
            stdin_once: request.stdin_once,
            console_socket: request.console_socket.map(Text::from),
            stdio_owner: request.stdio_owner,
            deadline_ms: milliseconds(request.deadline),
            oom_files: texts(request.oom_files),
            restores: request.restores,
        }
    }
}

impl ExecRequest {
    pub(super) fn into_call(self, stdio: ExecStdio, deadline: Duration) -> (ExecCall, Vec<OwnedFd>, Taker) {
        let (pipes, terminal) = match stdio {
            ExecStdio::Pipes { stdin, stdout, stderr } => ([stdin, stdout, stderr], None),
            ExecStdio::Terminal(terminal) => ([None, None, None], Some(terminal)),
        };
        let [has_stdin, has_stdout, has_stderr] = pipes.each_ref().map(Option::is_some);
        let call = ExecCall {
            container_id: self.container_id,
            exec_id: self.exec_id,
            command: texts(self.command),
            cwd: self.bundle.into(),
            pid_file: self.pid_file.into(),
            runtime_log: self.runtime_log.into(),
            tty: self.tty,
            console_socket: self.console_socket.map(Text::from),
            timeout_ms: self.timeout.map(milliseconds),
            deadline_ms: milliseconds(deadline),
            has_stdin,
            has_stdout,
            has_stderr,
            ends_with_caller: self.ends_with_caller,
        };
        (call, pipes.into_iter().flatten().collect(), terminal)
    }
}

fn texts<T: Into<Text>>(values: Vec<T>) -> Vec<Text> {
    values.into_iter().map(Into::into).collect()
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a runtime was asked for, to name it in an error.
pub(super) struct Context {
    runtime: PathBuf,
    verb: &'static str,
    id: String,
    deadline: Duration,
}

pub(super) fn context(command: &[OsString], verb: &'static str, id: &str, deadline: Duration) -> Context {
    let runtime = crate::runtime::program(command).map(PathBuf::from).unwrap_or_default();
    Context { runtime, verb, id: id.to_owned(), deadline }
}

impl Context {
    /// Turns a refusal of the monitor into an error of the runtime it ran.
    pub(super) fn explain(self, error: Error) -> Error {
        let Error::MonitorRefused { what, kind, message } = error else { return error };
        let runtime = name_of(&self.runtime);
        match kind {
            FailureKind::Runtime => crate::runtime::refused(runtime, self.verb, self.id, message),
            FailureKind::RuntimeMissing => {
                Error::RuntimeMissing { path: self.runtime, source: std::io::Error::other(message) }
            }
            FailureKind::TimedOut => Error::TimedOut {
                what: format!("{runtime} {} {}: {message}", self.verb, self.id),
                after: self.deadline,
            },
            FailureKind::NoSuchContainer => Error::NoSuchContainer { runtime, id: self.id },
            FailureKind::NotRunning => Error::NotRunning { id: self.id },
            _ => Error::MonitorRefused { what, kind, message },
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
