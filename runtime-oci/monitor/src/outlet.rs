//! An attached client's end of a container's output: written as fast as its reader takes it, and no faster. What it gets
//! has no gap: who falls behind is told how much is missing, and gets no more.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::poll::{Poll, Source, Watch};

/// What waits for a reader besides what its pipe holds: one read of a container's output.
const BACKLOG_BYTES: usize = 64 * 1024;
/// What waits at most for one that the container waits for: what it left in its pipes when it ended comes on top of what
/// was read before.
const PATIENT_BACKLOG_BYTES: usize = 4 * 1024 * 1024;
/// A burst fits the pipe, if the kernel allows it.
const PIPE_BYTES: usize = 1024 * 1024;

/// What became of an output that was offered to a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is written, or waits for its reader.
    Taken,
    /// Its reader has not taken what came before: so many bytes are lost to it.
    Missed(usize),
    /// Nobody reads any more.
    Left,
}

/// The writing end of a client's pipe. Never blocks.
pub(crate) struct Outlet {
    watch: Watch,
    backlog: Vec<u8>,
}

impl Outlet {
    pub(crate) fn new(fd: OwnedFd, source: Source, poll: &Poll) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let _ = rustix::pipe::fcntl_setpipe_size(&fd, PIPE_BYTES);
        // Its reader's going is told as an error, which comes asked for or not.
        let watch = poll.watch(fd, source, EventFlags::ERR)?;
        Ok(Self { watch, backlog: Vec::new() })
    }

    /// Writes what the container has said. More may wait for a `patient` container's client.
    pub(crate) fn offer(&mut self, chunk: &[u8], patient: bool) -> Offered {
        if !self.backlog.is_empty() {
            let waiting = self.backlog.len() + chunk.len();
            if waiting > if patient { PATIENT_BACKLOG_BYTES } else { BACKLOG_BYTES } {
                return Offered::Missed(waiting);
            }
            self.backlog.extend_from_slice(chunk);
            return Offered::Taken;
        }
        let Some(written) = write_some(&self.watch, chunk) else { return Offered::Left };
        if written < chunk.len() {
            self.backlog.extend_from_slice(&chunk[written..]);
            if self.watch.want(EventFlags::OUT).is_err() {
                return Offered::Left;
            }
        }
        Offered::Taken
    }

    /// Something was told of it: writes what waits; whether there is still a reader.
    pub(crate) fn advance(&mut self) -> bool {
        let Some(written) = write_some(&self.watch, &self.backlog) else { return false };
        self.backlog.drain(..written);
        if !self.backlog.is_empty() {
            return true;
        }
        self.backlog = Vec::new();
        self.watch.want(EventFlags::ERR).is_ok() && !is_deserted(&self.watch)
    }

    pub(crate) fn is_delivered(&self) -> bool {
        self.backlog.is_empty()
    }

    /// Not delivered yet.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.backlog.len()
    }
}

/// Whether nobody holds the other end any more; false while there is something to read.
pub(crate) fn is_deserted(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::empty())];
    let ready = poll(&mut fds, Some(&Timespec::default()));
    ready.is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// As much as fits; `None` if nobody will ever read it.
pub(crate) fn write_some(fd: impl AsFd, data: &[u8]) -> Option<usize> {
    let mut written = 0;
    while written < data.len() {
        match rustix::io::write(&fd, &data[written..]) {
            Ok(length) => written += length,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(_) => return None,
        }
    }
    Some(written)
}
