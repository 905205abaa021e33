//! ExecSync: a process in a container, its output in memory.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::Error;
use crate::monitor::{ExecExit, ExecRequest, ExecStdio, Monitor};
use crate::runtime::{means_not_begun, until_begun};
use crate::terminal::Terminal;

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
/// output. With a terminal all output is stdout. Dropping the future leaves the process running until its timeout; one
/// with a terminal is hung up.
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
    let ([stdout, stderr], exit) =
        until_begun(|| once(monitor, request.clone(), &what, limit_bytes), has_not_begun).await?;
    let exit = exit?;
    if exit.timed_out {
        return Err(Error::TimedOut { what, after: timeout });
    }
    Ok(ExecOutput { stdout, stderr, exit_code: exit.code })
}

/// Both streams, and how it ended.
type Outcome = ([Vec<u8>; 2], Result<ExecExit, Error>);

async fn once(
    monitor: &Monitor,
    request: ExecRequest,
    what: &str,
    limit_bytes: usize,
) -> Result<Outcome, Error> {
    if request.tty {
        let (taker, comes) = oneshot::channel();
        let exec = monitor.exec(request, ExecStdio::Terminal(taker));
        // Without one the process was not started, which `exec` tells.
        let stdout = Collector { source: Source::Awaited(comes), kept: Vec::new() };
        return collect(what, exec, [stdout, Collector::ended()], limit_bytes).await;
    }
    let (stdout, stdout_end) = Collector::pipe(what)?;
    let (stderr, stderr_end) = Collector::pipe(what)?;
    let stdio = ExecStdio::Pipes { stdin: None, stdout: Some(stdout_end), stderr: Some(stderr_end) };
    collect(what, monitor.exec(request, stdio), [stdout, stderr], limit_bytes).await
}

/// Without a terminal the runtime's own words come on the stream of the process that it did not start.
fn has_not_begun(outcome: &Result<Outcome, Error>) -> bool {
    let Ok(([_, stderr], Err(Error::Runtime { message, .. }))) = outcome else { return false };
    means_not_begun(message) || means_not_begun(&String::from_utf8_lossy(stderr))
}

/// Reads both streams until they have ended, or the process has, and a moment more.
async fn collect(
    what: &str,
    exec: impl Future<Output = Result<ExecExit, Error>>,
    [mut stdout, mut stderr]: [Collector; 2],
    mut room: usize,
) -> Result<Outcome, Error> {
    let mut exec = pin!(exec);
    let mut drained = pin!(tokio::time::sleep(Duration::MAX));
    let (mut exit, mut chunks) = (None, [vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]]);
    let [first, second] = &mut chunks;
    while exit.is_none() || !(stdout.has_ended() && stderr.has_ended()) {
        tokio::select! {
            ended = &mut exec, if exit.is_none() => {
                exit = Some(ended);
                drained.as_mut().reset(tokio::time::Instant::now() + DRAIN);
            }
            read = stdout.read(first), if !stdout.has_ended() => {
                let length = read.map_err(Error::io(what))?;
                stdout.keep(&first[..length], &mut room);
            }
            read = stderr.read(second), if !stderr.has_ended() => {
                let length = read.map_err(Error::io(what))?;
                stderr.keep(&second[..length], &mut room);
            }
            () = &mut drained, if exit.is_some() => break,
        }
    }
    // A daemon that was held up finds its time over and what came within it unread.
    for (stream, chunk) in [(&mut stdout, first), (&mut stderr, second)] {
        if let Ok(read) = timeout(Duration::ZERO, stream.read(chunk)).await {
            let length = read.map_err(Error::io(what))?;
            stream.keep(&chunk[..length], &mut room);
        }
    }
    let exit = match exit {
        Some(exit) => exit,
        None => exec.await,
    };
    Ok(([stdout.kept, stderr.kept], exit))
}

/// One stream of output.
struct Collector {
    source: Source,
    kept: Vec<u8>,
}

enum Source {
    Pipe(Receiver),
    Awaited(oneshot::Receiver<Terminal>),
    Terminal(Terminal),
    Ended,
}

impl Collector {
    fn pipe(what: &str) -> Result<(Self, OwnedFd), Error> {
        let (ours, theirs) =
            pipe_with(PipeFlags::CLOEXEC).map_err(Error::sys(format!("{what}: making a pipe")))?;
        let pipe = Receiver::from_owned_fd(ours).map_err(Error::io(format!("{what}: watching a pipe")))?;
        Ok((Self { source: Source::Pipe(pipe), kept: Vec::new() }, theirs))
    }

    fn ended() -> Self {
        Self { source: Source::Ended, kept: Vec::new() }
    }

    fn has_ended(&self) -> bool {
        matches!(self.source, Source::Ended)
    }

    /// Reads once. Cancel safe.
    async fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        if let Source::Awaited(comes) = &mut self.source {
            self.source = comes.await.map_or(Source::Ended, Source::Terminal);
        }
        let source: &mut (dyn AsyncRead + Send + Unpin) = match &mut self.source {
            Source::Pipe(pipe) => pipe,
            Source::Terminal(terminal) => terminal,
            Source::Awaited(_) | Source::Ended => return Ok(0),
        };
        let length = source.read(chunk).await?;
        if length == 0 {
            self.source = Source::Ended;
        }
        Ok(length)
    }

    /// What does not fit in `room` is dropped, so that the writer never stalls.
    fn keep(&mut self, chunk: &[u8], room: &mut usize) {
        let fits = chunk.len().min(*room);
        *room -= fits;
        self.kept.extend_from_slice(&chunk[..fits]);
    }
}

#[cfg(test)]
mod tests;
