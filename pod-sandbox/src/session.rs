//! What a client of Exec or Attach is joined to.
//!
//! ```text
//! SessionInput ──pipe──▶ process     an exec's descriptors are the process's own; an attach's lead to the monitor
//! SessionOutput ◀─pipe──             (with a terminal: its master end, which an exec hands to us)
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use linkspan_runtime_oci::monitor::Monitor;
use linkspan_runtime_oci::{Terminal, TerminalSize};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::container::attach::InputEnd;
use crate::error::Error;
use crate::model::{ContainerId, StreamSet};

/// A running exec.
pub struct ExecSession {
    pub io: SessionIo,
    /// The exit code, 128 + n for signal n. Dropped before that, the process is hung up (SIGHUP), and 10 seconds
    /// later killed with its tree.
    pub end: SessionEnd<i32>,
    /// Resolves when a process whose `end` was dropped has been hung up, or is gone. Holds its terminal until then: a
    /// terminal that goes ends whom the signal has not reached yet, and their children are not found any more.
    pub hung_up: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// A client joined to a container's own streams. Dropping it detaches; the container goes on.
pub struct AttachSession {
    pub io: SessionIo,
    /// The end of the container's output.
    pub end: SessionEnd<()>,
    /// CRI `ContainerConfig.stdin_once`: the end of the input is the end of the container's.
    pub stdin_once: bool,
}

/// The streams that were asked for.
pub struct SessionIo {
    pub input: Option<SessionInput>,
    pub stdout: Option<SessionOutput>,
    /// Never with a terminal.
    pub stderr: Option<SessionOutput>,
    /// With a terminal only.
    pub resizer: Option<Resizer>,
}

/// The processes' ends of a session's pipes, for the streams that were asked for.
#[derive(Default)]
pub(crate) struct ProcessEnds {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

impl SessionIo {
    /// Pipes for `streams`. `end` hears of the end of the input before its pipe is closed.
    pub(crate) fn pipes(streams: StreamSet, end: Option<InputEnd>) -> Result<(Self, ProcessEnds), Error> {
        let mut io = Self { input: None, stdout: None, stderr: None, resizer: None };
        let mut ends = ProcessEnds::default();
        if streams.stdin {
            let (input, theirs) = SessionInput::pipe(end)?;
            (io.input, ends.stdin) = (Some(input), Some(theirs));
        }
        if streams.stdout {
            let (output, theirs) = SessionOutput::pipe()?;
            (io.stdout, ends.stdout) = (Some(output), Some(theirs));
        }
        if streams.stderr {
            let (output, theirs) = SessionOutput::pipe()?;
            (io.stderr, ends.stderr) = (Some(output), Some(theirs));
        }
        Ok((io, ends))
    }

    /// A terminal of our own. All of its output is stdout. Its input is held even if nobody types: the last holder's
    /// end is a hang-up.
    pub(crate) fn terminal(terminal: &Terminal, streams: StreamSet) -> Self {
        Self {
            input: streams.stdin.then(|| SessionInput { way: Sink::Terminal(terminal.clone()), end: None }),
            stdout: streams.stdout.then(|| SessionOutput { way: Source::Terminal(terminal.clone()) }),
            stderr: None,
            resizer: Some(Resizer { way: Screen::Own(terminal.clone()) }),
        }
    }
}

/// How a session ends.
pub struct SessionEnd<T> {
    pub(crate) future: Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>,
}

impl<T> SessionEnd<T> {
    /// Once. Cancel safe.
    ///
    /// # Errors
    /// The runtime's refusal to start a process, a monitor that is lost, a daemon that goes down.
    pub async fn wait(&mut self) -> Result<T, Error> {
        (&mut self.future).await
    }
}

/// Where a client's input goes. Shutting it down is the end of the input: a pipe is closed, while a terminal sees
/// nothing, since there it is a character.
pub struct SessionInput {
    way: Sink,
    end: Option<InputEnd>,
}

enum Sink {
    Pipe(Sender),
    Terminal(Terminal),
    Closed,
}

impl SessionInput {
    /// A pipe, and the process's end of it.
    fn pipe(end: Option<InputEnd>) -> Result<(Self, OwnedFd), Error> {
        let (theirs, ours) = new_pipe()?;
        let ours = Sender::from_owned_fd(ours).map_err(Error::store("watching a", PIPE))?;
        Ok((Self { way: Sink::Pipe(ours), end }, theirs))
    }

    /// Resolves when nobody can read it any more; for a terminal, whose end is no end of input, at once.
    pub async fn unread(&mut self) {
        if let Sink::Pipe(pipe) = &self.way {
            // An error would mean that nobody watches it any more.
            let _ = pipe.ready(Interest::ERROR).await;
        }
    }
}

impl AsyncWrite for SessionInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.way {
            Sink::Pipe(pipe) => Pin::new(pipe).poll_write(context, data),
            Sink::Terminal(terminal) => Pin::new(terminal).poll_write(context, data),
            Sink::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.way, Sink::Terminal(_)) {
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = &mut self.end {
            ready!(end.poll_told(context));
            self.end = None;
        }
        self.way = Sink::Closed;
        Poll::Ready(Ok(()))
    }
}

impl Drop for SessionInput {
    /// A client that left without a word has ended its input too.
    fn drop(&mut self) {
        if let (Some(end), Sink::Pipe(pipe)) =
            (self.end.take(), std::mem::replace(&mut self.way, Sink::Closed))
        {
            end.tell_later(pipe);
        }
    }
}

/// What a client reads; ends when nobody holds the other end any more.
pub struct SessionOutput {
    way: Source,
}

enum Source {
    Pipe(Receiver),
    Terminal(Terminal),
}

impl SessionOutput {
    /// A pipe, and the process's end of it.
    fn pipe() -> Result<(Self, OwnedFd), Error> {
        let (ours, theirs) = new_pipe()?;
        let ours = Receiver::from_owned_fd(ours).map_err(Error::store("watching a", PIPE))?;
        Ok((Self { way: Source::Pipe(ours) }, theirs))
    }
}

impl AsyncRead for SessionOutput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.way {
            Source::Pipe(pipe) => Pin::new(pipe).poll_read(context, buffer),
            Source::Terminal(terminal) => Pin::new(terminal).poll_read(context, buffer),
        }
    }
}

/// Sets the size of a session's terminal.
pub struct Resizer {
    way: Screen,
}

enum Screen {
    /// An exec's: ours.
    Own(Terminal),
    /// A container's: its monitor's.
    Container { monitor: Monitor, id: ContainerId },
}

impl Resizer {
    pub(crate) fn container(monitor: Monitor, id: ContainerId) -> Self {
        Self { way: Screen::Container { monitor, id } }
    }

    /// The foreground processes get SIGWINCH.
    ///
    /// # Errors
    /// If the terminal has been hung up, or its container has exited.
    pub async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        match &self.way {
            Screen::Own(terminal) => terminal.resize(size).map_err(Error::store("resizing a", "terminal")),
            Screen::Container { monitor, id } => Ok(monitor.resize(id.as_str(), size).await?),
        }
    }
}

const PIPE: &str = "pipe";

/// Reading end, writing end; no process that is started meanwhile inherits them.
fn new_pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC).map_err(Error::sys("making a", PIPE))
}

#[cfg(test)]
mod tests;
