//! What happens between the start of a process and its program.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Of the child, until it executes the program. It only makes system calls.
const STACK_BYTES: usize = 64 << 10;
/// Of the kernel's signal set.
const SIGSET_BYTES: usize = 8;
const SIGNALS: libc::c_int = 64;

/// Everything that a child needs to know; it may not allocate.
pub(crate) struct Start<'a> {
    pub(crate) program: &'a CStr,
    /// Ends with a null, as `env` does.
    pub(crate) args: &'a [*const libc::c_char],
    pub(crate) env: &'a [*const libc::c_char],
    pub(crate) dir: Option<&'a CStr>,
    /// What takes the place of the daemon's own streams: descriptors above 2.
    pub(crate) stdio: [Option<RawFd>; 3],
    pub(crate) own_group: bool,
    pub(crate) open_files: Option<libc::rlimit>,
}

/// What the child is given, and where it says why it failed.
struct Shared<'a> {
    start: &'a Start<'a>,
    errno: libc::c_int,
}

/// Starts the program; its PID and its pidfd.
pub(crate) fn start(start: &Start<'_>) -> io::Result<(i32, OwnedFd)> {
    let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    let mut shared = Shared { start, errno: 0 };
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let (all, mut before) = (u64::MAX, 0_u64);
    // SAFETY: with CLONE_VFORK the kernel keeps this thread asleep until the child has executed its program or has ended, so the
    // stack, `shared` and all that it refers to outlive the child's use of them. The child runs `run`, which only makes system
    // calls. No handler of a signal can run in it, on memory that is ours: all signals, also those of the C library, which
    // its own function would leave out, are blocked until the child has none. CLONE_PIDFD writes one descriptor.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            &raw mut before,
            SIGSET_BYTES,
        );
        let top = stack.as_mut_ptr().add(stack.capacity()).cast();
        let pid = libc::clone(run, top, flags, (&raw mut shared).cast(), &raw mut pidfd);
        let error = io::Error::last_os_error();
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const before,
            ptr::null_mut::<u64>(),
            SIGSET_BYTES,
        );
        if pid < 0 {
            return Err(error);
        }
        pid
    };
    // SAFETY: the kernel has made it for us alone.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // SAFETY: a plain read of what the child may have written, which has ended or executed its program by now.
    let errno = unsafe { ptr::read_volatile(&raw const shared.errno) };
    if errno != 0 {
        let ended = rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd));
        let _ = rustix::process::waitid(ended, rustix::process::WaitIdOptions::EXITED);
        return Err(io::Error::from_raw_os_error(errno));
    }
    Ok((pid, pidfd))
}

/// The child: returns only if the program cannot be executed.
extern "C" fn run(shared: *mut libc::c_void) -> libc::c_int {
    let shared = shared.cast::<Shared<'_>>();
    // SAFETY: it is alive, see `start`, and nobody else looks at it now. System calls on values that were checked before;
    // `errno` is the sleeping thread's own.
    unsafe {
        let errno = prepare((*shared).start).err().unwrap_or_else(|| {
            let start = (*shared).start;
            libc::execve(start.program.as_ptr(), start.args.as_ptr(), start.env.as_ptr());
            *libc::__errno_location()
        });
        ptr::write_volatile(&raw mut (*shared).errno, errno);
    }
    127
}

/// # Safety
/// To be called in the child only.
unsafe fn prepare(start: &Start<'_>) -> Result<(), libc::c_int> {
    // SAFETY: system calls that change the child alone: without CLONE_SIGHAND, CLONE_FILES and CLONE_FS it has its own handlers,
    // descriptors and directory.
    unsafe {
        let check = |result: libc::c_int| match result {
            -1 => Err(*libc::__errno_location()),
            _ => Ok(()),
        };
        for signal in 1..=SIGNALS {
            default_handler(signal);
        }
        if start.own_group {
            check(libc::setpgid(0, 0))?;
        }
        if let Some(dir) = start.dir {
            check(libc::chdir(dir.as_ptr()))?;
        }
        for (stream, fd) in (0..).zip(start.stdio) {
            if let Some(fd) = fd {
                check(libc::dup2(fd, stream))?;
            }
        }
        if let Some(limit) = &start.open_files {
            check(libc::setrlimit(libc::RLIMIT_NOFILE, limit))?;
        }
        let none = 0_u64;
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut::<u64>(),
            SIGSET_BYTES,
        );
    }
    Ok(())
}

/// What a handler would do is ours, and what the daemon ignores (SIGPIPE) the program shall hear; so it shall the two that the
/// C library keeps for itself, and does not let be set: they may have been ignored where the daemon was started.
///
/// # Safety
/// To be called in the child only.
unsafe fn default_handler(signal: libc::c_int) {
    /// The kernel's `struct sigaction`: a handler, flags, a restorer, and a mask; zeros are the default action.
    static DEFAULT: [u64; 4] = [0; 4];
    // SAFETY: the kernel reads it, and refuses signals that have no action.
    unsafe {
        let none = ptr::null_mut::<u64>();
        libc::syscall(libc::SYS_rt_sigaction, signal, &raw const DEFAULT, none, SIGSET_BYTES);
    }
}

/// Lets the runtime's reactor watch a pidfd; back with the reason if it cannot.
pub(crate) fn watch(pidfd: OwnedFd) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    // SAFETY: an OwnedFd is open and stays the same descriptor until it is dropped, which AsyncFd does last.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.map_err(|error| error.into_parts())
}
