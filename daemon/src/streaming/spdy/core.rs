//! What a session knows: its streams, what came on them and what has to be sent. No I/O: frames in, frames out.
//!
//! Here is what the peer does to it; `ours.rs` is what we do.

mod ours;

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use bytes::{Bytes, BytesMut};

use super::frame::{self, Frame, Reset, Violation};
use super::headers::{EmptyBlocks, Headers, Inflater};
use crate::streaming::activity::Activity;
use crate::streaming::budget::{Budget, Pool};

/// Streams at once, those included that are still being sent.
const MAX_STREAMS: usize = 1024;
/// What a stream takes of memory, with whom it is for.
const STREAM_BYTES: usize = 4 << 10;
/// Streams of a session that need not borrow: a remote command has five.
const OWN_STREAMS: usize = 16;
/// What came on a stream and was not read; then the session is read no further.
const MAX_STREAM_IN: usize = 1 << 20;
const MAX_SESSION_IN: usize = 8 << 20;
/// What waits to be sent on a stream, and in all.
const MAX_STREAM_OUT: usize = 256 << 10;
const MAX_SESSION_OUT: usize = 8 << 20;
/// Of control frames; a peer that asks and does not read is read no further.
const MAX_CONTROL_OUT: usize = 16 << 10;
/// What a session may hold in each direction without borrowing.
const OWN_BYTES: usize = 16 << 10;
/// The longest DATA frame that we send, in bytes of data.
const MAX_DATA: usize = 64 << 10;
/// Section 2.6.8.
const INITIAL_WINDOW: u32 = 64 << 10;
const MAX_WINDOW: i64 = i32::MAX as i64;
/// Consumed data is told when it comes to so much: less than a window, and seldom.
const WINDOW_STEP: u32 = INITIAL_WINDOW / 2;
/// For short pieces, so that many of them do not cost many times their length.
const FRAME_OVERHEAD: usize = 64;
/// Who reads the connection, where it waits with streams: they begin at 1.
const DRIVER: u32 = 0;

pub(super) use ours::{Read, Write};

/// Everything about one session.
#[derive(Debug)]
pub(super) struct Core {
    streams: BTreeMap<u32, Entry>,
    /// Of `streams`, at [`STREAM_BYTES`] each.
    stream_bytes: Budget,
    /// Opened by the peer, and not accepted or refused yet.
    incoming: VecDeque<(u32, Headers)>,
    pub(super) incoming_waker: Option<Waker>,
    inflater: Inflater,
    replies: EmptyBlocks,
    control: BytesMut,
    /// Of `control`.
    control_bytes: Budget,
    /// Streams with something to send, in the order of their turns.
    turns: VecDeque<u32>,
    /// The task that reads and writes the connection.
    driver: Option<Waker>,
    in_bytes: Budget,
    out_bytes: Budget,
    /// Streams whose buffer is full.
    full: Budget,
    last_id: u32,
    /// The peer does flow control. Go's spdystream does not: it never tells what it has consumed.
    windows: bool,
    initial_window: u32,
    session_window: i64,
    session_consumed: u32,
    pub(super) life: Life,
    /// Data in either direction, and nothing else.
    pub(super) activity: Activity,
}

/// Of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Open,
    /// All that waits is sent, then the GOAWAY.
    Closing,
    Over,
}

#[derive(Debug)]
struct Entry {
    /// Pieces as they came, none of them empty.
    inbox: VecDeque<Bytes>,
    /// Of `inbox`, with what each piece takes beside its bytes.
    in_bytes: usize,
    /// The peer has ended its side.
    received_fin: bool,
    /// Whole frames.
    outbox: VecDeque<Bytes>,
    out_bytes: Budget,
    in_turn: bool,
    /// Our side has ended: what is sent yet is in `outbox`.
    sent_fin: bool,
    reset: bool,
    /// Nobody holds it any more: it goes when `outbox` is empty.
    dropped: bool,
    window: i64,
    consumed: u32,
    reader: Option<Waker>,
    /// Waits for a window. For room in an outbox it waits in that one's budget.
    writer: Option<Waker>,
}

impl Entry {
    fn new(window: u32, received_fin: bool, sent_fin: bool) -> Self {
        Self {
            inbox: VecDeque::new(),
            in_bytes: 0,
            received_fin,
            outbox: VecDeque::new(),
            out_bytes: Budget::new(MAX_STREAM_OUT),
            in_turn: false,
            sent_fin,
            reset: false,
            dropped: false,
            window: i64::from(window),
            consumed: 0,
            reader: None,
            writer: None,
        }
    }

    fn is_full(&self) -> bool {
        self.in_bytes >= MAX_STREAM_IN
    }

    fn wake(&mut self) {
        wake(&mut self.reader);
        wake(&mut self.writer);
        self.out_bytes.dismiss_all();
    }
}

fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}

impl Core {
    pub(super) fn new(pool: &Pool) -> Self {
        let backed = |most, own| Budget::backed(most, own, pool);
        Self {
            streams: BTreeMap::new(),
            stream_bytes: backed(MAX_STREAMS * STREAM_BYTES, OWN_STREAMS * STREAM_BYTES),
            incoming: VecDeque::new(),
            incoming_waker: None,
            inflater: Inflater::new(),
            replies: EmptyBlocks::new(),
            control: BytesMut::new(),
            control_bytes: Budget::new(MAX_CONTROL_OUT),
            turns: VecDeque::new(),
            driver: None,
            in_bytes: backed(MAX_SESSION_IN, OWN_BYTES),
            out_bytes: backed(MAX_SESSION_OUT, OWN_BYTES),
            full: Budget::new(1),
            last_id: 0,
            windows: false,
            initial_window: INITIAL_WINDOW,
            session_window: i64::from(INITIAL_WINDOW),
            session_consumed: 0,
            life: Life::Open,
            activity: Activity::new(),
        }
    }

    // ---- The peer's side ----

    /// Whether the next frame may be read: what came before has found its place. If not, `waker` is woken once it has.
    pub(super) fn has_room(&mut self, waker: &Waker) -> bool {
        let bounds = [&mut self.full, &mut self.in_bytes, &mut self.control_bytes];
        bounds.into_iter().all(|bound| bound.left_for(DRIVER, waker) > 0)
    }

    pub(super) fn receive(&mut self, frame: Frame<'_>) -> Result<(), Violation> {
        match frame {
            Frame::SynStream { id, fin, unidirectional, block } => {
                let headers = self.inflater.read(block)?;
                self.open(id, fin, unidirectional, headers)?;
            }
            // We open no streams, so it answers nothing; its block has to pass all the same.
            Frame::SynReply { block } => drop(self.inflater.read(block)?),
            Frame::Headers { id, fin, block } => {
                self.inflater.read(block)?;
                self.data(id, &[], fin);
            }
            Frame::RstStream { id } => self.peer_reset(id),
            Frame::InitialWindow { bytes } => self.set_initial_window(bytes)?,
            // Ours are even, and their answers tell no more than that the peer lives.
            Frame::Ping { id } if id % 2 == 1 => self.say(&frame::ping(id)),
            Frame::WindowUpdate { id, delta } => self.widen(id, delta)?,
            Frame::Data { id, .. } if id > self.last_id || id == 0 => {
                return Err(Violation("data on a stream that was never opened"));
            }
            Frame::Data { id, bytes, fin } => self.data(id, bytes, fin),
            // The peer opens no more streams; those that it has go on.
            Frame::GoAway | Frame::Ping { .. } | Frame::Other => {}
        }
        Ok(())
    }

    fn open(&mut self, id: u32, fin: bool, unidirectional: bool, headers: Headers) -> Result<(), Violation> {
        if id.is_multiple_of(2) || id <= self.last_id {
            return Err(Violation("a stream whose number is even or not above those before it"));
        }
        self.last_id = id;
        let has_room = !headers.are_too_long() && self.stream_bytes.left() >= STREAM_BYTES;
        if !has_room || self.life != Life::Open {
            self.say(&frame::rst_stream(id, Reset::RefusedStream));
            return Ok(());
        }
        self.stream_bytes.take(STREAM_BYTES);
        self.streams.insert(id, Entry::new(self.initial_window, fin, unidirectional));
        self.incoming.push_back((id, headers));
        wake(&mut self.incoming_waker);
        Ok(())
    }

    fn data(&mut self, id: u32, bytes: &[u8], fin: bool) {
        // What nobody reads any more is consumed at once.
        let Some(entry) = self.streams.get_mut(&id) else { return self.session_consumed(bytes.len()) };
        if entry.reset || entry.dropped {
            entry.received_fin |= fin;
            return self.session_consumed(bytes.len());
        }
        if entry.received_fin {
            self.say(&frame::rst_stream(id, Reset::StreamAlreadyClosed));
            return self.session_consumed(bytes.len());
        }
        let was_full = entry.is_full();
        entry.received_fin = fin;
        wake(&mut entry.reader);
        if !bytes.is_empty() {
            entry.inbox.push_back(Bytes::copy_from_slice(bytes));
            entry.in_bytes += bytes.len() + FRAME_OVERHEAD;
            self.in_bytes.take(bytes.len() + FRAME_OVERHEAD);
        }
        self.full.take(usize::from(entry.is_full() && !was_full));
        self.activity.touch();
    }

    fn peer_reset(&mut self, id: u32) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        entry.reset = true;
        entry.wake();
        self.out_bytes.dismiss(id);
        self.empty_inbox(id);
        self.empty_outbox(id);
        self.forget_if_done(id);
    }

    fn set_initial_window(&mut self, bytes: u32) -> Result<(), Violation> {
        if i64::from(bytes) > MAX_WINDOW {
            return Err(Violation("an initial window of more than 2^31 - 1 bytes"));
        }
        let change = i64::from(bytes) - i64::from(self.initial_window);
        self.initial_window = bytes;
        self.windows = true;
        for entry in self.streams.values_mut() {
            entry.window += change;
        }
        self.wake_writers();
        Ok(())
    }

    fn widen(&mut self, id: u32, delta: u32) -> Result<(), Violation> {
        self.windows = true;
        let window = match self.streams.get_mut(&id) {
            _ if id == 0 => &mut self.session_window,
            Some(entry) => &mut entry.window,
            None => return Ok(()),
        };
        *window += i64::from(delta);
        if delta == 0 || *window > MAX_WINDOW {
            return Err(Violation("a window update of zero, or beyond 2^31 - 1 bytes"));
        }
        self.wake_writers();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
