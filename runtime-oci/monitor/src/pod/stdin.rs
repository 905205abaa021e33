//! A container's stdin: what its attached clients say, one chunk after another, no faster than the container reads.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::Pod;
use super::create::Container;
use crate::outlet::{is_deserted, write_some};
use crate::poll::{Key, Poll, Source, Watch};

/// Our end. It stays open when clients leave, so that a container that reads waits instead of seeing the end.
#[derive(Default)]
pub(super) struct Stdin {
    /// A pipe's writing end, or a second descriptor of the terminal. None: not asked for, or closed.
    sink: Option<Watch>,
    /// Read from a client and not yet taken; at most one chunk.
    pending: Vec<u8>,
    /// Closes when a client's input has ended.
    once: bool,
    /// A client's input has ended: closes when nothing is pending.
    is_ending: bool,
    last_client: Key,
}

impl Stdin {
    pub(super) fn new(fd: OwnedFd, once: bool, source: Source, poll: &Poll) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let sink = poll.watch(fd, source, EventFlags::empty())?;
        Ok(Self { sink: Some(sink), once, ..Self::default() })
    }

    pub(super) fn is_open(&self) -> bool {
        self.sink.is_some()
    }

    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    fn takes_more(&self) -> bool {
        self.is_open() && self.pending.is_empty() && !self.is_ending
    }

    fn end(&mut self) {
        self.is_ending |= self.once;
    }

    fn take(&mut self, data: &[u8]) {
        let Some(sink) = &self.sink else { return };
        match write_some(sink, data) {
            // It has closed its stdin.
            None => self.close(),
            Some(written) => self.pending.extend_from_slice(&data[written..]),
        }
    }

    fn advance(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.take(&pending);
        let Some(sink) = &mut self.sink else { return };
        if self.pending.is_empty() {
            let _ = sink.want(EventFlags::empty());
            if self.is_ending {
                self.close();
            }
            return;
        }
        // A terminal that nobody has open says so without end, and takes nothing.
        if is_deserted(&*sink) || sink.want(EventFlags::OUT).is_err() {
            self.pending = Vec::new();
            let _ = sink.want(EventFlags::empty());
        }
    }
}

/// The reading end of a client's pipe.
pub(super) struct Inlet {
    watch: Watch,
    /// What it still holds is all that will come.
    is_ended: bool,
    /// Nobody can write any more.
    is_left: bool,
}

enum Said {
    Bytes(usize),
    Nothing,
    End,
}

impl Inlet {
    pub(super) fn new(fd: OwnedFd, source: Source, poll: &Poll) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { watch: poll.watch_readable(fd, source)?, is_ended: false, is_left: false })
    }

    pub(super) fn is_left(&self) -> bool {
        self.is_left
    }

    pub(super) fn end(&mut self) {
        self.is_ended = true;
    }

    fn read(&mut self, buffer: &mut [u8]) -> Said {
        match rustix::io::read(&self.watch, buffer) {
            Ok(0) => Said::End,
            Ok(length) => Said::Bytes(length),
            Err(Errno::AGAIN | Errno::INTR) => Said::Nothing,
            Err(_) => Said::End,
        }
    }

    fn is_empty(&self) -> bool {
        rustix::io::ioctl_fionread(&self.watch).map_or(true, |length| length == 0)
    }

    /// While it is not read, only its writer's going is of interest, and that once.
    fn want(&mut self, reading: bool) -> bool {
        self.is_left |= is_deserted(&self.watch);
        let idle = if self.is_left { EventFlags::empty() } else { EventFlags::ERR };
        self.watch.want(if reading { EventFlags::IN } else { idle }).is_ok()
    }
}

impl Pod {
    pub(super) fn feed_stdin(&mut self, key: Key) {
        let mut buffer = self.take_buffer();
        if let Some(container) = self.containers.get_mut(&key) {
            container.feed_stdin(&mut buffer);
        }
        self.buffer = buffer;
        self.settle_clients(key);
    }
}

impl Container {
    /// Takes one chunk of each client at most, beginning after the one that was served last.
    fn feed_stdin(&mut self, buffer: &mut [u8]) {
        self.stdin.advance();
        let last = self.stdin.last_client;
        let start = self.clients.iter().position(|client| client.key > last).unwrap_or(0);
        for index in 0..self.clients.len() {
            let index = (start + index) % self.clients.len();
            self.feed_from(index, buffer);
        }
        self.stdin.advance();
        let (is_open, takes_more) = (self.stdin.is_open(), self.stdin.takes_more());
        for client in &mut self.clients {
            let is_kept = |inlet: &mut Inlet| is_open && inlet.want(takes_more);
            client.inlet.take_if(|inlet| !is_kept(inlet));
        }
    }

    fn feed_from(&mut self, index: usize, buffer: &mut [u8]) {
        let client = &mut self.clients[index];
        let Some(inlet) = &mut client.inlet else { return };
        if !self.stdin.takes_more() {
            return;
        }
        let said = inlet.read(buffer);
        if let Said::Bytes(length) = said {
            self.stdin.last_client = client.key;
            self.stdin.take(&buffer[..length]);
        }
        // Without its client's word the end of a pipe means nothing: a daemon that dies closes no stdin.
        if inlet.is_ended && (matches!(said, Said::End) || inlet.is_empty()) {
            self.stdin.end();
            client.inlet = None;
        } else if matches!(said, Said::End) {
            client.inlet = None;
        }
    }
}
