//! One stream, as a reader and writer of bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::core::{Read, Write};
use super::session::Shared;

/// Reads end at the peer's FIN; shutting down sends ours, after what was written. Lost streams and sessions are errors.
/// Dropped before both sides have ended, the stream is reset, and what the peer still sends on it is thrown away.
pub(crate) struct Stream {
    id: u32,
    shared: Shared,
}

impl Stream {
    pub(super) fn new(id: u32, shared: Shared) -> Self {
        Self { id, shared }
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the SPDY stream was reset, or its session has ended")
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.shared.lock().read(self.id, buffer, context.waker()) {
            Read::Bytes | Read::End => Poll::Ready(Ok(())),
            Read::Lost => Poll::Ready(Err(lost())),
            Read::Nothing => Poll::Pending,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match self.shared.lock().write(self.id, data, context.waker()) {
            Write::Taken(length) => Poll::Ready(Ok(length)),
            Write::Lost => Poll::Ready(Err(lost())),
            Write::Full => Poll::Pending,
        }
    }

    /// What was written is sent as soon as the connection takes it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.lock().finish(self.id);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.lock().release(self.id);
    }
}
