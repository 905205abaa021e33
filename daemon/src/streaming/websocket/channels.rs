//! A connection as numbered channels: a task that reads messages and hands them to the channels' readers, and one that writes what the channels' writers send.
//!
//! There is no flow control for one channel: while a reader does not take its data, nothing else of the connection is read. So that a client that
//! waits for its input to be taken is not given up by itself (client-go does so after a minute without an answer to its pings, which lie behind that
//! input), and one that is gone is noticed, it is sent unasked pongs all the time (RFC 6455, section 5.5.3).

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, tungstenite};
use tokio_util::sync::{CancellationToken, PollSender};

use super::channel::{Encoding, Inbound};
use super::meter::{Held, Meter};
use super::{MAX_SENT_BYTES, Metered, close_frame, goodbye, take, verdict};
use crate::streaming::activity::Activity;
use crate::streaming::budget::{Budget, Pool};

const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a client may say nothing at all, pings included, once it was told that all is over.
const FAREWELL: Duration = Duration::from_secs(30);
/// How long it takes to tell a client off that does not listen.
const TELLING_OFF: Duration = Duration::from_secs(2);
/// Messages of at most [`MAX_SENT_BYTES`] that wait to be written.
const OUTBOUND: usize = 4;
/// What of them need not be borrowed, in bytes of data.
const OWN_BYTES: usize = 16 << 10;

/// The channels of a connection that does not run yet. Data on channels without a reader is ignored.
pub(crate) struct Channels {
    encoding: Encoding,
    close_signal: bool,
    readers: BTreeMap<u8, mpsc::Sender<Received>>,
    outbound: mpsc::Sender<Outbound>,
    queue: mpsc::Receiver<Outbound>,
    unsent: Arc<Mutex<Budget>>,
    pool: Pool,
}

/// A message's data, which counts until it is used. Without any it is the end.
type Received = (Bytes, Option<Held>);
/// A message, which counts until it is sent.
type Outbound = (Message, Unsent);

/// Bytes that wait to be sent.
#[derive(Debug)]
struct Unsent {
    budget: Arc<Mutex<Budget>>,
    bytes: usize,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        lock(&self.budget).give_back(self.bytes);
    }
}

fn lock(budget: &Mutex<Budget>) -> MutexGuard<'_, Budget> {
    budget.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that runs; dropping it ends it at once.
pub(crate) struct Open {
    tasks: JoinSet<()>,
    shared: Shared,
    idle: Duration,
}

#[derive(Clone)]
struct Shared {
    /// Data in either direction.
    data: Activity,
    /// Any message of the client.
    heard: Activity,
    gone: CancellationToken,
    /// What the client is told, if we end the connection before it is due.
    verdict: Arc<OnceLock<CloseFrame>>,
    flushed: CancellationToken,
    left: CancellationToken,
}

impl Channels {
    /// `close_signal`: the client may end a channel alone.
    pub(crate) fn new(encoding: Encoding, close_signal: bool, pool: &Pool) -> Self {
        let (outbound, queue) = mpsc::channel(OUTBOUND);
        let unsent = Arc::new(Mutex::new(Budget::backed(OUTBOUND * MAX_SENT_BYTES, OWN_BYTES, pool)));
        Self { encoding, close_signal, readers: BTreeMap::new(), outbound, queue, unsent, pool: pool.clone() }
    }

    /// What those may borrow from whom the channels are for.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What the client sends on `channel`. Its end is the client's close signal; if the client leaves, reading fails.
    pub(crate) fn reader(&mut self, channel: u8) -> Reader {
        let (sender, messages) = mpsc::channel(1);
        self.readers.insert(channel, sender);
        Reader { messages, current: Bytes::new(), held: None, ended: false }
    }

    pub(crate) fn writer(&self, channel: u8) -> Writer {
        Writer {
            encoding: self.encoding,
            channel,
            queue: PollSender::new(self.outbound.clone()),
            unsent: self.unsent.clone(),
        }
    }

    /// Starts reading and writing. Without data for `idle`, the connection ends.
    pub(crate) fn open<IO>(self, socket: WebSocketStream<Metered<IO>>, idle: Duration) -> Open
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Shared::new();
        let meter = socket.get_ref().meter();
        let (sink, stream) = socket.split();
        let Self { encoding, close_signal, readers, .. } = self;
        let inbound = Inlet { encoding, close_signal, readers, meter };
        let mut tasks = JoinSet::new();
        tasks.spawn(inbound.run(stream, shared.clone()));
        tasks.spawn(write(sink, self.queue, shared.clone()));
        tasks.spawn(watch(shared.clone(), idle));
        Open { tasks, shared, idle }
    }
}

impl Open {
    /// Cancelled once the client has left, or was told to.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.shared.gone.clone()
    }

    /// Ends the connection, when all its [`Writer`]s are gone: what they sent is delivered first, however long a client that still reads takes.
    pub(crate) async fn close(self) {
        let Self { tasks: _tasks, shared, idle } = self;
        let told_off = async {
            shared.gone.cancelled().await;
            tokio::time::sleep(TELLING_OFF).await;
        };
        tokio::select! {
            () = shared.flushed.cancelled() => {}
            () = told_off => {}
        }
        if shared.gone.is_cancelled() {
            return;
        }
        // A socket that is closed with something unread in it is reset, and the client may lose what it has not read yet.
        tokio::select! {
            () = shared.left.cancelled() => {}
            () = shared.heard.ceased(FAREWELL) => {}
            () = shared.data.ceased(idle) => {}
        }
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            data: Activity::new(),
            heard: Activity::new(),
            gone: CancellationToken::new(),
            verdict: Arc::default(),
            flushed: CancellationToken::new(),
            left: CancellationToken::new(),
        }
    }

    fn end(&self, told: Option<CloseFrame>) {
        if let Some(frame) = told {
            // The first reason is the reason.
            let _ = self.verdict.set(frame);
        }
        self.gone.cancel();
    }
}

/// Ends a connection that carries nothing.
async fn watch(shared: Shared, idle: Duration) {
    shared.data.ceased(idle).await;
    shared.end(Some(close_frame(CloseCode::Away, format!("nothing was sent for {idle:?}"))));
}

/// The way of the client's messages to the readers.
struct Inlet {
    encoding: Encoding,
    close_signal: bool,
    readers: BTreeMap<u8, mpsc::Sender<Received>>,
    meter: Meter,
}

impl Inlet {
    async fn run<IO>(mut self, mut stream: SplitStream<WebSocketStream<IO>>, shared: Shared)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let told = loop {
            let message = match stream.next().await {
                None => break None,
                Some(Err(error)) => break verdict(&error),
                Some(Ok(message)) => message,
            };
            shared.heard.touch();
            let held = self.meter.finished(&message);
            if let Message::Text(_) | Message::Binary(_) = message
                && let Err(told) = self.deliver(message.into_data(), held, &shared).await
            {
                break Some(told);
            }
        };
        shared.left.cancel();
        shared.end(told);
    }

    async fn deliver(&mut self, message: Bytes, held: Held, shared: &Shared) -> Result<(), CloseFrame> {
        let inbound = self.encoding.decode(message, self.close_signal);
        match inbound.map_err(|error| close_frame(CloseCode::Invalid, error.to_string()))? {
            Inbound::Data { channel, data } if !data.is_empty() => {
                shared.data.touch();
                // Nobody reads it any more: it is thrown away, so that the rest goes on.
                if let Some(reader) = self.readers.get(&channel)
                    && reader.send((data, Some(held))).await.is_err()
                {
                    self.readers.remove(&channel);
                }
            }
            Inbound::End { channel } => {
                if let Some(reader) = self.readers.remove(&channel) {
                    let _ = reader.send((Bytes::new(), None)).await;
                }
            }
            Inbound::Data { .. } | Inbound::Nothing => {}
        }
        Ok(())
    }
}

/// Writes what the channels' writers send until they are gone, and then says goodbye.
async fn write<IO>(
    mut sink: SplitSink<WebSocketStream<IO>, Message>,
    mut queue: mpsc::Receiver<Outbound>,
    shared: Shared,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    let farewell = loop {
        let written = tokio::select! {
            // Looked at first: it makes the writers go, and the client must not take that for a regular end, which is success to it.
            biased;
            () = shared.gone.cancelled() => break shared.verdict.get().cloned(),
            message = queue.recv() => match message {
                Some(message) => write_all(&mut sink, message, &mut queue, &shared.data).await,
                None => break Some(goodbye()),
            },
            _ = heartbeat.tick() => sink.send(Message::Pong(Bytes::new())).await,
        };
        if written.is_err() {
            shared.end(None);
            break None;
        }
    };
    if let Some(frame) = farewell
        && sink.send(Message::Close(Some(frame))).await.is_err()
    {
        shared.end(None);
    }
    shared.flushed.cancel();
}

/// Writes `message` and what else waits in the queue, and then flushes once.
async fn write_all<IO>(
    sink: &mut SplitSink<WebSocketStream<IO>, Message>,
    (message, unsent): Outbound,
    queue: &mut mpsc::Receiver<Outbound>,
    data: &Activity,
) -> Result<(), tungstenite::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    sink.feed(message).await?;
    let mut all = vec![unsent];
    while let Ok((message, unsent)) = queue.try_recv() {
        sink.feed(message).await?;
        all.push(unsent);
    }
    sink.flush().await?;
    drop(all);
    data.touch();
    Ok(())
}

/// See [`Channels::reader`].
pub(crate) struct Reader {
    /// An empty message is the end.
    messages: mpsc::Receiver<Received>,
    current: Bytes,
    held: Option<Held>,
    ended: bool,
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.current.is_empty() && !self.ended {
            match ready!(self.messages.poll_recv(cx)) {
                Some((message, held)) => {
                    self.ended = message.is_empty();
                    (self.current, self.held) = (message, held);
                }
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            }
        }
        take(&mut self.current, buffer);
        if self.current.is_empty() {
            self.held = None;
        }
        Poll::Ready(Ok(()))
    }
}

/// Sends on one channel; each write is a message. What is written is flushed without being asked. Shutting it down tells the client nothing: only
/// the end of the connection does.
pub(crate) struct Writer {
    encoding: Encoding,
    channel: u8,
    queue: PollSender<Outbound>,
    unsent: Arc<Mutex<Budget>>,
}

impl AsyncWrite for Writer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.queue.poll_reserve(cx)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        let length = {
            let mut unsent = lock(&self.unsent);
            let room = unsent.left_for(u32::from(self.channel), cx.waker());
            if room == 0 {
                return Poll::Pending;
            }
            let length = bytes.len().min(MAX_SENT_BYTES).min(room);
            unsent.take(length);
            length
        };
        let unsent = Unsent { budget: self.unsent.clone(), bytes: length };
        let message = self.encoding.encode(self.channel, &bytes[..length]);
        self.queue.send_item((message, unsent)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.queue.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
