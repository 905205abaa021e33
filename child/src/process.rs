//! A program that runs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_send_signal, waitid};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;

use crate::sys;

/// Dropped before it was waited for, it is reaped in the background, and killed before if its command says so.
#[derive(Debug)]
pub struct Child {
    pub stdin: Option<pipe::Sender>,
    pub stdout: Option<pipe::Receiver>,
    pub stderr: Option<pipe::Receiver>,
    pid: i32,
    process: Option<Process>,
    kill_on_drop: bool,
}

/// What a program wrote, and how it ended.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

#[derive(Debug)]
enum Process {
    Running(AsyncFd<OwnedFd>),
    Ended(ExitStatus),
}

type Pipes = (Option<pipe::Sender>, Option<pipe::Receiver>, Option<pipe::Receiver>);

impl Child {
    pub(crate) fn new(pid: i32, pidfd: OwnedFd, kill_on_drop: bool, pipes: Pipes) -> io::Result<Self> {
        let (stdin, stdout, stderr) = pipes;
        let pidfd = match sys::watch(pidfd) {
            Ok(pidfd) => pidfd,
            Err((pidfd, error)) => {
                // Nobody could wait for it.
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
                return Err(error);
            }
        };
        Ok(Self { stdin, stdout, stderr, pid, process: Some(Process::Running(pidfd)), kill_on_drop })
    }

    /// Its PID, until it was waited for.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        match self.process {
            Some(Process::Running(_)) => Some(self.pid.cast_unsigned()),
            _ => None,
        }
    }

    /// Waits for its end. Cancel safe.
    ///
    /// # Errors
    /// Of waitid(2).
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = match &self.process {
            Some(Process::Ended(status)) => return Ok(*status),
            Some(Process::Running(pidfd)) => reap(pidfd).await?,
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        self.process = Some(Process::Ended(status));
        Ok(status)
    }

    /// Sends SIGKILL; one that has ended already is let be.
    ///
    /// # Errors
    /// Of pidfd_send_signal(2).
    pub fn start_kill(&mut self) -> io::Result<()> {
        match &self.process {
            Some(Process::Running(pidfd)) => Ok(pidfd_send_signal(pidfd.get_ref(), Signal::KILL)?),
            _ => Ok(()),
        }
    }

    /// Kills it and waits for its end.
    ///
    /// # Errors
    /// As [`Child::start_kill`] and [`Child::wait`].
    pub async fn kill(&mut self) -> io::Result<()> {
        self.start_kill()?;
        self.wait().await.map(drop)
    }

    /// Closes its standard input, reads both outputs to their ends, and waits for its end.
    ///
    /// # Errors
    /// Of reading, or as [`Child::wait`].
    pub async fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        let (out, err) = (self.stdout.take(), self.stderr.take());
        let (stdout, stderr) = tokio::try_join!(read(out), read(err))?;
        Ok(Output { status: self.wait().await?, stdout, stderr })
    }
}

async fn read(from: Option<pipe::Receiver>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        from.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

async fn reap(pidfd: &AsyncFd<OwnedFd>) -> io::Result<ExitStatus> {
    pidfd
        .async_io(Interest::READABLE, |pidfd| {
            match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)? {
                Some(status) => Ok(exit_status(&status)),
                None => Err(io::ErrorKind::WouldBlock.into()),
            }
        })
        .await
}

/// The status as wait(2) has it: an exit code in the second byte, or a signal in the first.
fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    let code = status.exit_status().map(|code| code << 8);
    ExitStatus::from_raw(code.or_else(|| status.terminating_signal()).unwrap_or_default())
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(Process::Running(pidfd)) = self.process.take() else { return };
        if self.kill_on_drop {
            let _ = pidfd_send_signal(pidfd.get_ref(), Signal::KILL);
        }
        // Without a runtime the process ends, and its children get another parent.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { reap(&pidfd).await });
        }
    }
}
