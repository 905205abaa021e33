//! A connection as one stream of bytes: where a message ends means nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::meter::{Held, Meter};
use super::{MAX_SENT_BYTES, Metered, goodbye, take};

/// Binary messages as bytes. The peer's close is the end of file; shutting down sends ours.
pub(crate) struct Tunnel<IO> {
    socket: WebSocketStream<Metered<IO>>,
    meter: Meter,
    current: Bytes,
    held: Option<Held>,
    closing: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Tunnel<IO> {
    pub(crate) fn new(socket: WebSocketStream<Metered<IO>>) -> Self {
        let meter = socket.get_ref().meter();
        Self { socket, meter, current: Bytes::new(), held: None, closing: false }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            let message = match ready!(self.socket.poll_next_unpin(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(message) => message.map_err(io_error)?,
            };
            let held = self.meter.finished(&message);
            match message {
                Message::Binary(bytes) => (self.current, self.held) = (bytes, Some(held)),
                Message::Text(_) => {
                    let error = io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a text message where SPDY's bytes are expected",
                    );
                    return Poll::Ready(Err(error));
                }
                // Pings are answered below us; a close is followed by the end.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
            }
        }
        take(&mut self.current, buffer);
        if self.current.is_empty() {
            self.held = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io_error)?;
        let most = bytes.len().min(MAX_SENT_BYTES);
        let message = Message::Binary(Bytes::copy_from_slice(&bytes[..most]));
        Pin::new(&mut self.socket).start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(most))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing {
            ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io_error)?;
            self.closing = true;
            Pin::new(&mut self.socket).start_send(Message::Close(Some(goodbye()))).map_err(io_error)?;
        }
        self.poll_flush(cx)
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::NotConnected.into(),
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

#[cfg(test)]
mod tests;
