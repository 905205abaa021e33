//! A peer that may send anything.

use std::task::Waker;

use super::core::Core;
use super::frame::{Parser, data};
use super::headers::Deflater;
use crate::streaming::budget::Pool;

/// What is held in memory for one session, at most.
const MOST_BYTES: usize = 8 << 20;

/// A peer that sends `data`, cut into pieces of the length that the first byte says.
///
/// # Panics
/// If what is held in memory is beyond its bounds.
pub(in crate::streaming) fn noise(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else { return };
    let (mut parser, mut core) = (Parser::new(), Core::new(&Pool::new()));
    for mut piece in bytes.chunks(usize::from(*size).max(1)) {
        while core.has_room(Waker::noop()) {
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

/// A peer whose frames look right at first: noise made of them, see [`frames`].
///
/// # Panics
/// As [`noise`].
pub(in crate::streaming) fn nearly_frames(script: &[u8]) {
    noise(&frames(script));
}

/// Each frame is made of a kind, flags, a stream, a length and that many bytes of `script`; the first byte of all is the size of the
/// pieces.
fn frames(script: &[u8]) -> Vec<u8> {
    let Some((size, mut rest)) = script.split_first() else { return Vec::new() };
    let (mut bytes, mut deflater) = (vec![*size], Deflater::new());
    while let [kind, flags, id, length, tail @ ..] = rest {
        let (payload, further) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = further;
        match kind % 12 {
            0 => bytes.extend(data(u32::from(*id), payload, flags % 2 == 1)),
            // Headers that can be read: a name of the payload, and no value.
            kind @ (1 | 8) if flags & 2 == 0 => {
                let name = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
                let block = [&[0, 0, 0, 1][..], &name, payload, &[0; 4]].concat();
                let block = deflater.deflate(&block);
                let between: &[u8] = if kind == 1 { &[0; 6] } else { &[] };
                let length = u32::try_from(4 + between.len() + block.len()).unwrap_or_default().to_be_bytes();
                bytes.extend([0x80, 3, 0, kind, *flags, length[1], length[2], length[3], 0, 0, 0, *id]);
                bytes.extend_from_slice(between);
                bytes.extend(block);
            }
            kind => {
                bytes.extend([0x80, 3, 0, kind, *flags, 0, 0, (payload.len() + 4) as u8, 0, 0, 0, *id]);
                bytes.extend_from_slice(payload);
            }
        }
    }
    bytes
}
