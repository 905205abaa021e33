//! ExecSync: a process in a container, its output in memory.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::Receiver;

use crate::Error;
use crate::monitor::{ExecRequest, ExecStdio, Monitor};

/// How long output may still come after the process has ended: what it started may hold its stdout for ever.
const DRAIN: Duration = Duration::from_secs(1);
/// A pipe's usual capacity.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a process left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// 128 + n for signal n.
    pub exit_code: i32,
}

/// Runs a process in a container and returns its output, cut off quietly at `limit_bytes` for both streams together
/// (the process is not held up by that). Returns when the process has ended, even if a child of it still holds its
/// output. Dropping the future leaves the process running until its timeout.
///
/// # Errors
/// [`Error::TimedOut`] if `request.timeout` passed: its whole process tree is dead then. Else as [`Monitor::exec`].
pub async fn exec_sync(
    monitor: &Monitor,
    request: ExecRequest,
    limit_bytes: usize,
) -> Result<ExecOutput, Error> {
    let what = format!("exec {} in container {}", request.exec_id, request.container_id);
    let timeout = request.timeout.unwrap_or_default();
    let (mut stdout, stdout_end) = Collector::new(&what)?;
    let (mut stderr, stderr_end) = Collector::new(&what)?;
    let stdio = ExecStdio { stdin: None, stdout: stdout_end, stderr: Some(stderr_end) };
    let mut room = limit_bytes;
    let mut exit = None;
    {
        let mut exec = pin!(monitor.exec(request, stdio));
        let mut drained = pin!(tokio::time::sleep(Duration::MAX));
        while exit.is_none() || !(stdout.ended && stderr.ended) {
            tokio::select! {
                ended = &mut exec, if exit.is_none() => {
                    exit = Some(ended?);
                    drained.as_mut().reset(tokio::time::Instant::now() + DRAIN);
                }
                ready = stdout.pipe.readable(), if !stdout.ended => {
                    ready.and_then(|()| stdout.take(&mut room)).map_err(Error::io(what.clone()))?;
                }
                ready = stderr.pipe.readable(), if !stderr.ended => {
                    ready.and_then(|()| stderr.take(&mut room)).map_err(Error::io(what.clone()))?;
                }
                () = &mut drained, if exit.is_some() => break,
            }
        }
    }
    match exit {
        Some(exit) if !exit.timed_out => {
            Ok(ExecOutput { stdout: stdout.kept, stderr: stderr.kept, exit_code: exit.code })
        }
        _ => Err(Error::TimedOut { what, after: timeout }),
    }
}

/// One stream of output.
struct Collector {
    pipe: Receiver,
    kept: Vec<u8>,
    ended: bool,
}

impl Collector {
    fn new(what: &str) -> Result<(Self, OwnedFd), Error> {
        let (ours, theirs) =
            pipe_with(PipeFlags::CLOEXEC).map_err(Error::sys(format!("{what}: making a pipe")))?;
        let pipe = Receiver::from_owned_fd(ours).map_err(Error::io(format!("{what}: watching a pipe")))?;
        Ok((Self { pipe, kept: Vec::new(), ended: false }, theirs))
    }

    /// Reads once; what does not fit in `room` is read and dropped, so that the writer never stalls.
    fn take(&mut self, room: &mut usize) -> io::Result<()> {
        let mut chunk = [0; CHUNK_BYTES];
        match self.pipe.try_read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(length) => {
                let fits = length.min(*room);
                *room -= fits;
                self.kept.extend_from_slice(&chunk[..fits]);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }
}
