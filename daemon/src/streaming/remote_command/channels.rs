//! The channels of a remote command in a WebSocket: 0 to 2 are the standard streams, 3 is the error stream, 4 the terminal's size.

use std::future::Future;
use std::time::Duration;

use linkspan_pod_sandbox::StreamSet;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;

use super::{BoxRead, BoxWrite, Client, EndSink, Version};
use crate::streaming::websocket::{Channels, Metered};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// What was negotiated for such a connection.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) version: Version,
    pub(crate) streams: StreamSet,
    pub(crate) idle: Duration,
}

/// Gives the channels to `work`; resolves when it is done and the connection closed.
pub(crate) async fn over_channels<IO, W>(
    socket: WebSocketStream<Metered<IO>>,
    mut channels: Channels,
    layout: Layout,
    work: impl FnOnce(Client) -> W,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    W: Future<Output = ()>,
{
    let Layout { version, streams, idle } = layout;
    let pool = channels.pool().clone();
    let stdin = streams.stdin.then(|| Box::new(channels.reader(STDIN)) as BoxRead);
    let resize = streams.tty.then(|| Box::new(channels.reader(RESIZE)) as BoxRead);
    let writer = |channel| Box::new(channels.writer(channel)) as BoxWrite;
    let stdout = streams.stdout.then(|| writer(STDOUT));
    let stderr = (streams.stderr && !streams.tty).then(|| writer(STDERR));
    let end = EndSink { stream: writer(ERROR), version, others: Vec::new() };
    // Tells the client that the connection stands, on the lowest channel that it listens to.
    let lowest = [(streams.stdout, STDOUT), (streams.stderr && !streams.tty, STDERR)];
    let lowest = lowest.into_iter().find_map(|(open, channel)| open.then_some(channel)).unwrap_or(ERROR);
    let _ = writer(lowest).write(&[]).await;

    let connection = channels.open(socket, idle);
    work(Client { stdin, stdout, stderr, resize, end, gone: connection.gone(), pool }).await;
    connection.close().await;
}
