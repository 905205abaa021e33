//! Exec and attach: the streams of a client joined to those of a process, whatever carries them.
//!
//! ```text
//! spdy.rs       one stream each, told apart by a header ─┐                       ┌─ stdin  ◀ until the client's end of it
//! channels.rs   one numbered channel each ───────────────┴─▶ Client ◀─run.rs─▶ Process ─ stdout, stderr ▶ until they end
//!                                                                               └─ the exit code or an error ▶ the error stream
//! ```
//!
//! Source: the protocols `channel.k8s.io` to `v5.channel.k8s.io` as documented in k8s.io/cri-streaming v0.37 `remotecommand` and k8s.io/streaming
//! v0.37 `wsstream`. What the versions add: 2, the client's end of stdin is told; 3, the size of the terminal; 4, the end as a
//! `metav1.Status`, so exit codes; 5, WebSocket only, a close signal for one channel, so the end of stdin there.

mod channels;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod resize;
mod run;
mod spdy;
mod status;

use std::future::Future;
use std::pin::Pin;

use linkspan_pod_sandbox::{
    AttachSession, Error, ExecSession, Resizer, SessionInput, SessionIo, TerminalSize,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::budget::Pool;

pub(crate) use channels::{Layout, over_channels};
pub(crate) use run::{run_attach, run_exec};
pub(crate) use spdy::over_spdy;
use status::Status;

pub(crate) type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
pub(crate) type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// Of the remote command protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V1,
    V2,
    V3,
    V4,
    V5,
}

/// The streams that a client asked for and opened.
pub(crate) struct Client {
    /// Its end is the client's end of input; an error means nothing: a client that left is told by `gone`.
    pub(crate) stdin: Option<BoxRead>,
    pub(crate) stdout: Option<BoxWrite>,
    pub(crate) stderr: Option<BoxWrite>,
    /// JSON objects, one after the other: [`resize::Sizes`].
    pub(crate) resize: Option<BoxRead>,
    pub(crate) end: EndSink,
    /// Cancelled when the client has left.
    pub(crate) gone: CancellationToken,
    /// What those who copy may borrow from.
    pub(crate) pool: Pool,
}

/// Where a client is told how it ended.
pub(crate) struct EndSink {
    pub(crate) stream: BoxWrite,
    pub(crate) version: Version,
    /// Streams that end with it: what the client opened in vain, and our side of its stdin.
    pub(crate) others: Vec<BoxWrite>,
}

/// What a client is joined to.
pub(crate) struct Process<E, R> {
    pub(crate) stdin: Option<Box<dyn ProcessInput>>,
    pub(crate) stdout: Option<BoxRead>,
    pub(crate) stderr: Option<BoxRead>,
    pub(crate) resizer: Option<R>,
    /// Resolves when it is over. Dropped before that, the process is told that its client has left.
    pub(crate) end: E,
}

/// Where a client's input goes.
pub(crate) trait ProcessInput: AsyncWrite + Send + Unpin {
    /// Resolves when nobody can read it any more.
    fn unread(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl ProcessInput for SessionInput {
    fn unread(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(Self::unread(self))
    }
}

/// Sets the size of a terminal.
pub(crate) trait Resize {
    fn resize(&self, size: TerminalSize) -> impl Future<Output = Result<(), Error>> + Send;
}

impl Resize for Resizer {
    async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        Self::resize(self, size).await
    }
}

/// An exec'd process, whose end is the exit code, and when it has been hung up, if its client leaves.
pub(crate) fn exec_process(
    session: ExecSession,
) -> (Process<impl Future<Output = Result<i32, Error>> + Send, Resizer>, impl Future<Output = ()> + Send) {
    let ExecSession { io, mut end, hung_up } = session;
    (process(io, async move { end.wait().await }), hung_up)
}

/// A container that a client is attached to; its end is that of its output.
pub(crate) fn attach_process(
    session: AttachSession,
) -> Process<impl Future<Output = Result<(), Error>> + Send, Resizer> {
    let AttachSession { io, mut end, .. } = session;
    process(io, async move { end.wait().await })
}

fn process<E>(io: SessionIo, end: E) -> Process<E, Resizer> {
    let SessionIo { input, stdout, stderr, resizer, .. } = io;
    Process {
        stdin: input.map(|input| Box::new(input) as Box<dyn ProcessInput>),
        stdout: stdout.map(|output| Box::new(output) as BoxRead),
        stderr: stderr.map(|output| Box::new(output) as BoxRead),
        resizer,
        end,
    }
}

#[cfg(test)]
mod tests;
