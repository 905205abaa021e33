//! The server's side of SPDY/3.1, as the clients of Kubernetes speak it.
//!
//! ```text
//! connection ─▶ Parser ─▶ Core::receive ─▶ inbox of a stream ─▶ Stream (AsyncRead)
//!            ◀─────────── Core::outgoing ◀─ outbox of a stream ◀─ Stream (AsyncWrite)
//! ```
//! One task per session moves bytes; everything that is known is in the [`core::Core`] that it shares with the streams.
//!
//! - Memory is bounded, for a stream and for the session: what does not fit is not read from the connection, and
//!   writes wait.
//! - Windows bind us only once the peer has shown that it has them: Go's spdystream never tells what it has consumed.
//! - What breaks the protocol is answered with GOAWAY, and the connection is closed.
//!
//! Source: SPDY protocol drafts 3 and 3.1; github.com/moby/spdystream v0.5.1 for what its clients really do.

mod core;
mod dictionary;
mod frame;
mod headers;
mod session;
mod stream;

use std::time::Duration;

pub(crate) use session::{Incoming, Session};
pub(crate) use stream::Stream;

/// What ends a session that nobody ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long it may carry no data.
    pub(crate) idle: Duration,
}

/// A peer that sends `data`, cut into pieces of the length that the first byte says.
///
/// # Panics
/// If what is held in memory is beyond its bounds.
#[cfg(test)]
fn fuzz(data: &[u8]) {
    const MOST_BYTES: usize = 8 << 20;
    let Some((size, bytes)) = data.split_first() else { return };
    let (mut parser, mut core) = (frame::Parser::new(), core::Core::new());
    for mut piece in bytes.chunks(usize::from(*size).max(1)) {
        while core.has_room() {
            match parser.next(&mut piece) {
                Ok(Some(frame)) => {
                    if core.receive(frame).is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
            while let Some((id, _)) = core.take_incoming() {
                // One of three streams is refused, one let go at once, one kept.
                match id % 3 {
                    0 => core.refuse(id),
                    1 => core.release(id),
                    _ => core.accept(id),
                }
            }
        }
        core.outgoing();
        assert!(parser.held_bytes() + core.held_bytes() < MOST_BYTES, "more is held than allowed");
    }
}

#[cfg(test)]
mod tests;
