//! The system calls here that the compiler cannot check.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling thread alone into fresh namespaces.
///
/// `flags` must not name `FILES`; network, IPC and UTS are all that this crate asks for.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: only unsharing the descriptor table can break I/O safety, and that is not asked for.
    unsafe { unshare_unsafe(flags) }
}

/// A child in fresh namespaces that does nothing and ends with the pipe of which `end` is the reading end. It sends no
/// signal; its PID is to be given to [`reap`].
pub(super) fn spawn_holder(flags: UnshareFlags, end: BorrowedFd<'_>) -> std::io::Result<i32> {
    // SAFETY: without CLONE_VM this is a fork; the child makes system calls only, as it must beside other threads.
    unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        args.flags = u64::from(flags.bits());
        match libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) {
            -1 => Err(std::io::Error::last_os_error()),
            0 => hold(end),
            pid => Ok(pid as i32),
        }
    }
}

fn hold(end: BorrowedFd<'_>) -> ! {
    let mut byte = 0_u8;
    // SAFETY: system calls only; the buffer has the one byte. All other descriptors are closed, or the daemon's pipes and
    // locks would seem to be held; the writing end among them.
    unsafe {
        libc::dup2(end.as_raw_fd(), 0);
        libc::syscall(libc::SYS_close_range, 1_u32, libc::c_uint::MAX, 0);
        while libc::read(0, (&raw mut byte).cast(), 1) < 0 && *libc::__errno_location() == libc::EINTR {}
        libc::_exit(0)
    }
}

/// Ends the child and waits for it.
pub(super) fn reap(pid: i32) {
    // SAFETY: plain calls without pointers on a child that nobody else reaps. `__WALL`: the child sends no signal.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        while libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) < 0
            && *libc::__errno_location() == libc::EINTR
        {}
    }
}
