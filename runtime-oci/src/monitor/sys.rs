//! The one unsafe call of what has to do with descriptors in tokio's reactor.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Lets the runtime's reactor watch a descriptor. Must be called inside a tokio runtime.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and stays the same descriptor until it is dropped, which AsyncFd does last.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
