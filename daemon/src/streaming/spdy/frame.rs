//! Frames of SPDY/3.1: from bytes as they come, and to bytes. No I/O, no state of streams.
//!
//! Source: SPDY/3 draft, section 2.2 (framing) and 2.6 (control frames); SPDY/3.1, section 2.6.8 (WINDOW_UPDATE).

use bytes::{BufMut, Bytes, BytesMut};

/// The longest control frame that is taken; clients of Kubernetes send some hundred bytes.
const MAX_CONTROL_BYTES: usize = 16 << 10;
const HEADER_BYTES: usize = 8;
const VERSION: u16 = 3;
const CONTROL_BIT: u32 = 1 << 31;
const FLAG_FIN: u8 = 1;
const FLAG_UNIDIRECTIONAL: u8 = 2;
/// SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW_SIZE: u32 = 7;

mod kind {
    pub(super) const SYN_STREAM: u16 = 1;
    pub(super) const SYN_REPLY: u16 = 2;
    pub(super) const RST_STREAM: u16 = 3;
    pub(super) const SETTINGS: u16 = 4;
    pub(super) const PING: u16 = 6;
    pub(super) const GOAWAY: u16 = 7;
    pub(super) const HEADERS: u16 = 8;
    pub(super) const WINDOW_UPDATE: u16 = 9;
}

/// RST_STREAM's status codes (section 2.6.3) that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    RefusedStream = 3,
    Cancel = 5,
    StreamAlreadyClosed = 9,
}

/// GOAWAY's status codes (section 2.6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoAway {
    Ok = 0,
    ProtocolError = 1,
    InternalError = 2,
}

/// What a peer did that no SPDY/3.1 endpoint does; the session ends with GOAWAY.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Violation(pub(super) &'static str);

/// What a peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    SynStream {
        id: u32,
        fin: bool,
        unidirectional: bool,
        block: &'a [u8],
    },
    SynReply {
        block: &'a [u8],
    },
    Headers {
        id: u32,
        fin: bool,
        block: &'a [u8],
    },
    RstStream {
        id: u32,
    },
    InitialWindow {
        bytes: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// For the session if `id` is zero.
    WindowUpdate {
        id: u32,
        delta: u32,
    },
    /// A piece of a DATA frame, as it came; `fin` with the last one.
    Data {
        id: u32,
        bytes: &'a [u8],
        fin: bool,
    },
    /// One that means nothing to us.
    Other,
}

/// Finds the frames in a stream of bytes. Holds one control frame at most.
#[derive(Debug)]
pub(super) struct Parser {
    state: State,
    /// The frame's header, then its control payload.
    held: Vec<u8>,
    /// `held` is of a frame that was given out.
    lent: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Control {
        kind: u16,
        flags: u8,
        length: usize,
    },
    /// A control frame is held whole.
    Read {
        kind: u16,
        flags: u8,
    },
    Data {
        id: u32,
        fin: bool,
        left: usize,
    },
    Skip {
        left: usize,
    },
}

impl Parser {
    pub(super) fn new() -> Self {
        Self { state: State::Header, held: Vec::new(), lent: false }
    }

    /// Takes bytes from the front of `input`: the next frame or piece, or `None` when more has to come.
    pub(super) fn next<'p, 'i: 'p>(
        &'p mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Frame<'p>>, Violation> {
        if std::mem::take(&mut self.lent) {
            self.held.clear();
        }
        loop {
            match self.state {
                State::Header => {
                    if !self.hold(input, HEADER_BYTES) {
                        return Ok(None);
                    }
                    self.state = begin(&self.held)?;
                    self.held.clear();
                    if let State::Data { id, fin, left: 0 } = self.state {
                        self.state = State::Header;
                        return Ok(Some(Frame::Data { id, bytes: &[], fin }));
                    }
                }
                State::Control { kind, flags, length } => {
                    if !self.hold(input, length) {
                        return Ok(None);
                    }
                    self.state = State::Read { kind, flags };
                }
                State::Read { kind, flags } => {
                    self.state = State::Header;
                    self.lent = true;
                    return control(kind, flags, &self.held).map(Some);
                }
                State::Data { id, fin, left } => {
                    let Some(bytes) = take(input, left) else { return Ok(None) };
                    let left = left - bytes.len();
                    self.state = if left == 0 { State::Header } else { State::Data { id, fin, left } };
                    return Ok(Some(Frame::Data { id, bytes, fin: fin && left == 0 }));
                }
                State::Skip { left } => {
                    let skipped = take(input, left).map_or(0, <[u8]>::len);
                    if left > skipped {
                        self.state = State::Skip { left: left - skipped };
                        return Ok(None);
                    }
                    self.state = State::Header;
                    return Ok(Some(Frame::Other));
                }
            }
        }
    }

    /// Whether `length` bytes are held.
    fn hold(&mut self, input: &mut &[u8], length: usize) -> bool {
        let missing = length - self.held.len();
        self.held.extend_from_slice(take(input, missing).unwrap_or_default());
        self.held.len() == length
    }

    /// What is held in memory, in bytes.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held_bytes(&self) -> usize {
        self.held.capacity()
    }
}

/// At most `length` bytes from the front; `None` if there is nothing.
fn take<'a>(input: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    if input.is_empty() {
        return None;
    }
    let (taken, rest) = input.split_at(length.min(input.len()));
    *input = rest;
    Some(taken)
}

fn begin(header: &[u8]) -> Result<State, Violation> {
    let mut reader = Reader(header);
    let (word, tail) = (reader.u32()?, reader.u32()?);
    let [flags, ..] = tail.to_be_bytes();
    let length = (tail & 0x00ff_ffff) as usize;
    if word & CONTROL_BIT == 0 {
        return Ok(State::Data { id: word, fin: flags & FLAG_FIN != 0, left: length });
    }
    let (version, kind) = (((word & !CONTROL_BIT) >> 16) as u16, (word & 0xffff) as u16);
    if version != VERSION {
        return Err(Violation("a control frame of another version than SPDY/3"));
    }
    match kind {
        kind::SYN_STREAM..=kind::SETTINGS | kind::PING..=kind::WINDOW_UPDATE => {
            if length > MAX_CONTROL_BYTES {
                return Err(Violation("a control frame of more than 16 KiB"));
            }
            Ok(State::Control { kind, flags, length })
        }
        _ => Ok(State::Skip { left: length }),
    }
}

fn control(kind: u16, flags: u8, payload: &[u8]) -> Result<Frame<'_>, Violation> {
    let mut reader = Reader(payload);
    let fin = flags & FLAG_FIN != 0;
    Ok(match kind {
        kind::SYN_STREAM => {
            let id = reader.id()?;
            // The stream that it belongs to, and its priority and slot: nothing to us.
            reader.u32()?;
            reader.u16()?;
            let unidirectional = flags & FLAG_UNIDIRECTIONAL != 0;
            Frame::SynStream { id, fin, unidirectional, block: reader.0 }
        }
        kind::SYN_REPLY => {
            reader.id()?;
            Frame::SynReply { block: reader.0 }
        }
        kind::HEADERS => Frame::Headers { id: reader.id()?, fin, block: reader.0 },
        kind::RST_STREAM => Frame::RstStream { id: reader.id()? },
        kind::SETTINGS => settings(reader)?,
        kind::PING => Frame::Ping { id: reader.u32()? },
        kind::GOAWAY => Frame::GoAway,
        kind::WINDOW_UPDATE => Frame::WindowUpdate { id: reader.id()?, delta: reader.id()? },
        _ => Frame::Other,
    })
}

/// Section 2.6.4; only the window is of use here.
fn settings(mut reader: Reader<'_>) -> Result<Frame<'_>, Violation> {
    let entries = reader.u32()?;
    let mut window = None;
    for _ in 0..entries {
        let (id, value) = (reader.u32()? & 0x00ff_ffff, reader.u32()?);
        if id == INITIAL_WINDOW_SIZE {
            window = Some(value);
        }
    }
    Ok(window.map_or(Frame::Other, |bytes| Frame::InitialWindow { bytes }))
}

/// Numbers from the front of a payload.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or(Violation("a frame that ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Violation> {
        let mut number = [0; 4];
        number.copy_from_slice(self.bytes(4)?);
        Ok(u32::from_be_bytes(number))
    }

    fn u16(&mut self) -> Result<u16, Violation> {
        let mut number = [0; 2];
        number.copy_from_slice(self.bytes(2)?);
        Ok(u16::from_be_bytes(number))
    }

    /// 31 bits; the first one is reserved.
    fn id(&mut self) -> Result<u32, Violation> {
        Ok(self.u32()? & !CONTROL_BIT)
    }
}

/// `data` must be shorter than 16 MiB.
pub(super) fn data(id: u32, data: &[u8], fin: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + data.len());
    frame.put_u32(id);
    frame.put_u32((if fin { u32::from(FLAG_FIN) << 24 } else { 0 }) | data.len() as u32);
    frame.put_slice(data);
    frame.freeze()
}

pub(super) fn syn_reply(id: u32, block: &[u8]) -> Bytes {
    let mut payload = BytesMut::with_capacity(4 + block.len());
    payload.put_u32(id);
    payload.put_slice(block);
    control_frame(kind::SYN_REPLY, &payload)
}

pub(super) fn rst_stream(id: u32, status: Reset) -> Bytes {
    words(kind::RST_STREAM, &[id, status as u32])
}

pub(super) fn ping(id: u32) -> Bytes {
    words(kind::PING, &[id])
}

pub(super) fn go_away(last_good_id: u32, status: GoAway) -> Bytes {
    words(kind::GOAWAY, &[last_good_id, status as u32])
}

pub(super) fn window_update(id: u32, delta: u32) -> Bytes {
    words(kind::WINDOW_UPDATE, &[id, delta])
}

fn words(kind: u16, words: &[u32]) -> Bytes {
    let payload: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    control_frame(kind, &payload)
}

fn control_frame(kind: u16, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    frame.put_u32(CONTROL_BIT | u32::from(VERSION) << 16 | u32::from(kind));
    frame.put_u32(payload.len() as u32);
    frame.put_slice(payload);
    frame.freeze()
}

#[cfg(test)]
mod tests;
