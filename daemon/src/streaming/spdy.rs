//! The server's side of SPDY/3.1, as the clients of Kubernetes speak it.
//!
//! ```text
//! connection ─▶ Parser ─▶ Core::receive ─▶ inbox of a stream ─▶ Stream (AsyncRead)
//!            ◀─────────── Core::outgoing ◀─ outbox of a stream ◀─ Stream (AsyncWrite)
//! ```
//! One task per session moves bytes; everything that is known is in the [`core::Core`] that it shares with the streams.
//!
//! - Memory is bounded, for a stream, for the session, and for all sessions together: what does not fit is not read from
//!   the connection, and writes wait. A stream for which there is no room is refused (RST_STREAM, REFUSED_STREAM).
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

use super::budget::Pool;

pub(crate) use session::{Incoming, Session};
pub(crate) use stream::Stream;

/// What bounds a session.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// How long it may carry no data.
    pub(crate) idle: Duration,
    /// What it borrows from.
    pub(crate) pool: Pool,
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;
