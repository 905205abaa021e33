//! The one system call here that the compiler cannot check.
#![allow(unsafe_code)]

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
