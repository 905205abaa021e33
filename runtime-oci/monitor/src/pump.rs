//! A terminal exec's bytes, between the terminal and the descriptors that the daemon gave.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use crate::poll::{Key, Kind, Poll, Source, Watch};
use crate::sys;

const CHUNK_BYTES: usize = 16 * 1024;
/// A terminal holds a few kilobytes at most.
const DRAIN_TURNS: usize = 64;

/// Reads no more from one side than the other has taken.
pub(crate) struct Pump {
    terminal: Option<Watch>,
    /// While the process runs, see [`sys::open_peer`].
    peer: Option<OwnedFd>,
    stdin: Option<Watch>,
    stdout: Option<Watch>,
    to_terminal: Vec<u8>,
    to_stdout: Vec<u8>,
}

impl Pump {
    pub(crate) fn new(
        terminal: OwnedFd,
        stdin: Option<OwnedFd>,
        stdout: Option<OwnedFd>,
        poll: &Poll,
        key: Key,
    ) -> io::Result<Self> {
        let none = EventFlags::empty();
        let watch = |fd: Option<OwnedFd>, kind| match fd {
            Some(fd) => {
                rustix::io::ioctl_fionbio(&fd, true)?;
                poll.watch(fd, Source::new(kind, key), none).map(Some)
            }
            None => Ok(None),
        };
        let peer = sys::open_peer(&terminal).ok();
        let mut pump = Self {
            peer,
            terminal: watch(Some(terminal), Kind::PumpTerminal)?,
            stdin: watch(stdin, Kind::PumpStdin)?,
            stdout: watch(stdout, Kind::PumpStdout)?,
            to_terminal: Vec::new(),
            to_stdout: Vec::new(),
        };
        pump.rearm();
        Ok(pump)
    }

    /// Moves what can be moved; whether the terminal had anything. Never blocks.
    pub(crate) fn turn(&mut self) -> bool {
        let mut has_read = false;
        write_some(&mut self.stdout, &mut self.to_stdout);
        if self.stdout.is_none() {
            // The reader is gone. The process must not notice: it is read on, and dropped.
            self.to_stdout.clear();
        }
        if self.to_stdout.is_empty() {
            has_read = read_some(&mut self.terminal, &mut self.to_stdout);
            write_some(&mut self.stdout, &mut self.to_stdout);
        }
        write_some(&mut self.terminal, &mut self.to_terminal);
        if self.to_terminal.is_empty() {
            read_some(&mut self.stdin, &mut self.to_terminal);
            write_some(&mut self.terminal, &mut self.to_terminal);
        }
        self.rearm();
        has_read
    }

    /// The process has ended: moves what it left; whether all of it has arrived.
    pub(crate) fn drain(&mut self) -> bool {
        self.peer = None;
        for _ in 0..DRAIN_TURNS {
            if !self.turn() {
                // Either all has come (whoever may still hold the terminal), or the reader is slow.
                return self.to_stdout.is_empty() || self.stdout.is_none();
            }
        }
        // Somebody else writes to the terminal without end.
        true
    }

    fn rearm(&mut self) {
        let flag = |wanted: bool, flag| if wanted { flag } else { EventFlags::empty() };
        let reads = flag(self.to_stdout.is_empty(), EventFlags::IN);
        let writes = flag(!self.to_terminal.is_empty(), EventFlags::OUT);
        want(&mut self.terminal, reads | writes);
        want(&mut self.stdin, flag(self.to_terminal.is_empty(), EventFlags::IN));
        want(&mut self.stdout, flag(!self.to_stdout.is_empty(), EventFlags::OUT));
    }
}

/// A descriptor that cannot be waited for (a regular file) never blocks, but would never be reported either.
fn want(watch: &mut Option<Watch>, flags: EventFlags) {
    if watch.as_mut().is_some_and(|watch| watch.want(flags).is_err()) {
        *watch = None;
    }
}

/// Whether there was anything.
fn read_some(from: &mut Option<Watch>, into: &mut Vec<u8>) -> bool {
    let Some(watch) = from else { return false };
    let mut chunk = [0; CHUNK_BYTES];
    match rustix::io::read(&*watch, &mut chunk) {
        Ok(length) if length > 0 => {
            into.extend_from_slice(&chunk[..length]);
            return true;
        }
        Err(Errno::AGAIN | Errno::INTR) => {}
        // A terminal's hang-up is EIO.
        _ => *from = None,
    }
    false
}

fn write_some(to: &mut Option<Watch>, data: &mut Vec<u8>) {
    while let (Some(watch), false) = (&*to, data.is_empty()) {
        match rustix::io::write(watch, data) {
            Ok(length) => drop(data.drain(..length)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return,
            Err(_) => *to = None,
        }
    }
}
