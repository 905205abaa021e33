//! A session: the task that moves its bytes, and the streams that the peer opens.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, timeout};

use super::Limits;
use super::core::{Core, Life};
use super::frame::{GoAway, Parser, Violation};
use super::headers::Headers;
use super::stream::Stream;
use crate::streaming::budget::Pool;
use crate::streaming::buffer::Buffer;

/// A peer that is gone without a word is noticed by what cannot be sent to it.
const PING_EVERY: Duration = Duration::from_secs(10);
/// For the last frames, to a peer that broke the protocol or was idle.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// After our end, without a byte from the peer. To close with something unread would be a reset, which can
/// take the last bytes from a slow peer.
const SILENCE: Duration = Duration::from_secs(30);
/// After our end, in all.
const LINGER: Duration = Duration::from_secs(600);

/// What the session's task and its streams share.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Core>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server's end of a session. Dropping it ends the session and its connection at once.
pub(crate) struct Session {
    shared: Shared,
    /// One task.
    driver: JoinSet<()>,
    pool: Pool,
}

impl Session {
    pub(crate) fn new<IO>(io: IO, limits: Limits) -> Self
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Shared(Arc::new(Mutex::new(Core::new(&limits.pool))));
        let pool = limits.pool.clone();
        let mut driver = JoinSet::new();
        driver.spawn(drive(io, shared.clone(), limits));
        Self { shared, driver, pool }
    }

    /// What those may borrow from whom its streams are for.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The next stream of the peer; `None` when the session is over. Cancel safe.
    pub(crate) async fn accept(&mut self) -> Option<Incoming> {
        poll_fn(|context| {
            let mut core = self.shared.lock();
            match core.take_incoming() {
                _ if core.life != Life::Open => Poll::Ready(None),
                Some((id, headers)) => {
                    Poll::Ready(Some(Incoming { id, headers, shared: self.shared.clone(), taken: false }))
                }
                None => {
                    core.incoming_waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Sends what waits and then GOAWAY, ends our side of the connection, and waits for the peer to end its own.
    pub(crate) async fn close(mut self) {
        {
            let mut core = self.shared.lock();
            if core.life == Life::Open {
                core.close();
            }
        }
        self.driver.join_next().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.lock().end(None);
    }
}

/// A stream that the peer has opened. Dropping it refuses it.
pub(crate) struct Incoming {
    id: u32,
    headers: Headers,
    shared: Shared,
    taken: bool,
}

impl Incoming {
    /// By its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Answers SYN_REPLY.
    pub(crate) fn accept(mut self) -> Stream {
        self.taken = true;
        self.shared.lock().accept(self.id);
        Stream::new(self.id, self.shared.clone())
    }

    /// Answers RST_STREAM with REFUSED_STREAM.
    pub(crate) fn refuse(self) {
        drop(self);
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.taken {
            self.shared.lock().refuse(self.id);
        }
    }
}

/// Why a session ends.
enum End {
    /// We have closed it, and all is sent.
    Closed,
    PeerLeft,
    Lost(io::Error),
    Broken(Violation),
    Idle,
}

async fn drive<IO: AsyncRead + AsyncWrite>(io: IO, shared: Shared, limits: Limits) {
    let (mut reader, mut writer) = tokio::io::split(io);
    let end = tokio::select! {
        end = receive(&mut reader, &shared, &limits.pool) => end,
        end = send(&mut writer, &shared) => end,
        end = watch(&shared, limits.idle) => end,
        end = ping(&shared) => end,
    };
    let reason = match end {
        End::Closed | End::Idle => GoAway::Ok,
        End::Broken(violation) => {
            tracing::debug!(%violation, "the client does not speak SPDY/3.1");
            GoAway::ProtocolError
        }
        // Of a tunnel's message.
        End::Lost(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            tracing::debug!(%error, "streaming session refused more");
            GoAway::InternalError
        }
        End::PeerLeft => return shared.lock().end(None),
        End::Lost(error) => {
            tracing::debug!(%error, "streaming connection lost");
            return shared.lock().end(None);
        }
    };
    shared.lock().end(Some(reason));
    if timeout(LAST_WORDS, say_last(&mut writer, &shared)).await.is_ok_and(|said| said.is_ok()) {
        // Whoever does not end its side in that time is cut off.
        let _ = timeout(LINGER, discard(&mut reader)).await;
    }
}

async fn receive<R: AsyncRead + Unpin>(reader: &mut R, shared: &Shared, pool: &Pool) -> End {
    let mut parser = Parser::new();
    let mut buffer = Buffer::new(pool);
    loop {
        let mut input = match buffer.read(reader).await {
            Ok([]) => return End::PeerLeft,
            Ok(input) => input,
            Err(error) => return End::Lost(error),
        };
        loop {
            let step = room(shared, |core| match parser.next(&mut input)? {
                Some(frame) => core.receive(frame).map(|()| true),
                None => Ok(false),
            });
            match step.await {
                Ok(true) => {}
                Ok(false) => break,
                Err(violation) => return End::Broken(violation),
            }
        }
    }
}

/// Does `work` as soon as what came before has found its place.
async fn room<T>(shared: &Shared, work: impl FnOnce(&mut Core) -> T) -> T {
    let mut work = Some(work);
    poll_fn(|context| {
        let mut core = shared.lock();
        match work.take_if(|_| core.has_room(context.waker())) {
            Some(work) => Poll::Ready(work(&mut core)),
            None => Poll::Pending,
        }
    })
    .await
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, shared: &Shared) -> End {
    loop {
        let frames = poll_fn(|context| {
            let mut core = shared.lock();
            let frames = core.outgoing();
            if frames.is_empty() && core.life == Life::Open {
                core.watch(context.waker());
                return Poll::Pending;
            }
            Poll::Ready(frames)
        })
        .await;
        if frames.is_empty() {
            return End::Closed;
        }
        if let Err(error) = write(writer, frames).await {
            return End::Lost(error);
        }
    }
}

/// One write for what comes together; a frame that comes alone is not copied.
async fn write<W: AsyncWrite + Unpin>(writer: &mut W, mut frames: Vec<Bytes>) -> io::Result<()> {
    match frames.as_mut_slice() {
        [frame] => writer.write_all_buf(frame).await?,
        frames => writer.write_all(&frames.concat()).await?,
    }
    writer.flush().await
}

/// Resolves when nothing was carried for `idle`.
async fn watch(shared: &Shared, idle: Duration) -> End {
    let activity = shared.lock().activity.clone();
    activity.ceased(idle).await;
    End::Idle
}

/// Pings for ever.
async fn ping(shared: &Shared) -> End {
    let mut ticks = tokio::time::interval(PING_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let mut id = 0;
    loop {
        ticks.tick().await;
        id = (id + 2) & (u32::MAX >> 1);
        shared.lock().ping(id);
    }
}

async fn say_last<W: AsyncWrite + Unpin>(writer: &mut W, shared: &Shared) -> io::Result<()> {
    let frames = shared.lock().last_words();
    writer.write_all(&frames).await?;
    writer.shutdown().await
}

/// Until the peer has ended its side, or says nothing any more.
async fn discard<R: AsyncRead + Unpin>(reader: &mut R) {
    let mut buffer = [0; 4 << 10];
    while let Ok(Ok(1..)) = timeout(SILENCE, reader.read(&mut buffer)).await {}
}
