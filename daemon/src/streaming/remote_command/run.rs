//! Joins a client's streams to a process's: bytes until either side ends, then how it ended.
//!
//! When the process has ended, what it wrote is still delivered, and no more than that: a child that it left behind may hold its output open for
//! ever. The pipes are the process's own, so what it wrote is in them by then: reading until nothing comes for [`QUIET`] takes all of it.
//!
//! When the client has left, the process is told first, and sees the end of its input only [`HEAD_START`] later: an upload that was
//! cut off must not look complete to it. It is over before that if nobody reads the input any more: others wait for the session's place.

use std::future::Future;
use std::time::Duration;

use linkspan_pod_sandbox::Error;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::resize::Sizes;
use super::{BoxRead, BoxWrite, Client, EndSink, Process, ProcessInput, Resize, Status};
use crate::streaming::budget::Pool;
use crate::streaming::buffer::Buffer;

const QUIET: Duration = Duration::from_millis(200);
/// The most that a pipe holds (`/proc/sys/fs/pipe-max-size`): more comes from someone who still lives.
const MOST_LEFT_BYTES: usize = 1 << 20;
const HEAD_START: Duration = Duration::from_secs(1);

/// Exec: until the process has ended, or the client has left, and then the process is hung up; `hung_up` says when that is done.
pub(crate) async fn run_exec<E, R>(client: Client, process: Process<E, R>, hung_up: impl Future<Output = ()>)
where
    E: Future<Output = Result<i32, Error>> + Send,
    R: Resize,
{
    let Client { stdin, stdout, stderr, resize, end: sink, gone, pool } = client;
    let mut end = Box::pin(process.end);
    let mut input = Input { from: stdin, to: process.stdin, buffer: Buffer::new(&pool) };
    let all = deliver([(process.stdout, stdout), (process.stderr, stderr)], &mut end, &pool);
    let beside = async {
        tokio::join!(input.pump(), pump_sizes(resize, process.resizer));
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        biased;
        () = gone.cancelled() => None,
        result = all => Some(result),
        () = beside => None,
    };
    match result {
        None => {
            drop(end);
            let over = async {
                hung_up.await;
                if let Some(to) = &mut input.to {
                    to.unread().await;
                }
            };
            // Later, its end is what those that still read it see.
            let _ = tokio::time::timeout(HEAD_START, over).await;
        }
        Some(Ok(code)) => tell(sink, &Status::of_exit_code(code), input, &gone).await,
        Some(Err(error)) => {
            let status = Status::Failed(format!("error executing command in container: {error}"));
            tell(sink, &status, input, &gone).await;
        }
    }
}

/// Attach: until the container's output has ended, or the client has left.
///
/// The end of the client's input is the end of the attach, as with the other runtimes, but for a container that sees it too: one with `stdin_once`
/// and no terminal. There it closes the container's input, and the attach goes on until its output ends.
pub(crate) async fn run_attach<E, R>(client: Client, process: Process<E, R>, ends_with_input: bool)
where
    E: Future<Output = Result<(), Error>> + Send,
    R: Resize,
{
    let Client { stdin, stdout, stderr, resize, end: sink, gone, pool } = client;
    let mut input = Input { from: stdin, to: process.stdin, buffer: Buffer::new(&pool) };
    // Kept to the last: what the container answers to the last of the input is still delivered.
    let mut end = Box::pin(process.end);
    let leaving = async {
        input.pump().await;
        if !ends_with_input {
            std::future::pending::<()>().await;
        }
    };
    let ending = async {
        tokio::select! {
            result = &mut end => result,
            () = leaving => Ok(()),
        }
    };
    let all = deliver([(process.stdout, stdout), (process.stderr, stderr)], ending, &pool);
    let beside = async {
        pump_sizes(resize, process.resizer).await;
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        biased;
        () = gone.cancelled() => return,
        result = all => result,
        () = beside => return,
    };
    let status = match result {
        Ok(()) => Status::Success,
        Err(error) => Status::Failed(format!("error attaching to container: {error}")),
    };
    tell(sink, &status, input, &gone).await;
}

/// Tells the client how it ended, and throws away what it still sends, so that it can read it.
async fn tell(sink: EndSink, status: &Status, mut input: Input, gone: &CancellationToken) {
    input.to = None;
    let discard = async {
        input.pump().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = gone.cancelled() => {}
        () = sink.tell(status) => {}
        () = discard => {}
    }
}

impl Client {
    /// Tells a client that there is nothing to be joined to.
    pub(crate) async fn fail(self, message: String) {
        let input = Input { from: self.stdin, to: None, buffer: Buffer::new(&self.pool) };
        tell(self.end, &Status::Failed(message), input, &self.gone).await;
    }
}

impl EndSink {
    /// Sends the status and ends all streams that are still open.
    async fn tell(mut self, status: &Status) {
        let bytes = status.render(self.version);
        if !bytes.is_empty() && self.stream.write_all(&bytes).await.is_err() {
            return;
        }
        for stream in std::iter::once(&mut self.stream).chain(&mut self.others) {
            // A client that is gone, or has closed it, needs to be told nothing.
            let _ = stream.shutdown().await;
        }
    }
}

/// The way of the client's input.
struct Input {
    from: Option<BoxRead>,
    to: Option<Box<dyn ProcessInput>>,
    buffer: Buffer,
}

impl Input {
    /// Resolves at the client's end of input, once the process has seen it. What the process does not take any more is thrown away, so that the
    /// client's other streams go on.
    async fn pump(&mut self) {
        let Some(from) = &mut self.from else { return std::future::pending().await };
        loop {
            let bytes = match self.buffer.read(from).await {
                Ok([]) => break,
                Ok(bytes) => bytes,
                // Not an end that the process should see; that the client has left is told elsewhere.
                Err(_) => return std::future::pending().await,
            };
            if let Some(to) = &mut self.to
                && (to.write_all(bytes).await.is_err() || to.flush().await.is_err())
            {
                self.to = None;
            }
        }
        if let Some(mut to) = self.to.take() {
            let _ = to.shutdown().await;
        }
    }
}

/// Copies both outputs until they have ended; once `ending` has resolved, only what is left of them.
async fn deliver<T>(
    outputs: [(Option<BoxRead>, Option<BoxWrite>); 2],
    ending: impl Future<Output = T>,
    pool: &Pool,
) -> T {
    let ended = CancellationToken::new();
    let [(stdout, to_stdout), (stderr, to_stderr)] = outputs;
    let ending = async {
        let result = ending.await;
        ended.cancel();
        result
    };
    let stdout = pump_output(stdout, to_stdout, &ended, pool);
    let stderr = pump_output(stderr, to_stderr, &ended, pool);
    tokio::join!(stdout, stderr, ending).2
}

/// Copies until the end of `from`, or until `ended` and nothing more is left, and then ends `to`.
async fn pump_output(from: Option<BoxRead>, to: Option<BoxWrite>, ended: &CancellationToken, pool: &Pool) {
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    let mut buffer = Buffer::new(pool);
    let mut left = MOST_LEFT_BYTES;
    while left > 0 {
        let bytes = tokio::select! {
            biased;
            bytes = buffer.read(&mut from) => bytes.unwrap_or_default(),
            () = quiet(ended) => &[],
        };
        // The process sees a broken pipe, if the client takes no more.
        if bytes.is_empty() || to.write_all(bytes).await.is_err() {
            break;
        }
        if ended.is_cancelled() {
            left = left.saturating_sub(bytes.len());
        }
    }
    drop(from);
    let _ = to.shutdown().await;
}

async fn quiet(ended: &CancellationToken) {
    ended.cancelled().await;
    tokio::time::sleep(QUIET).await;
}

async fn pump_sizes<R: Resize>(sizes: Option<BoxRead>, resizer: Option<R>) {
    let (Some(sizes), Some(resizer)) = (sizes, resizer) else { return };
    let mut sizes = Sizes::new(sizes);
    while let Some(size) = sizes.next().await {
        if let Err(error) = resizer.resize(size).await {
            tracing::debug!(%error, ?size, "terminal not resized");
        }
    }
}
