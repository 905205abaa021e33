//! System calls that rustix does not wrap, or not safely.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread alone a copy of the mount table.
pub(super) fn unshare_mounts() -> rustix::io::Result<()> {
    // SAFETY: only unsharing the descriptor table can break I/O safety, and that is not asked for.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
}

/// Maps the owners of a mount that is attached nowhere; with `recursive` of those below it too (Linux 5.12).
pub(super) fn map_owners(tree: BorrowedFd<'_>, userns: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(userns.as_raw_fd().unsigned_abs()),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path ends with a NUL, and the structure is as long as it says; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
