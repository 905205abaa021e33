//! A system call that rustix wraps for the signals alone that have names.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends a signal, by the kernel's number for it: real-time ones too.
pub(super) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without further information the kernel reads nothing of ours.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
