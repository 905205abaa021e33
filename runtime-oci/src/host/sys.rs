//! System calls that rustix does not wrap.
#![allow(unsafe_code)]

use std::io;

/// Sets close-on-exec on every descriptor from `first` on.
pub(super) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range with this flag changes descriptor flags only; it neither closes anything nor touches memory.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
