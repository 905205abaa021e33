//! ttrpc's framing: calls without streams, on a connection of the multiplexer.
//!
//! ```text
//! message = length (u32) | stream (u32) | type (u8) | flags (u8) | payload        all numbers big-endian
//! ```
//! A caller numbers its streams 1, 3, 5, …; the answer has the number of its request. Source: github.com/containerd/ttrpc,
//! PROTOCOL.md.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::Nonsense;

pub(crate) const HEADER_LENGTH: usize = 10;
/// Longest payload of a message, in bytes.
pub(crate) const MAX_MESSAGE: usize = 4 << 20;

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) stream: u32,
    pub(crate) kind: Kind,
    pub(crate) payload: Bytes,
}

/// A message on the wire. `payload` has at most [`MAX_MESSAGE`] bytes.
pub(crate) fn encode(kind: Kind, stream: u32, payload: &[u8]) -> Vec<u8> {
    let kind = match kind {
        Kind::Request => REQUEST,
        Kind::Response => RESPONSE,
    };
    let mut bytes = Vec::with_capacity(HEADER_LENGTH + payload.len());
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(&[kind, 0]);
    bytes.extend_from_slice(payload);
    bytes
}

/// Puts messages together from the frames of one connection, however they are cut.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// At most one message and one frame.
    buffer: BytesMut,
}

impl Decoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message; `None` until more has come.
    ///
    /// # Errors
    /// A message that is too long, or of a type that calls without streams do not have. Nothing after it makes sense.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, Nonsense> {
        let Some(header) = self.buffer.first_chunk::<HEADER_LENGTH>() else { return Ok(None) };
        let [a, b, c, d, e, f, g, h, kind, _flags] = *header;
        let length = u32::from_be_bytes([a, b, c, d]);
        let Some(whole) = usize::try_from(length).ok().filter(|length| *length <= MAX_MESSAGE) else {
            return Err(Nonsense::MessageTooLong { length });
        };
        let kind = match kind {
            REQUEST => Kind::Request,
            RESPONSE => Kind::Response,
            kind => return Err(Nonsense::MessageType { kind }),
        };
        if self.buffer.len() < HEADER_LENGTH + whole {
            return Ok(None);
        }
        self.buffer.advance(HEADER_LENGTH);
        let payload = self.buffer.split_to(whole).freeze();
        Ok(Some(Message { stream: u32::from_be_bytes([e, f, g, h]), kind, payload }))
    }
}

#[cfg(test)]
mod tests;
