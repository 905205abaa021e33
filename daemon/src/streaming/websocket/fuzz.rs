//! A peer that may send anything.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::{Encoding, Tunnel, accept, verdict};
use crate::streaming::budget::Pool;

/// The bytes of a peer, in pieces; what is written to it is not looked at. Never waits.
struct Peer<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl AsyncRead for Peer<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = self.piece.min(self.bytes.len()).min(buffer.remaining());
        let (piece, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        buffer.put_slice(piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A peer that sends `data`, cut into pieces of the length that the first byte says: once on channels, once through a tunnel.
///
/// # Panics
/// If something waits for more than there is.
pub(in crate::streaming) fn noise(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else { return };
    let piece = usize::from(*size).max(1);
    let encoding = if size % 2 == 0 { Encoding::Binary } else { Encoding::Base64 };
    let channels = async {
        let mut socket = accept(Peer { bytes, piece }, &Pool::new()).await;
        while let Some(message) = socket.next().await {
            match message {
                Ok(message) => drop(encoding.decode(message.into_data(), size % 3 == 0)),
                Err(error) => return drop(verdict(&error)),
            }
        }
    };
    channels.now_or_never().expect("a peer that says all at once is heard at once");
    let tunnel = async {
        let mut all = Vec::new();
        let _ = Tunnel::new(accept(Peer { bytes, piece }, &Pool::new()).await).read_to_end(&mut all).await;
        assert!(all.len() <= bytes.len(), "more came than was sent");
    };
    tunnel.now_or_never().expect("a peer that says all at once is heard at once");
}

/// A peer whose frames look right at first. Each is made of an opcode with its flags, a length and that many bytes of `script`; the first byte of all is
/// the size of the pieces.
///
/// # Panics
/// As [`noise`].
pub(in crate::streaming) fn nearly_frames(script: &[u8]) {
    let Some((size, mut rest)) = script.split_first() else { return };
    let mut bytes = vec![*size];
    while let [kind, length, tail @ ..] = rest {
        let (payload, further) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = further;
        // Opcodes that there are, mostly (RFC 6455, section 5.2), and most frames end a message.
        let opcode =
            [0, 1, 2, 2, 2, 8, 9, 10][usize::from(kind % 8)] | if kind & 0x40 == 0 { 0x80 } else { 0 };
        let reserved = if *kind > 250 { 0x70 } else { 0 };
        bytes.push(opcode | reserved);
        match u8::try_from(payload.len()) {
            Ok(short @ ..=125) => bytes.push(0x80 | short),
            _ => bytes.extend([0xfe, 0, payload.len() as u8]),
        }
        // A mask of zeros leaves the payload readable, here and for a fuzzer.
        bytes.extend([0; 4]);
        bytes.extend_from_slice(payload);
    }
    noise(&bytes);
}
