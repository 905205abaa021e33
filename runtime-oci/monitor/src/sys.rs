//! System calls that neither the standard library nor rustix wraps, and what a child may do between fork and exec.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

const DEV_NULL: &CStr = c"/dev/null";
pub(crate) const OOM_SCORE_ADJ: &CStr = c"/proc/self/oom_score_adj";

/// Closes every descriptor from `first` on: what the daemon may have leaked.
pub(crate) fn close_from(first: u32) {
    // SAFETY: called before anything of ours is open.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// Takes what came as stdin, close-on-exec, and leaves `/dev/null` in its place.
pub(crate) fn take_stdin() -> io::Result<OwnedFd> {
    // SAFETY: plain calls on descriptor numbers; the new ones are ours alone.
    unsafe {
        let taken = check(libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3))?;
        let taken = OwnedFd::from_raw_fd(taken);
        let null = check(libc::open(DEV_NULL.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC))?;
        let null = OwnedFd::from_raw_fd(null);
        check(libc::dup2(null.as_raw_fd(), 0))?;
        Ok(taken)
    }
}

/// Blocks the signals that we read from a descriptor instead.
pub(crate) fn block_and_watch_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        check(libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let fd = check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The next signal that came, if any.
pub(crate) fn next_signal(signals: BorrowedFd<'_>) -> Option<i32> {
    let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
    let length = rustix::io::read(signals, &mut info).ok()?;
    // The signal's number is the first field.
    let number = info.get(..4)?.try_into().ok()?;
    (length == info.len()).then_some(i32::from_ne_bytes(number))
}

/// Opens the other end of a terminal. While anybody has it open, reading the master end does not fail: a runtime opens
/// and closes it in passing, and a process may close it and come back.
pub(crate) fn open_peer(master: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the call makes a descriptor that is ours alone.
    unsafe {
        let fd = check(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// A child that has ended and is not reaped yet; it stays unreaped.
pub(crate) fn peek_ended_child() -> Option<i32> {
    // SAFETY: waitid fills the structure, whose PID is zero if there is none.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        check(libc::waitid(libc::P_ALL, 0, &raw mut info, flags)).ok()?;
        Some(info.si_pid()).filter(|pid| *pid > 0)
    }
}

/// Lets a command start in a session of its own, with all signals at their defaults and the given `oom_score_adj`.
pub(crate) fn start_apart(command: &mut Command, oom_score_adj: Option<String>) {
    let start = move || {
        if let Some(value) = &oom_score_adj {
            write_file(OOM_SCORE_ADJ, value.as_bytes());
        }
        // SAFETY: no arguments.
        unsafe { libc::setsid() };
        reset_signals(&[]);
        Ok(())
    };
    // SAFETY: the closure makes system calls only.
    unsafe { command.pre_exec(start) };
}

/// Open, write, close: nothing that is not allowed after fork. Returns the error's number, or 0.
pub(crate) fn write_file(path: &CStr, content: &[u8]) -> i32 {
    // SAFETY: the path ends with a NUL, and the content is as long as it says.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return errno();
        }
        let written = libc::write(fd, content.as_ptr().cast(), content.len());
        let result = if written < 0 { errno() } else { 0 };
        libc::close(fd);
        result
    }
}

/// Gives a child signals as after boot: what is blocked or ignored survives exec, whether we did it or the daemon.
pub(crate) fn reset_signals(blocked: &[libc::c_int]) {
    // The kernel's own structure, all zeros: the default. By a raw call, for the C library refuses its two internal
    // signals, which its posix_spawn leaves ignored.
    let default = [0_u64; 4];
    // SAFETY: the structure is as long as the kernel's; the set is initialised by sigemptyset before use.
    unsafe {
        for signal in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), 8_usize);
        }
        let mut mask = std::mem::zeroed();
        libc::sigemptyset(&raw mut mask);
        for signal in blocked {
            libc::sigaddset(&raw mut mask, *signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

pub(crate) fn errno() -> i32 {
    // SAFETY: the C library's own variable of this thread.
    unsafe { *libc::__errno_location() }
}
