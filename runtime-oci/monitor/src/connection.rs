//! The daemon's connection: frames in, frames out, never waiting for the daemon to read.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use linkspan_monitor::protocol::{self, Frame, FromMonitor};
use rustix::event::epoll::EventFlags;

use crate::note::note;
use crate::poll::{Key, Kind, Poll, Source, Watch};

/// A daemon that lets so much pile up is stuck; it learns all when it connects again.
const MAX_QUEUED_FRAMES: usize = 4096;

/// A frame, and the descriptor that goes with it; it is closed with the connection.
struct Outgoing {
    json: Vec<u8>,
    fd: Option<OwnedFd>,
}

/// One daemon's connection, until a newer one replaces it.
pub(crate) struct Connection {
    /// It has said hello; before that it gets no events.
    pub(crate) greeted: bool,
    socket: Watch,
    queue: VecDeque<Outgoing>,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd, poll: &Poll, key: Key) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let socket = poll.watch_readable(socket, Source::new(Kind::Connection, key))?;
        Ok(Self { greeted: false, socket, queue: VecDeque::new() })
    }

    /// The next frame; `Ok(None)` if there is none now.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Frame>> {
        match protocol::receive(self.socket.as_fd()) {
            Ok(Some(frame)) => Ok(Some(frame)),
            Ok(None) => Err(io::ErrorKind::ConnectionReset.into()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Sends, or queues if the daemon does not read just now. An error ends the connection.
    pub(crate) fn send(&mut self, message: &FromMonitor, fd: Option<OwnedFd>) -> io::Result<()> {
        let json = serde_json::to_vec(message)?;
        if self.queue.len() >= MAX_QUEUED_FRAMES {
            note("the daemon does not read: its connection is closed");
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.queue.push_back(Outgoing { json, fd });
        self.flush()
    }

    /// Sends what is queued, as far as the daemon takes it.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(Outgoing { json, fd }) = self.queue.front() {
            let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
            match protocol::send(self.socket.as_fd(), json, &fds) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        let writing = if self.queue.is_empty() { EventFlags::empty() } else { EventFlags::OUT };
        self.socket.want(EventFlags::IN | writing)
    }
}
