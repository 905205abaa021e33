//! What a client has sent and nobody has used yet, counted below the messages: a message is held whole, and a client
//! decides how long it is.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::Message;

use super::MAX_MESSAGE_BYTES;
use crate::streaming::budget::{Budget, Pool};

/// Of a session, without borrowing: longer messages than kubectl's (32 KiB) need the pool.
const OWN_BYTES: usize = 64 << 10;
/// A control frame of a client, beside its payload (RFC 6455, section 5.2).
const CONTROL_FRAME_BYTES: usize = 6;

/// Who waits for messages to be used: there is one.
const READER: u32 = 0;

/// A connection whose bytes are counted when they are read.
#[derive(Debug)]
pub(crate) struct Metered<IO> {
    io: IO,
    meter: Meter,
}

/// The count. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Meter(Arc<Mutex<Count>>);

#[derive(Debug)]
struct Count {
    bytes: Budget,
    /// Of them, what belongs to a message that is not complete.
    unfinished: usize,
}

/// A message's bytes, until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    meter: Meter,
    bytes: usize,
}

impl<IO> Metered<IO> {
    pub(super) fn new(io: IO, pool: &Pool) -> Self {
        let bytes = Budget::backed(MAX_MESSAGE_BYTES + OWN_BYTES, OWN_BYTES, pool);
        Self { io, meter: Meter(Arc::new(Mutex::new(Count { bytes, unfinished: 0 }))) }
    }

    pub(super) fn meter(&self) -> Meter {
        self.meter.clone()
    }
}

impl Meter {
    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `message` is complete.
    pub(super) fn finished(&self, message: &Message) -> Held {
        let mut count = self.count();
        let (before, length) = (count.unfinished, message.len());
        let (after, bytes) = match message {
            Message::Text(_) | Message::Binary(_) => (0, length),
            // It may come in the midst of another message's parts.
            _ => (before.saturating_sub(length + CONTROL_FRAME_BYTES), 0),
        };
        count.unfinished = after;
        count.bytes.give_back(before - after);
        count.bytes.take(bytes);
        Held { meter: self.clone(), bytes }
    }

    /// How many bytes may be read now. None while messages wait to be used; an error if what is there of a message is all
    /// that may be held, so that it would never be complete.
    fn room(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut count = self.count();
        match count.bytes.left_for(READER, cx.waker()) {
            0 if count.bytes.used() > count.unfinished => Poll::Pending,
            0 => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "streaming sessions hold too much for a message of this length: send shorter ones, or try again later",
            ))),
            room => Poll::Ready(Ok(room)),
        }
    }

    fn read(&self, length: usize) {
        let mut count = self.count();
        count.unfinished += length;
        count.bytes.take(length);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut count = self.meter.count();
        count.bytes.give_back(self.bytes);
        // Even if nothing is left: who waits for messages to be used may not wait for this one any more.
        count.bytes.dismiss(READER);
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Metered<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = ready!(self.meter.room(cx))?.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
        let length = part.filled().len();
        buffer.advance(length);
        self.meter.read(length);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Metered<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
