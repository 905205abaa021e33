//! A daemon's side of the socket, without async: starts the real monitor and speaks with it.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use linkspan_monitor::protocol::{
    self, Answer, Call, CreateCall, Event, ExecCall, ExitRecord, Failure, FromMonitor, HelloAnswer,
    HelloCall, Outcome, Process, Request, RequestId, Text,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Nothing here takes seconds unless something is wrong.
const LIMIT: Duration = Duration::from_secs(30);

/// The OCI runtime of these tests.
const FAKE_RUNTIME: &str = include_str!("fake-runtime");

pub(crate) struct Daemon {
    pub(crate) dir: tempfile::TempDir,
    socket: OwnedFd,
    child: Child,
    last_id: RequestId,
    events: VecDeque<Event>,
    /// Exec's terminals that came, with the exec's ID.
    terminals: Vec<(String, OwnedFd)>,
    replies: Vec<protocol::Reply>,
    ended: bool,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let runtime = dir.path().join("fake");
        fs::write(&runtime, FAKE_RUNTIME).expect("write");
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).expect("chmod");
        let (socket, theirs) = protocol::pair().expect("pair");
        let child = monitor(dir.path()).args(options).stdin(theirs).spawn().expect("the monitor starts");
        let mut daemon = Self {
            dir,
            socket,
            child,
            last_id: 0,
            events: VecDeque::new(),
            terminals: Vec::new(),
            replies: Vec::new(),
            ended: false,
        };
        daemon.hello();
        daemon
    }

    pub(crate) fn pod_dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn monitor_pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub(crate) fn log_path(&self, id: &str) -> PathBuf {
        self.dir.path().join("logs").join(format!("{id}.log"))
    }

    /// The log's lines without their times.
    pub(crate) fn log(&self, id: &str) -> String {
        let text = fs::read_to_string(self.log_path(id)).expect("log file");
        text.split_inclusive('\n').map(|line| line.split_once(' ').expect("a time").1).collect()
    }

    pub(crate) fn send(&mut self, call: Call, fds: &[BorrowedFd<'_>]) -> RequestId {
        self.last_id += 1;
        let json = serde_json::to_vec(&Request { id: self.last_id, call }).expect("json");
        self.send_raw(&json, fds);
        self.last_id
    }

    pub(crate) fn send_raw(&mut self, json: &[u8], fds: &[BorrowedFd<'_>]) {
        protocol::send(self.socket.as_fd(), json, fds).expect("send");
    }

    /// Waits for one more frame; false at the end of the connection.
    fn receive(&mut self) -> bool {
        let deadline = Instant::now() + LIMIT;
        loop {
            match protocol::receive(self.socket.as_fd()) {
                Ok(Some(frame)) => {
                    match serde_json::from_slice(&frame.json).expect("a message") {
                        FromMonitor::Reply(reply) => self.replies.push(reply),
                        FromMonitor::Event(Event::ExecTerminal { exec_id }) => {
                            let fd = frame.fds.into_iter().next().expect("a terminal");
                            self.terminals.push((exec_id, fd));
                        }
                        FromMonitor::Event(event) => self.events.push_back(event),
                    }
                    return true;
                }
                Ok(None) => return false,
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return false,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    wait_readable(self.socket.as_fd(), deadline);
                }
                Err(e) => panic!("receive: {e}"),
            }
        }
    }

    pub(crate) fn answer(&mut self, id: RequestId) -> Result<Answer, Failure> {
        loop {
            if let Some(index) = self.replies.iter().position(|reply| reply.id == id) {
                return match self.replies.swap_remove(index).outcome {
                    Outcome::Ok(answer) => Ok(answer),
                    Outcome::Err(failure) => Err(failure),
                };
            }
            assert!(self.receive(), "the monitor closed the connection");
        }
    }

    /// Whether an answer has come already.
    pub(crate) fn has_answer(&self, id: RequestId) -> bool {
        self.replies.iter().any(|reply| reply.id == id)
    }

    pub(crate) fn call(&mut self, call: Call) -> Result<Answer, Failure> {
        let id = self.send(call, &[]);
        self.answer(id)
    }

    pub(crate) fn hello(&mut self) -> HelloAnswer {
        let call = Call::Hello(HelloCall { version: protocol::VERSION, oldest_version: 1 });
        match self.call(call) {
            Ok(Answer::Hello(hello)) => hello,
            other => panic!("hello: {other:?}"),
        }
    }

    /// As a daemon that died and came back.
    pub(crate) fn reconnect(&mut self) -> HelloAnswer {
        self.disconnect();
        self.socket = protocol::connect(self.dir.path()).expect("connect");
        self.hello()
    }

    /// As a daemon that died.
    pub(crate) fn disconnect(&mut self) {
        self.socket = protocol::pair().expect("pair").0;
        self.events.clear();
        self.terminals.clear();
        self.replies.clear();
    }

    pub(crate) fn is_connected(&mut self) -> bool {
        loop {
            if !self.receive() {
                return false;
            }
        }
    }

    pub(crate) fn next_event(&mut self) -> Event {
        while self.events.is_empty() {
            assert!(self.receive(), "the monitor closed the connection");
        }
        self.events.pop_front().expect("one")
    }

    /// Waits for an exec's terminal. Reading it blocks.
    pub(crate) fn terminal_of(&mut self, exec_id: &str) -> fs::File {
        loop {
            if let Some(index) = self.terminals.iter().position(|(id, _)| id == exec_id) {
                let (_, fd) = self.terminals.swap_remove(index);
                rustix::io::ioctl_fionbio(&fd, false).expect("blocking");
                return fd.into();
            }
            assert!(self.receive(), "the monitor closed the connection");
        }
    }

    pub(crate) fn exit_of(&mut self, id: &str) -> ExitRecord {
        loop {
            if let Event::Exited(record) = self.next_event()
                && record.container_id == id
            {
                return record;
            }
        }
    }

    /// Makes a FIFO in the pod's directory.
    pub(crate) fn fifo(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        match rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => path,
            Err(e) => panic!("mkfifo {}: {e}", path.display()),
        }
    }

    /// A call for a container of the fake runtime; its directory is made.
    pub(crate) fn create_call(&self, id: &str, script: &str) -> CreateCall {
        self.fifo(&format!("{id}/start"));
        let bundle = self.dir.path().join(id);
        let pid_file = bundle.join("pid");
        CreateCall {
            container_id: id.to_owned(),
            command: self.fake("create", script, &pid_file),
            cwd: bundle.clone().into(),
            pid_file: pid_file.into(),
            runtime_log: bundle.join("runtime.log").into(),
            log_path: Some(self.log_path(id).into()),
            deadline_ms: 20_000,
            ..CreateCall::default()
        }
    }

    pub(crate) fn fake(&self, verb: &str, script: &str, pid_file: &Path) -> Vec<Text> {
        vec![self.dir.path().join("fake").into(), verb.into(), script.into(), pid_file.into()]
    }

    pub(crate) fn create(&mut self, call: CreateCall) -> Result<Process, Failure> {
        match self.call(Call::Create(call))? {
            Answer::Started(process) => Ok(process),
            other => panic!("create: {other:?}"),
        }
    }

    /// As the runtime's `start`.
    pub(crate) fn start_container(&self, id: &str) {
        fs::write(self.dir.path().join(id).join("start"), "go\n").expect("start");
    }

    /// Creates and starts.
    pub(crate) fn run(&mut self, id: &str, script: &str) -> Process {
        let process = self.create(self.create_call(id, script)).expect("create");
        self.start_container(id);
        process
    }

    pub(crate) fn exec_call(&self, id: &str, exec_id: &str, script: &str) -> ExecCall {
        let bundle = self.dir.path().join(id);
        let pid_file = bundle.join(format!("{exec_id}.pid"));
        ExecCall {
            container_id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            command: self.fake("exec", script, &pid_file),
            runtime_log: bundle.join(format!("{exec_id}.log")).into(),
            cwd: bundle.into(),
            pid_file: pid_file.into(),
            deadline_ms: 20_000,
            has_stdout: true,
            ..ExecCall::default()
        }
    }

    /// Starts an exec whose stdout is the writing end of the returned pipe.
    pub(crate) fn exec(&mut self, call: ExecCall) -> (RequestId, fs::File) {
        let (ours, theirs) = io::pipe().expect("pipe");
        let id = self.send(Call::Exec(call), &[theirs.as_fd()]);
        (id, fs::File::from(OwnedFd::from(ours)))
    }

    /// Waits until the monitor's process has ended.
    pub(crate) fn wait_for_the_end(&mut self) {
        let process = Process::of(self.monitor_pid()).expect("a child, alive or a zombie");
        let deadline = Instant::now() + LIMIT;
        while let (None, Some(pidfd)) = (self.child.try_wait().expect("wait"), process.open_pidfd()) {
            wait_readable(pidfd.as_fd(), deadline);
        }
        self.child.wait().expect("wait");
        self.ended = true;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.events.clear();
        if !std::thread::panicking() {
            let _ = self.call(Call::Shutdown);
            let _ = self.child.wait();
            return;
        }
        eprintln!(
            "monitor.log: {}",
            fs::read_to_string(self.dir.path().join("monitor.log")).unwrap_or_default()
        );
        // The shutdown's answer is not waited for: a test that fails has reason to distrust it.
        let json = serde_json::to_vec(&Request { id: u64::MAX, call: Call::Shutdown }).expect("json");
        let _ = protocol::send(self.socket.as_fd(), &json, &[]);
        let _ = wait_ended(&self.child, Duration::from_secs(5));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_ended(child: &Child, limit: Duration) -> Option<()> {
    let pidfd = Process::of(child.id() as i32).ok()?.open_pidfd()?;
    let timeout = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: 0 };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)).ok().map(drop)
}

/// The monitor's command line for a pod's directory; stdin is for the caller to set.
pub(crate) fn monitor(pod_dir: &Path) -> Command {
    let log =
        fs::OpenOptions::new().append(true).create(true).open(pod_dir.join("monitor.log")).expect("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkspan-monitor"));
    command.arg("--pod-dir").arg(pod_dir).args(["--sandbox-id", "sandbox"]);
    command.stdout(Stdio::null()).stderr(log);
    command
}

pub(crate) fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    assert!(!left.is_zero(), "nothing came within {LIMIT:?}");
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)).expect("poll");
}

/// Waits for a condition that nothing announces.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
        std::thread::yield_now();
        let pause = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
        let _ = poll(&mut [], Some(&pause));
    }
}
