//! The console socket: where the runtime sends a terminal's master end (runc, docs/terminals.md).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};

use crate::poll::{Key, Kind, Poll, Source, Watch};

/// Waits for one terminal. Its file goes with it.
pub(crate) struct Console {
    dir: OwnedFd,
    name: PathBuf,
    listener: Watch,
    peer: Option<Watch>,
    master: Option<OwnedFd>,
    poll: Poll,
    key: Key,
}

impl Console {
    /// Listens at `path`, whose own length does not matter here (but does to the runtime).
    pub(crate) fn listen(path: &Path, poll: &Poll, key: Key) -> io::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = PathBuf::from(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(parent, flags, Mode::empty())?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let _ = rustix::fs::unlinkat(&dir, &name, AtFlags::empty());
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(&name);
        rustix::net::bind(&socket, &SocketAddrUnix::new(&short)?)?;
        rustix::net::listen(&socket, 1)?;
        let listener = poll.watch_readable(socket, Source::new(Kind::Console, key))?;
        Ok(Self { dir, name, listener, peer: None, master: None, poll: poll.clone(), key })
    }

    /// Takes what has come so far. Never blocks.
    pub(crate) fn advance(&mut self) {
        if self.peer.is_none() {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let Ok(peer) = rustix::net::accept_with(&self.listener, flags) else { return };
            self.peer = self.poll.watch_readable(peer, Source::new(Kind::ConsolePeer, self.key)).ok();
        }
        let Some(peer) = &self.peer else { return };
        let mut name = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [IoSliceMut::new(&mut name)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        match rustix::net::recvmsg(peer, &mut iov, &mut control, flags) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => self.peer = None,
            Ok(received) => {
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = message {
                        self.master = rights.last().or(self.master.take());
                    }
                }
                if received.bytes == 0 || self.master.is_some() {
                    self.peer = None;
                }
            }
        }
    }

    /// The terminal, if it has come.
    pub(crate) fn take_terminal(mut self) -> Option<OwnedFd> {
        self.advance();
        let master = self.master.take()?;
        rustix::io::ioctl_fionbio(&master, true).ok()?;
        Some(master)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(&self.dir, &self.name, AtFlags::empty());
    }
}
