//! WebSocket connections (RFC 6455) after their handshake: what a peer may send, how it is told off, and the two ways in which they are used.
//!
//! - [`Channels`]: every message belongs to a numbered channel, which its first byte names; a channel is a pipe in one or both directions.
//! - [`Tunnel`]: the messages' bytes are one stream, which SPDY goes through.
//!
//! What a session holds of messages is counted ([`Metered`]), those included that are not complete: [`MAX_MESSAGE_BYTES`] at most, and no more than all sessions
//! together may. What is not consumed is not read; a client whose message finds no room is told so (1013, try again later).

mod channel;
mod channels;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod meter;
mod tunnel;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::budget::Pool;

pub(crate) use channel::Encoding;
pub(crate) use channels::{Channels, Reader, Writer};
pub(crate) use meter::Metered;
pub(crate) use tunnel::Tunnel;

/// A regular end, which client-go takes for success.
fn goodbye() -> CloseFrame {
    close_frame(CloseCode::Normal, String::new())
}

/// Moves as much of `current` as `buffer` has room for.
fn take(current: &mut Bytes, buffer: &mut ReadBuf<'_>) {
    buffer.put_slice(&current.split_to(current.len().min(buffer.remaining())));
}

/// As the kubelet's server has it: clients that send a whole file as one message exist.
const MAX_MESSAGE_BYTES: usize = 32 << 20;
/// Of the connection's reads, and of what is gathered before it is written.
const BUFFER_BYTES: usize = 16 << 10;
/// The longest message that we send, in bytes of data.
const MAX_SENT_BYTES: usize = 32 << 10;

/// The server's side of a connection whose handshake is done.
pub(crate) async fn accept<IO>(io: IO, pool: &Pool) -> WebSocketStream<Metered<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    WebSocketStream::from_raw_socket(Metered::new(io, pool), Role::Server, Some(config())).await
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(16 * BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
}

/// What a peer is told that broke a rule, or nothing if the connection is gone (RFC 6455, section 7.4.1).
fn verdict(error: &Error) -> Option<CloseFrame> {
    let code = match error {
        Error::Capacity(_) => CloseCode::Size,
        Error::Utf8(_) => CloseCode::Invalid,
        Error::Protocol(_) => CloseCode::Protocol,
        Error::Io(error) if error.kind() == std::io::ErrorKind::OutOfMemory => CloseCode::Again,
        _ => return None,
    };
    Some(close_frame(code, error.to_string()))
}

/// The reason is left out if it would not fit a control frame beside the code.
fn close_frame(code: CloseCode, reason: String) -> CloseFrame {
    let reason = if reason.len() <= 123 { reason } else { String::new() };
    CloseFrame { code, reason: reason.into() }
}
