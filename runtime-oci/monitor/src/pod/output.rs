//! From a container's pipes or terminal to its log, and to who is attached.

use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::create::{Container, Phase};
use super::{Pod, now_ns};
use crate::log::Stream;
use crate::poll::Key;

/// A pipe's usual capacity: one read takes all of it.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// What an ended container left in its pipes is at most their capacity (1 MiB); who writes more is somebody else.
const DRAIN_READS: usize = 32;
/// How long the output of an ended container's descendants is still waited for.
pub(super) const DRAIN: Duration = Duration::from_secs(2);
/// How often a terminal that nobody holds is looked at again.
const TERMINAL_RETRY: Duration = Duration::from_secs(1);

impl Pod {
    pub(super) fn read_stream(&mut self, key: Key, stream: Stream) {
        let mut buffer = self.take_buffer();
        if let Some(container) = self.containers.get_mut(&key) {
            container.read(stream, &mut buffer);
            if container.has_exited() && container.streams.iter().all(Option::is_none) {
                container.close_streams();
            }
        }
        self.buffer = buffer;
        self.settle_clients(key);
    }

    /// Reads what is there, bounded.
    pub(super) fn drain_streams(&mut self, key: Key) {
        let mut buffer = self.take_buffer();
        if let Some(container) = self.containers.get_mut(&key) {
            for stream in [Stream::Stdout, Stream::Stderr] {
                for _ in 0..DRAIN_READS {
                    if container.log.is_overfull() || !container.take(stream, &mut buffer) {
                        break;
                    }
                }
            }
        }
        self.buffer = buffer;
    }

    /// A panic may have lost it; a read into nothing would look like the stream's end.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(READ_BYTES, 0);
        buffer
    }

    pub(super) fn retry_terminal(&mut self, key: Key) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        container.terminal_retry = None;
        if let Some(terminal) = &mut container.streams[0] {
            let _ = terminal.want(EventFlags::IN);
        }
    }

    pub(super) fn close_streams(&mut self, key: Key) {
        if let Some(container) = self.containers.get_mut(&key) {
            container.close_streams();
        }
        self.settle_clients(key);
    }
}

impl Container {
    /// One read, unless its log is behind, or its client.
    fn read(&mut self, stream: Stream, buffer: &mut [u8]) {
        if !self.is_held_back(stream) {
            self.take(stream, buffer);
        }
    }

    /// One read; whether there may be more at once.
    fn take(&mut self, stream: Stream, buffer: &mut [u8]) -> bool {
        let Some(watch) = &mut self.streams[stream as usize] else { return false };
        match rustix::io::read(&*watch, &mut *buffer) {
            Ok(0) => {
                self.streams[stream as usize] = None;
                false
            }
            Ok(length) => {
                match &mut self.phase {
                    // The container does not run before its create has ended: this is the runtime speaking. Of a restore
                    // the runtime's words are in its own log alone.
                    Phase::Creating { call, .. } | Phase::Failing { call, .. } if !self.is_restored => {
                        call.hear(&buffer[..length]);
                    }
                    _ => {
                        self.log.write(stream, now_ns(), &buffer[..length]);
                        self.tell_clients(stream, &buffer[..length]);
                    }
                }
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => false,
            // Nobody holds the terminal now. While init lives, somebody may open it again.
            Err(Errno::IO) if matches!(self.phase, Phase::Running { .. }) => {
                let _ = watch.want(EventFlags::empty());
                self.terminal_retry = Some(Instant::now() + TERMINAL_RETRY);
                false
            }
            Err(_) => {
                self.streams[stream as usize] = None;
                false
            }
        }
    }

    /// Who takes what it says has more than enough to do: it may wait in its own pipe, and nobody else does.
    fn is_held_back(&mut self, stream: Stream) -> bool {
        let is_held_back = self.log.is_full() || self.awaits_its_client(stream);
        if is_held_back && let Some(stream) = &mut self.streams[stream as usize] {
            let _ = stream.want(EventFlags::empty());
        }
        is_held_back
    }

    /// Those of its streams that nothing holds back any more.
    pub(super) fn read_again(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            // A terminal that nobody holds has a time of its own.
            let has_hung_up = stream == Stream::Stdout && self.terminal_retry.is_some();
            if !has_hung_up
                && !self.is_held_back(stream)
                && let Some(stream) = &mut self.streams[stream as usize]
            {
                let _ = stream.want(EventFlags::IN);
            }
        }
    }

    /// The end of the output, whoever may still hold the other ends.
    pub(super) fn close_streams(&mut self) {
        self.streams = [None, None];
        self.log.finish(now_ns());
        if let Phase::Exited { drained, .. } = &mut self.phase {
            *drained = None;
        }
        self.await_last_reads();
    }
}
