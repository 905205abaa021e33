//! One message of a channel: its number, then its data. Pure.
//!
//! Source: the package documentation of k8s.io/streaming v0.37, `httpstream/wsstream`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;

/// The first byte of a message that ends a channel instead of carrying data, from the fifth version on.
const CLOSE_SIGNAL: u8 = 255;

/// How a message's bytes stand for a channel's number and its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Binary messages: the number as a byte, then the data.
    Binary,
    /// Text messages: the number as a digit, then the data in base64.
    Base64,
}

/// What a client's message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    Data {
        channel: u8,
        data: Bytes,
    },
    /// The client sends nothing more on this channel.
    End {
        channel: u8,
    },
    /// An empty message: some clients keep connections alive with them.
    Nothing,
}

/// A message that says nothing that there could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the data of a message is not base64")]
    NotBase64,
    #[error("a close signal is followed by one channel's number")]
    CloseSignal,
}

impl Encoding {
    /// `channel` is below 78, so that its digit is one byte of text.
    pub(super) fn encode(self, channel: u8, data: &[u8]) -> Message {
        match self {
            Self::Binary => {
                let mut message = BytesMut::with_capacity(1 + data.len());
                message.put_u8(channel);
                message.put_slice(data);
                Message::Binary(message.freeze())
            }
            Self::Base64 => {
                let mut message = String::with_capacity(1 + data.len().div_ceil(3) * 4);
                message.push(char::from(b'0'.wrapping_add(channel)));
                STANDARD.encode_string(data, &mut message);
                Message::text(message)
            }
        }
    }

    /// Both text and binary messages come here, as the kubelet's server takes both.
    pub(super) fn decode(self, mut message: Bytes, close_signal: bool) -> Result<Inbound, Malformed> {
        let Some(&first) = message.first() else { return Ok(Inbound::Nothing) };
        if close_signal && first == CLOSE_SIGNAL {
            return match message[..] {
                [_, channel] => Ok(Inbound::End { channel }),
                _ => Err(Malformed::CloseSignal),
            };
        }
        let data = message.split_off(1);
        match self {
            Self::Binary => Ok(Inbound::Data { channel: first, data }),
            Self::Base64 => {
                let data = STANDARD.decode(data).map_err(|_| Malformed::NotBase64)?;
                Ok(Inbound::Data { channel: first.wrapping_sub(b'0'), data: data.into() })
            }
        }
    }
}

#[cfg(test)]
mod tests;
