//! System calls that neither the standard library nor rustix wraps, and what happens between fork and exec.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

const DEV_NULL: &CStr = c"/dev/null";
const OOM_SCORE_ADJ: &CStr = c"/proc/self/oom_score_adj";

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
fn write_file(path: &CStr, content: &[u8]) -> i32 {
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
fn reset_signals(blocked: &[libc::c_int]) {
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

/// All that pause needs, opened beforehand: its child may only make system calls.
pub(crate) struct PausePlan<'a> {
    pub(crate) program: BorrowedFd<'a>,
    /// `cgroup.procs` files, open for writing.
    pub(crate) cgroups: &'a [OwnedFd],
    pub(crate) namespaces: &'a [OwnedFd],
    /// A user namespace, entered last: it has no rights outside.
    pub(crate) user: Option<BorrowedFd<'a>>,
    pub(crate) oom_score_adj: Option<&'a str>,
    pub(crate) new_pid: bool,
    /// The writing end of a close-on-exec pipe: gets a report of a failure or, at exec, its end. Before that, the PID of
    /// a second child that takes the first one's place.
    pub(crate) failed: BorrowedFd<'a>,
    pub(crate) null: BorrowedFd<'a>,
}

/// Where pause's start failed.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum PauseStage {
    /// No failure: the number is the PID of who goes on.
    Replaced = 0,
    Cgroup = 1,
    Namespace,
    UserNamespace,
    OomScoreAdj,
    Stdio,
    Exec,
}

/// What the child writes: stage, index within the stage, error number.
pub(crate) const PAUSE_REPORT_BYTES: usize = 6;

/// Starts pause; returns its PID. Whether it got as far as exec, and under which PID, is told by the pipe.
pub(crate) fn spawn_pause(plan: &PausePlan<'_>) -> io::Result<i32> {
    // SAFETY: without CLONE_VM this is a fork; we have one thread, and the child makes system calls only.
    unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        // One that belongs to a user namespace is made in there.
        args.flags = if plan.new_pid && plan.user.is_none() { libc::CLONE_NEWPID as u64 } else { 0 };
        args.exit_signal = libc::SIGCHLD as u64;
        let pid = libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>());
        match pid {
            -1 => Err(io::Error::last_os_error()),
            0 => become_pause(plan),
            pid => Ok(pid as i32),
        }
    }
}

fn become_pause(plan: &PausePlan<'_>) -> ! {
    let fail =
        |stage: PauseStage, index: usize, number: i32| -> ! { report_and_exit(plan, stage, index, number) };
    // SAFETY: system calls only, on descriptors that are open and strings that end with a NUL.
    unsafe {
        for (index, procs) in plan.cgroups.iter().enumerate() {
            if libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1) < 0 {
                fail(PauseStage::Cgroup, index, errno());
            }
        }
        for (index, namespace) in plan.namespaces.iter().enumerate() {
            if libc::setns(namespace.as_raw_fd(), 0) < 0 {
                fail(PauseStage::Namespace, index, errno());
            }
        }
        if let Some(value) = plan.oom_score_adj {
            let number = write_file(OOM_SCORE_ADJ, value.as_bytes());
            if number != 0 {
                fail(PauseStage::OomScoreAdj, 0, number);
            }
        }
        if let Some(user) = plan.user {
            become_root_of(user, plan);
        }
        libc::setsid();
        // Those that it waits for stay blocked: one that comes before its first instruction must not be lost.
        reset_signals(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT]);
        let stdio: [RawFd; 3] = [0, 1, 2];
        let failed = stdio.iter().any(|fd| libc::dup2(plan.null.as_raw_fd(), *fd) < 0);
        if failed || libc::chdir(c"/".as_ptr()) < 0 {
            fail(PauseStage::Stdio, 0, errno());
        }
        libc::syscall(libc::SYS_close_range, 3_u32, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        let argv = [c"pause".as_ptr(), std::ptr::null()];
        let envp: [*const libc::c_char; 1] = [std::ptr::null()];
        libc::syscall(
            libc::SYS_execveat,
            plan.program.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
        fail(PauseStage::Exec, 0, errno())
    }
}

fn report_and_exit(plan: &PausePlan<'_>, stage: PauseStage, index: usize, number: i32) -> ! {
    let number = number.to_ne_bytes();
    let report = [stage as u8, index as u8, number[0], number[1], number[2], number[3]];
    // SAFETY: the report is as long as it says; _exit runs nothing of the parent's.
    unsafe {
        libc::write(plan.failed.as_raw_fd(), report.as_ptr().cast(), report.len());
        libc::_exit(127);
    }
}

/// Enters a user namespace as its root. With a new PID namespace it is a second child that returns: a process cannot
/// change its own, and only one that its user namespace owns lets containers mount a `/proc` of it.
fn become_root_of(user: BorrowedFd<'_>, plan: &PausePlan<'_>) {
    let fail = |number: i32| -> ! { report_and_exit(plan, PauseStage::UserNamespace, 0, number) };
    // SAFETY: plain system calls; without CLONE_VM the second one is a fork of a process with one thread. By raw calls,
    // for the C library's tell threads of their parent's.
    unsafe {
        if libc::setns(user.as_raw_fd(), libc::CLONE_NEWUSER) < 0
            || libc::syscall(libc::SYS_setgroups, 0_usize, std::ptr::null::<libc::gid_t>()) < 0
            || libc::syscall(libc::SYS_setresgid, 0_u32, 0_u32, 0_u32) < 0
            || libc::syscall(libc::SYS_setresuid, 0_u32, 0_u32, 0_u32) < 0
        {
            fail(errno());
        }
        if !plan.new_pid {
            return;
        }
        let mut args: libc::clone_args = std::mem::zeroed();
        // The monitor's child, with the first one's signal at its end.
        args.flags = (libc::CLONE_NEWPID | libc::CLONE_PARENT) as u64;
        match libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) {
            -1 => fail(errno()),
            0 => {}
            pid => report_and_exit(plan, PauseStage::Replaced, 0, pid as i32),
        }
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn errno() -> i32 {
    // SAFETY: the C library's own variable of this thread.
    unsafe { *libc::__errno_location() }
}
