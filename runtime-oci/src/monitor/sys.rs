//! The one unsafe call of this module.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Lets the runtime's reactor watch a descriptor. Must be called inside a tokio runtime.
pub(super) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and stays the same descriptor until it is dropped, which AsyncFd does last.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
