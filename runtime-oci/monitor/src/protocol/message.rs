//! Calls, answers and events.
//!
//! Names on the wire are the names here. Fields may be added with a default; none changes its meaning.

use serde::{Deserialize, Serialize};

use super::{ExitRecord, Process, Text};

/// Chosen by the daemon, unique on its connection.
pub type RequestId = u64;

/// From daemon to monitor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub id: RequestId,
    pub call: Call,
}

/// What a daemon may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// First call of every connection. Answer: [`Answer::Hello`].
    Hello(HelloCall),
    /// Starts pause, the holder of the pod's namespaces. Answer: [`Answer::Started`].
    StartPause(PauseCall),
    /// Runs the runtime's `create`. Answer: [`Answer::Started`], with the container's init.
    Create(CreateCall),
    /// Runs the runtime's `exec --detach`. Answer: [`Answer::ExecEnded`], when the process has ended.
    ///
    /// File descriptors, in this order: stdin, stdout, stderr, those of them that [`ExecCall`] says are passed.
    /// With a terminal none is passed; its master end comes with [`Event::ExecTerminal`].
    Exec(ExecCall),
    /// Hangs up an exec'd process and all that it has started, and later kills what is left of them. Answer:
    /// [`Answer::Done`], at once, also if unknown; the exec's own answer tells its end.
    HangUpExec {
        exec_id: String,
        /// From the hang-up to the kill.
        grace_ms: u64,
    },
    /// Joins a container's streams, output from now on. Answer: [`Answer::Done`], when the output has ended and was
    /// delivered, or nobody holds the other ends of the descriptors any more; [`FailureKind::TooSlow`] as soon as some of
    /// the output is lost to the client.
    ///
    /// File descriptors, in this order: stdin, stdout, stderr, those of them that [`AttachCall`] says are passed; ends
    /// of pipes.
    Attach(AttachCall),
    /// An attached client's input is complete once its pipe is empty; then the container's stdin is closed, if it was
    /// created with `stdin_once`. Answer: [`Answer::Done`], at once, also if unknown.
    EndStdin { container_id: String, attach_id: String },
    /// Sets the window size of the container's terminal. Answer: [`Answer::Done`].
    Resize { container_id: String, columns: u16, rows: u16 },
    /// Opens the container's log file anew, after a rotation. Answer: [`Answer::Done`], once the new file is there.
    ReopenLog { container_id: String },
    /// The container was removed: its exit record and open files go. Answer: [`Answer::Done`], also if unknown.
    /// One that runs is refused; so is one that is being made, which is given up: ask again.
    Forget { container_id: String },
    /// Kills what is left of the pod and ends the monitor. Answer: [`Answer::Done`], just before the end.
    Shutdown,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HelloCall {
    /// The newest protocol that the daemon speaks.
    pub version: u32,
    /// The oldest one.
    pub oldest_version: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PauseCall {
    /// Namespace files to join. In the user namespace it is root; a new PID namespace is owned by it.
    #[serde(default)]
    pub user: Option<Text>,
    pub network: Option<Text>,
    pub ipc: Option<Text>,
    pub uts: Option<Text>,
    /// Whether pause is PID 1 of a new PID namespace.
    pub new_pid: bool,
    /// `cgroup.procs` files to enter.
    pub cgroup_procs: Vec<Text>,
    pub oom_score_adj: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CreateCall {
    pub container_id: String,
    /// The runtime and its arguments.
    pub command: Vec<Text>,
    /// Working directory of the runtime: the bundle.
    pub cwd: Text,
    /// Where the command says that the runtime writes the PID.
    pub pid_file: Text,
    /// Where the command says that the runtime writes its own log.
    pub runtime_log: Text,
    /// CRI log file; none: output is read and dropped.
    pub log_path: Option<Text>,
    pub tty: bool,
    pub stdin: bool,
    pub stdin_once: bool,
    /// With `tty`: where the command says that the runtime sends the terminal to; relative to `cwd`.
    pub console_socket: Option<Text>,
    /// User and group that the pipes of its streams are given to.
    #[serde(default)]
    pub stdio_owner: Option<u32>,
    pub deadline_ms: u64,
    /// Files that count OOM kills of the container: `memory.oom_control` (v1) or `memory.events` (v2). They need
    /// not exist before the container does.
    pub oom_files: Vec<Text>,
    /// The command is a `restore`: the container's processes run, and write, before the runtime has ended.
    #[serde(default)]
    pub restores: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecCall {
    pub container_id: String,
    pub exec_id: String,
    pub command: Vec<Text>,
    pub cwd: Text,
    pub pid_file: Text,
    pub runtime_log: Text,
    pub tty: bool,
    pub console_socket: Option<Text>,
    /// For the process; none: it may run for as long as it likes.
    pub timeout_ms: Option<u64>,
    /// For the runtime, until the process runs.
    pub deadline_ms: u64,
    pub has_stdin: bool,
    pub has_stdout: bool,
    pub has_stderr: bool,
    /// If the connection that asked for it goes, it is hung up and then killed.
    #[serde(default)]
    pub ends_with_caller: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttachCall {
    pub container_id: String,
    /// Unique in the pod while it lasts.
    pub attach_id: String,
    pub has_stdin: bool,
    pub has_stdout: bool,
    pub has_stderr: bool,
}

/// From monitor to daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromMonitor {
    Reply(Reply),
    Event(Event),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    pub id: RequestId,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok(Answer),
    Err(Failure),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Hello(HelloAnswer),
    Started(Process),
    ExecEnded {
        /// 128 + n for signal n.
        code: i32,
        /// Whether its timeout ended it.
        timed_out: bool,
    },
    Done,
}

/// All that a daemon must learn after its restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HelloAnswer {
    /// The version that this connection uses.
    pub version: u32,
    pub monitor: Process,
    pub sandbox_id: String,
    pub pause: Option<Process>,
    pub containers: Vec<ContainerState>,
    /// Exits not forgotten yet, pause's among them.
    pub exits: Vec<ExitRecord>,
    /// Exec IDs still running.
    pub execs: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerState {
    pub container_id: String,
    /// None while the runtime's `create` still runs.
    pub process: Option<Process>,
    pub exited: bool,
    /// Bytes of output that could not be written to the log (a full disk).
    pub log_bytes_dropped: u64,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// What was tried, on what, and why it failed; with the runtime's own words.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The runtime ran and said no.
    Runtime,
    /// The runtime could not be started.
    RuntimeMissing,
    /// The runtime did not end in time, and was killed with all it left.
    TimedOut,
    /// The call makes no sense.
    BadRequest,
    NoSuchContainer,
    AlreadyExists,
    /// The container has exited.
    NotRunning,
    /// A file or system call.
    Io,
    /// The daemon and the monitor share no version.
    Version,
    UnknownCall,
    ShuttingDown,
    /// An attached client has not read fast enough: it gets no more, and what it got has no gap.
    TooSlow,
    /// A kind that this release does not know yet.
    #[serde(other)]
    Other,
}

/// What happens without being asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A container's init, or pause, has ended; its record is on disk.
    Exited(ExitRecord),
    /// The kernel killed a process of the container for lack of memory.
    Oom { container_id: String },
    /// An exec's process runs, with a terminal: its master end is the one descriptor of this frame. Closing it hangs up
    /// the process.
    ExecTerminal { exec_id: String },
    /// A newer monitor's event.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests;
