//! What to start, and how.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, Mode, OFlags};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use crate::process::{Child, Output};
use crate::{open_files, sys};

/// One of a program's three standard streams.
#[derive(Debug)]
pub enum Stdio {
    /// The daemon's own.
    Inherit,
    /// `/dev/null`.
    Null,
    /// A pipe whose other end is in the [`Child`].
    Piped,
    Fd(OwnedFd),
}

impl<F: Into<OwnedFd>> From<F> for Stdio {
    fn from(fd: F) -> Self {
        Self::Fd(fd.into())
    }
}

/// A program to be started. Its methods are those of `tokio::process::Command`; without a word, its environment, its
/// directory and its standard streams are the daemon's own. All signals are at their defaults.
#[derive(Debug)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    env_clear: bool,
    dir: Option<PathBuf>,
    stdio: [Stdio; 3],
    own_group: bool,
    kill_on_drop: bool,
}

impl Command {
    /// `program` without a slash is looked for in the daemon's `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            env_clear: false,
            dir: None,
            stdio: [Stdio::Inherit, Stdio::Inherit, Stdio::Inherit],
            own_group: false,
            kill_on_drop: false,
        }
    }

    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<A: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Nothing of the daemon's environment.
    pub fn env_clear(&mut self) -> &mut Self {
        self.env_clear = true;
        self
    }

    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.stdio[0] = stdin.into();
        self
    }

    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.stdio[1] = stdout.into();
        self
    }

    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.stdio[2] = stderr.into();
        self
    }

    /// In a process group of its own, whose number is its PID.
    pub fn own_group(&mut self) -> &mut Self {
        self.own_group = true;
        self
    }

    /// It is killed if the [`Child`] is dropped before it has ended.
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Self {
        self.kill_on_drop = kill;
        self
    }

    /// Starts it. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The program is not there or cannot be executed (as execve(2) says it), a string holds a zero byte, or there are
    /// no descriptors or processes to be had.
    pub fn spawn(&mut self) -> io::Result<Child> {
        let program = text(self.find()?.as_os_str())?;
        let args = strings(
            std::iter::once(self.program.as_os_str()).chain(self.args.iter().map(OsString::as_os_str)),
        )?;
        let env = strings(self.environment().iter().map(OsString::as_os_str))?;
        let dir = self.dir.as_ref().map(|dir| text(dir.as_os_str())).transpose()?;
        let (stdin, to_stdin) = self.stdio[0].open(Direction::ToChild)?;
        let (stdout, from_stdout) = self.stdio[1].open(Direction::FromChild)?;
        let (stderr, from_stderr) = self.stdio[2].open(Direction::FromChild)?;
        let stdio = [&stdin, &stdout, &stderr].map(|end| end.as_ref().map(AsRawFd::as_raw_fd));
        let (args, env) = (pointers(&args), pointers(&env));
        let start = sys::Start {
            program: &program,
            args: &args,
            env: &env,
            dir: dir.as_deref(),
            stdio,
            own_group: self.own_group,
            open_files: open_files::given(),
        };
        // Made before the start: after it, nothing that fails may lose the process.
        let to_stdin = to_stdin.map(pipe::Sender::from_owned_fd).transpose()?;
        let from_stdout = from_stdout.map(pipe::Receiver::from_owned_fd).transpose()?;
        let from_stderr = from_stderr.map(pipe::Receiver::from_owned_fd).transpose()?;
        let (pid, pidfd) = sys::start(&start)?;
        Child::new(pid, pidfd, self.kill_on_drop, (to_stdin, from_stdout, from_stderr))
    }

    /// Starts it with `input` as its standard input, and waits for its end. Blocking: not for a thread of a runtime.
    ///
    /// # Errors
    /// As [`Command::spawn`], or of reading and writing.
    pub fn run_blocking(&mut self, input: &[u8]) -> io::Result<Output> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let mut child = self.stdin(Stdio::Piped).spawn()?;
            let stdin = child.stdin.take();
            let writing = async {
                if let Some(mut stdin) = stdin {
                    // A program may end without having read all.
                    let _ = stdin.write_all(input).await;
                }
            };
            tokio::join!(writing, child.wait_with_output()).1
        })
    }

    /// As execvp(3) does it.
    fn find(&self) -> io::Result<PathBuf> {
        if self.program.as_os_str().as_bytes().contains(&b'/') {
            return Ok(self.program.clone());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|dir| dir.join(&self.program))
            .find(|file| file.is_file() && rustix::fs::access(file, Access::EXEC_OK).is_ok())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// `NAME=value`
    fn environment(&self) -> Vec<OsString> {
        let mut all: BTreeMap<OsString, OsString> =
            if self.env_clear { BTreeMap::new() } else { std::env::vars_os().collect() };
        all.extend(self.env.clone());
        let join = |(name, value): (OsString, OsString)| {
            OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat())
        };
        all.into_iter().map(join).collect()
    }
}

enum Direction {
    ToChild,
    FromChild,
}

impl Stdio {
    /// The child's end, if it is not to be the daemon's own stream, and ours of a pipe.
    fn open(&self, direction: Direction) -> io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
        // Not one of the three that are replaced one after the other.
        let above = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 3);
        Ok(match self {
            Self::Inherit => (None, None),
            Self::Null => {
                let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
                (Some(above(&null)?), None)
            }
            Self::Fd(fd) => (Some(above(fd)?), None),
            Self::Piped => {
                let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
                let (theirs, ours) = match direction {
                    Direction::ToChild => (read, write),
                    Direction::FromChild => (write, read),
                };
                (Some(above(&theirs)?), Some(ours))
            }
        })
    }
}

fn text(string: &OsStr) -> io::Result<CString> {
    CString::new(string.as_bytes()).map_err(|_| {
        let message = format!("a zero byte in {string:?}");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

fn strings<'s>(all: impl Iterator<Item = &'s OsStr>) -> io::Result<Vec<CString>> {
    all.map(text).collect()
}

/// As execve(2) wants them: with a null at the end.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}
