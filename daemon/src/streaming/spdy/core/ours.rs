//! What we do in a session: streams taken, read, written and let go, and what of them is sent when.

use std::task::Waker;

use bytes::{Buf, Bytes};

use super::{Core, Entry, FRAME_OVERHEAD, Life, MAX_DATA, STREAM_BYTES, WINDOW_STEP, wake};
use crate::streaming::spdy::frame::{self, GoAway, Reset};
use crate::streaming::spdy::headers::Headers;

/// What a read finds.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::streaming::spdy) enum Read {
    Bytes,
    End,
    Lost,
    Nothing,
}

/// What a write does.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::streaming::spdy) enum Write {
    Taken(usize),
    Lost,
    Full,
}

impl Entry {
    /// How many bytes were read, and how much of [`Entry::in_bytes`] is let go with them.
    fn read(&mut self, buffer: &mut tokio::io::ReadBuf<'_>) -> (usize, usize) {
        let (mut length, mut let_go) = (0, 0);
        while buffer.remaining() > 0
            && let Some(piece) = self.inbox.front_mut()
        {
            let part = piece.len().min(buffer.remaining());
            buffer.put_slice(&piece[..part]);
            piece.advance(part);
            length += part;
            let_go += part;
            if piece.is_empty() {
                self.inbox.pop_front();
                let_go += FRAME_OVERHEAD;
            }
        }
        if self.inbox.is_empty() {
            // What it once grew to is given back.
            self.inbox = std::collections::VecDeque::new();
        }
        self.in_bytes -= let_go;
        (length, let_go)
    }
}

impl Core {
    pub(in crate::streaming::spdy) fn take_incoming(&mut self) -> Option<(u32, Headers)> {
        self.incoming.pop_front()
    }

    pub(in crate::streaming::spdy) fn accept(&mut self, id: u32) {
        let block = self.replies.next_block();
        self.say(&frame::syn_reply(id, &block));
    }

    pub(in crate::streaming::spdy) fn refuse(&mut self, id: u32) {
        self.say(&frame::rst_stream(id, Reset::RefusedStream));
        self.empty_inbox(id);
        self.forget(id);
    }

    pub(in crate::streaming::spdy) fn read(
        &mut self,
        id: u32,
        buffer: &mut tokio::io::ReadBuf<'_>,
        waker: &Waker,
    ) -> Read {
        let Some(entry) = self.streams.get_mut(&id) else { return Read::Lost };
        if entry.inbox.is_empty() {
            if entry.reset {
                return Read::Lost;
            }
            if entry.received_fin {
                return Read::End;
            }
            if self.life == Life::Over {
                return Read::Lost;
            }
            entry.reader = Some(waker.clone());
            return Read::Nothing;
        }
        let was_full = entry.is_full();
        let (length, let_go) = entry.read(buffer);
        self.full.give_back(usize::from(was_full && !entry.is_full()));
        self.in_bytes.give_back(let_go);
        entry.consumed = entry.consumed.saturating_add(length as u32);
        if entry.consumed >= WINDOW_STEP && !entry.received_fin {
            let update = frame::window_update(id, std::mem::take(&mut entry.consumed));
            self.say(&update);
        }
        self.session_consumed(length);
        Read::Bytes
    }

    pub(in crate::streaming::spdy) fn write(&mut self, id: u32, data: &[u8], waker: &Waker) -> Write {
        let over = self.life == Life::Over;
        let windows = self.windows;
        let Some(entry) = self.streams.get_mut(&id) else { return Write::Lost };
        if over || entry.reset || entry.sent_fin {
            return Write::Lost;
        }
        let window = if windows { entry.window.min(self.session_window) } else { i64::MAX };
        let length = data.len().min(MAX_DATA).min(usize::try_from(window).unwrap_or(0));
        if length == 0 {
            // It waits for a window.
            entry.writer = Some(waker.clone());
            return Write::Full;
        }
        let room = match entry.out_bytes.left_for(id, waker) {
            0 => 0,
            _ => self.out_bytes.left_for(id, waker),
        };
        if room == 0 {
            return Write::Full;
        }
        let length = length.min(room);
        entry.window -= length as i64;
        self.session_window -= length as i64;
        self.activity.touch();
        self.queue(id, frame::data(id, &data[..length], false));
        Write::Taken(length)
    }

    /// Ends our side of the stream.
    pub(in crate::streaming::spdy) fn finish(&mut self, id: u32) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        if !entry.sent_fin && !entry.reset {
            entry.sent_fin = true;
            self.queue(id, frame::data(id, &[], true));
        }
    }

    /// Its holder is gone. What it has not ended in both directions, ends with a reset.
    pub(in crate::streaming::spdy) fn release(&mut self, id: u32) {
        self.empty_inbox(id);
        let Some(entry) = self.streams.get_mut(&id) else { return };
        entry.dropped = true;
        let ended = entry.reset || (entry.sent_fin && entry.received_fin);
        if !ended && self.life != Life::Over {
            let cut_off = !entry.sent_fin;
            entry.sent_fin = true;
            if cut_off {
                self.empty_outbox(id);
            }
            self.queue(id, frame::rst_stream(id, Reset::Cancel));
        }
        self.forget_if_done(id);
    }

    pub(super) fn forget_if_done(&mut self, id: u32) {
        if self.streams.get(&id).is_some_and(|entry| entry.dropped && entry.outbox.is_empty()) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u32) {
        if self.streams.remove(&id).is_some() {
            self.stream_bytes.give_back(STREAM_BYTES);
        }
        self.out_bytes.dismiss(id);
    }

    pub(super) fn empty_inbox(&mut self, id: u32) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        self.full.give_back(usize::from(entry.is_full()));
        let inbox = std::mem::take(&mut entry.inbox);
        self.in_bytes.give_back(std::mem::take(&mut entry.in_bytes));
        self.session_consumed(inbox.iter().map(Bytes::len).sum());
    }

    pub(super) fn empty_outbox(&mut self, id: u32) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        entry.outbox.clear();
        let length = entry.out_bytes.used();
        entry.out_bytes.give_back(length);
        self.out_bytes.give_back(length);
    }

    pub(super) fn session_consumed(&mut self, length: usize) {
        self.session_consumed = self.session_consumed.saturating_add(length as u32);
        if self.session_consumed >= WINDOW_STEP {
            let delta = std::mem::take(&mut self.session_consumed);
            self.say(&frame::window_update(0, delta));
        }
    }

    // ---- The way out ----

    pub(super) fn say(&mut self, frame: &[u8]) {
        self.control.extend_from_slice(frame);
        self.control_bytes.take(frame.len());
        self.wake_driver();
    }

    fn queue(&mut self, id: u32, frame: Bytes) {
        let Some(entry) = self.streams.get_mut(&id) else { return };
        entry.out_bytes.take(frame.len() + FRAME_OVERHEAD);
        self.out_bytes.take(frame.len() + FRAME_OVERHEAD);
        entry.outbox.push_back(frame);
        if !std::mem::replace(&mut entry.in_turn, true) {
            self.turns.push_back(id);
        }
        self.wake_driver();
    }

    /// What has to be sent next: control frames, then one frame of each stream in turn, about [`MAX_DATA`] bytes.
    pub(in crate::streaming::spdy) fn outgoing(&mut self) -> Vec<Bytes> {
        let mut frames = Vec::new();
        if !self.control.is_empty() {
            frames.push(self.take_control());
        }
        let mut length = 0;
        while length < MAX_DATA {
            let Some(id) = self.turns.pop_front() else { break };
            let Some(entry) = self.streams.get_mut(&id) else { continue };
            entry.in_turn = false;
            let Some(frame) = entry.outbox.pop_front() else { continue };
            entry.out_bytes.give_back(frame.len() + FRAME_OVERHEAD);
            self.out_bytes.give_back(frame.len() + FRAME_OVERHEAD);
            if !entry.outbox.is_empty() {
                entry.in_turn = true;
                self.turns.push_back(id);
            }
            length += frame.len();
            frames.push(frame);
            self.forget_if_done(id);
        }
        frames
    }

    fn take_control(&mut self) -> Bytes {
        let frames = self.control.split().freeze();
        self.control_bytes.give_back(frames.len());
        frames
    }

    /// A ping, unless the last ones are not sent yet.
    pub(in crate::streaming::spdy) fn ping(&mut self, id: u32) {
        if self.control.is_empty() {
            self.say(&frame::ping(id));
        }
    }

    /// No stream goes on from here. What waits in `control` may still be sent, with the reason as the last frame.
    pub(in crate::streaming::spdy) fn end(&mut self, reason: Option<GoAway>) {
        self.life = Life::Over;
        if let Some(reason) = reason {
            self.say(&frame::go_away(self.last_id, reason));
        }
        self.streams.values_mut().for_each(Entry::wake);
        self.out_bytes.dismiss_all();
        wake(&mut self.incoming_waker);
    }

    /// Of control frames alone: what streams had to send goes no further.
    pub(in crate::streaming::spdy) fn last_words(&mut self) -> Bytes {
        self.take_control()
    }

    pub(in crate::streaming::spdy) fn close(&mut self) {
        self.life = Life::Closing;
        self.wake_driver();
    }

    pub(in crate::streaming::spdy) fn watch(&mut self, waker: &Waker) {
        self.driver = Some(waker.clone());
    }

    fn wake_driver(&mut self) {
        wake(&mut self.driver);
    }

    pub(super) fn wake_writers(&mut self) {
        self.streams.values_mut().for_each(|entry| wake(&mut entry.writer));
    }

    /// What is held in memory, about, in bytes.
    #[cfg(any(test, fuzzing))]
    pub(in crate::streaming::spdy) fn held_bytes(&self) -> usize {
        let streams = self.stream_bytes.used() + self.in_bytes.used();
        streams + self.out_bytes.used() + self.control.capacity()
    }
}
