//! The one registration here that the compiler cannot check.
#![allow(unsafe_code)]

use std::io;

use inotify::Inotify;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A fresh inotify instance, registered with the calling task's runtime.
pub(super) fn register() -> io::Result<AsyncFd<Inotify>> {
    let inotify = Inotify::init()?;
    // SAFETY: an Inotify keeps one descriptor open until it is dropped, and nobody takes it out of
    // the AsyncFd, which deregisters it before.
    unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) }.map_err(io::Error::from)
}
