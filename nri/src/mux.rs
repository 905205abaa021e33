//! The multiplexer: several logical connections over one socket, in frames.
//!
//! ```text
//! frame = connection (u32) | length (u32) | payload            all numbers big-endian
//! ```
//! Source: github.com/containerd/nri v0.12.0, pkg/net/multiplex.

use crate::error::Nonsense;
use crate::ttrpc;

/// The plugin's service: we call.
pub(crate) const PLUGIN_SERVICE: u32 = 1;
/// Our service: the plugin calls.
pub(crate) const RUNTIME_SERVICE: u32 = 2;

pub(crate) const HEADER_LENGTH: usize = 8;
/// A frame holds one ttrpc message at most.
pub(crate) const MAX_PAYLOAD: usize = ttrpc::HEADER_LENGTH + ttrpc::MAX_MESSAGE;

/// The official stub reads a message's beginning into a buffer of this size, and closes the connection over a frame that
/// does not fit; it then wants the rest in as few frames as possible, since it queues 256 of them at most.
const FIRST_FRAME: usize = 4096;

/// What comes before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) connection: u32,
    /// At most [`MAX_PAYLOAD`].
    pub(crate) length: usize,
}

impl Header {
    /// # Errors
    /// A length that no peer in its right mind sends.
    pub(crate) fn decode(bytes: [u8; HEADER_LENGTH]) -> Result<Self, Nonsense> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let length = u32::from_be_bytes([e, f, g, h]);
        match usize::try_from(length) {
            Ok(length) if length <= MAX_PAYLOAD => {
                Ok(Self { connection: u32::from_be_bytes([a, b, c, d]), length })
            }
            _ => Err(Nonsense::FrameTooLong { length }),
        }
    }
}

/// One ttrpc message of at most [`MAX_PAYLOAD`], as the frames that carry it.
pub(crate) fn frames(connection: u32, message: &[u8]) -> Vec<u8> {
    let (first, rest) = message.split_at(message.len().min(FIRST_FRAME));
    let mut bytes = Vec::with_capacity(message.len() + 2 * HEADER_LENGTH);
    for payload in [first, rest].into_iter().filter(|payload| !payload.is_empty()) {
        bytes.extend_from_slice(&connection.to_be_bytes());
        // Below 2^32: the caller keeps to the most that a message may have.
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(payload);
    }
    bytes
}

#[cfg(test)]
mod tests;
