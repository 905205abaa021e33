//! epoll, with descriptors that leave it before they are closed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// Most events of one turn of the loop.
const MAX_EVENTS: usize = 64;

/// What a descriptor is to us. The order is that of dispatch within one turn: output before exits, an exec's exit
/// before its container's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A terminal comes here from the runtime.
    Console,
    ConsolePeer,
    /// What the runtime says, where no container's stream takes it.
    Capture,
    /// A container's stream, or its terminal.
    Stdout,
    Stderr,
    /// A container's stdin takes more.
    Stdin,
    /// An attached client's streams.
    ClientStdin,
    ClientStdout,
    ClientStderr,
    /// A counter of OOM kills has changed.
    Memory,
    /// The thread of the logs has something to tell.
    LogWriter,
    Listener,
    Connection,
    Signals,
    /// A runtime's run has ended.
    RuntimeExit,
    ExecExit,
    InitExit,
    PauseExit,
}

const KINDS: [Kind; 18] = [
    Kind::Console,
    Kind::ConsolePeer,
    Kind::Capture,
    Kind::Stdout,
    Kind::Stderr,
    Kind::Stdin,
    Kind::ClientStdin,
    Kind::ClientStdout,
    Kind::ClientStderr,
    Kind::Memory,
    Kind::LogWriter,
    Kind::Listener,
    Kind::Connection,
    Kind::Signals,
    Kind::RuntimeExit,
    Kind::ExecExit,
    Kind::InitExit,
    Kind::PauseExit,
];

/// Names a container, an exec, an attached client or a connection within the process; never reused, so an event that
/// comes late finds nobody instead of somebody else.
pub(crate) type Key = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    pub(crate) kind: Kind,
    pub(crate) key: Key,
}

impl Source {
    pub(crate) fn new(kind: Kind, key: Key) -> Self {
        Self { kind, key }
    }

    fn encode(self) -> u64 {
        self.key << 8 | self.kind as u64
    }

    fn decode(data: u64) -> Option<Self> {
        let kind = *KINDS.get(usize::from(data as u8))?;
        Some(Self { kind, key: data >> 8 })
    }
}

#[derive(Clone)]
pub(crate) struct Poll {
    epoll: Rc<OwnedFd>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: Rc::new(epoll::create(CreateFlags::CLOEXEC)?) })
    }

    /// One that takes nothing in, as the kernel's does when the user's watches are used up (epoll(7)).
    #[cfg(test)]
    pub(crate) fn full() -> Self {
        Self { epoll: Rc::new(std::fs::File::open("/dev/null").expect("/dev/null").into()) }
    }

    /// Takes a descriptor into the loop.
    pub(crate) fn watch(&self, fd: OwnedFd, source: Source, flags: EventFlags) -> io::Result<Watch> {
        let mut watch = Watch { epoll: Rc::clone(&self.epoll), fd, source, flags: EventFlags::empty() };
        watch.want(flags)?;
        Ok(watch)
    }

    pub(crate) fn watch_readable(&self, fd: OwnedFd, source: Source) -> io::Result<Watch> {
        self.watch(fd, source, EventFlags::IN)
    }

    /// What is ready, in the order of dispatch; empty after `timeout`.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Source>> {
        // Rounded up: a wait that ends a moment before its deadline would be repeated with no time at all.
        let timeout = timeout.map(|timeout| rustix::event::Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX / 2),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut events = Vec::with_capacity(MAX_EVENTS);
        match epoll::wait(&*self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut sources: Vec<Source> =
            events.iter().filter_map(|event: &epoll::Event| Source::decode({ event.data }.u64())).collect();
        sources.sort_unstable();
        Ok(sources)
    }
}

/// A descriptor in the loop. A duplicate elsewhere (the daemon's, a child's) keeps a closed descriptor's events
/// coming, so it is taken out of the loop before it is closed.
pub(crate) struct Watch {
    epoll: Rc<OwnedFd>,
    fd: OwnedFd,
    source: Source,
    flags: EventFlags,
}

impl Watch {
    /// Changes what is waited for. Empty: nothing, not even a hang-up, which epoll would otherwise tell for ever.
    pub(crate) fn want(&mut self, flags: EventFlags) -> io::Result<()> {
        if flags == self.flags {
            return Ok(());
        }
        let data = EventData::new_u64(self.source.encode());
        if flags.is_empty() {
            epoll::delete(&*self.epoll, &self.fd)?;
        } else if self.flags.is_empty() {
            epoll::add(&*self.epoll, &self.fd, data, flags)?;
        } else {
            epoll::modify(&*self.epoll, &self.fd, data, flags)?;
        }
        self.flags = flags;
        Ok(())
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.want(EventFlags::empty());
    }
}
