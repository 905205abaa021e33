//! Pause's birth: what its process does between clone and exec, so that nothing of the host and no right is left to it.
//!
//! In a pod with a shared PID namespace pause is `/proc/1` of every container. Whoever may trace it (`SYS_PTRACE` is all it
//! takes) has its root, its working directory, its descriptors and its rights: so it has none.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::sys::{OOM_SCORE_ADJ, errno, reset_signals, write_file};

/// User and group of pause, but in a pod with users of its own: no one's, as in the images of a pause container.
const NOBODY: u32 = 65535;

/// Any directory that every host has: it is covered, in a mount namespace of pause's own, until it is the root.
const COVERED: &CStr = c"/proc";

/// All that pause needs, opened beforehand: its child may only make system calls.
pub(super) struct PausePlan<'a> {
    pub(super) program: BorrowedFd<'a>,
    /// `cgroup.procs` files, open for writing.
    pub(super) cgroups: &'a [OwnedFd],
    pub(super) namespaces: &'a [OwnedFd],
    /// A user namespace, entered when all that takes rights outside of it is done.
    pub(super) user: Option<BorrowedFd<'a>>,
    pub(super) oom_score_adj: Option<&'a str>,
    pub(super) new_pid: bool,
    /// The writing end of a close-on-exec pipe: gets a report of a failure or, at exec, its end. Before that, the PID of
    /// a second child that takes the first one's place.
    pub(super) failed: BorrowedFd<'a>,
}

/// Where pause's start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    Cgroup = 1,
    Namespace,
    OomScoreAdj,
    /// A mount and a cgroup namespace of its own.
    Apart,
    /// An empty root instead of the host's.
    Root,
    UserNamespace,
    /// Without user, groups, capabilities.
    Rights,
    Exec,
}

impl Stage {
    const ALL: [Stage; 8] = [
        Stage::Cgroup,
        Stage::Namespace,
        Stage::OomScoreAdj,
        Stage::Apart,
        Stage::Root,
        Stage::UserNamespace,
        Stage::Rights,
        Stage::Exec,
    ];
}

/// What the child says through its pipe.
pub(super) enum Report {
    /// The PID of who goes on in its place.
    Replaced(i32),
    /// Stage, index of the cgroup or namespace, error number.
    Failed(Stage, usize, i32),
}

/// A stage (0: replaced), an index within it, a number.
pub(super) const REPORT_BYTES: usize = 6;

impl Report {
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Report> {
        let [stage, index, number @ ..] = <[u8; REPORT_BYTES]>::try_from(bytes)
            .map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let number = i32::from_ne_bytes(number);
        let stage = Stage::ALL.into_iter().find(|known| *known as u8 == stage);
        Ok(stage.map_or(Report::Replaced(number), |stage| Report::Failed(stage, usize::from(index), number)))
    }
}

/// Starts pause; returns its PID. Whether it got as far as exec, and under which PID, is told by the pipe.
pub(super) fn spawn_pause(plan: &PausePlan<'_>) -> io::Result<i32> {
    // SAFETY: without CLONE_VM this is a fork, which copies one thread; the child makes system calls only, so that no lock
    // which the thread of the logs may hold at this moment matters to it.
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
    let child = Child { failed: plan.failed };
    child.join(plan);
    child.leave_the_host();
    if let Some(user) = plan.user {
        child.enter_user_namespace(user, plan.new_pid);
    }
    child.give_up_rights(plan.user.is_none());
    child.execute(plan.program)
}

/// The process between clone and exec. A step that fails is its last.
struct Child<'a> {
    failed: BorrowedFd<'a>,
}

impl Child<'_> {
    fn join(&self, plan: &PausePlan<'_>) {
        for (index, procs) in plan.cgroups.iter().enumerate() {
            // SAFETY: the descriptor is open, the text one byte long.
            let written = unsafe { libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1) };
            self.must(Stage::Cgroup, index, written as i64);
        }
        for (index, namespace) in plan.namespaces.iter().enumerate() {
            // SAFETY: the descriptor is open.
            let joined = unsafe { libc::setns(namespace.as_raw_fd(), 0) };
            self.must(Stage::Namespace, index, joined.into());
        }
        if let Some(value) = plan.oom_score_adj {
            let number = write_file(OOM_SCORE_ADJ, value.as_bytes());
            if number != 0 {
                self.end(Stage::OomScoreAdj as u8, 0, number);
            }
        }
    }

    /// Goes where nothing is: a mount namespace with one empty read-only root, and a cgroup namespace that begins at the
    /// pod's own group. Both belong to the host's users, so that no container can change them.
    fn leave_the_host(&self) {
        let none = std::ptr::null();
        let private = libc::MS_REC | libc::MS_PRIVATE;
        let closed = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        let (here, root) = (c".".as_ptr(), c"/".as_ptr());
        // SAFETY: plain system calls; every string ends with a NUL.
        unsafe {
            let namespaces = libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP;
            self.must(Stage::Apart, 0, libc::unshare(namespaces).into());
            // What is mounted and unmounted here must not happen to the host.
            self.must(Stage::Root, 0, libc::mount(none, root, none, private, none.cast()).into());
            let (covered, options) = (COVERED.as_ptr(), c"mode=0555,nr_inodes=1".as_ptr().cast());
            let kind = c"tmpfs".as_ptr();
            self.must(Stage::Root, 1, libc::mount(c"pause".as_ptr(), covered, kind, closed, options).into());
            self.must(Stage::Root, 2, libc::chdir(covered).into());
            // The old root comes to lie over the new one, and is taken off (pivot_root(2), "pivot_root(".", ".")").
            self.must(Stage::Root, 3, libc::syscall(libc::SYS_pivot_root, here, here));
            self.must(Stage::Root, 4, libc::umount2(here, libc::MNT_DETACH).into());
            self.must(Stage::Root, 5, libc::chdir(root).into());
        }
    }

    /// Enters a user namespace as its root: who owns `/proc` of the PID namespace. With a new PID namespace it is a second
    /// child that returns: a process cannot change its own, and only one that its user namespace owns lets containers
    /// mount a `/proc` of it.
    fn enter_user_namespace(&self, user: BorrowedFd<'_>, new_pid: bool) {
        // SAFETY: plain system calls; without CLONE_VM the last one is a fork of a process with one thread.
        unsafe {
            let entered = libc::setns(user.as_raw_fd(), libc::CLONE_NEWUSER);
            self.must(Stage::UserNamespace, 0, entered.into());
            self.become_user(Stage::UserNamespace, 0);
            if !new_pid {
                return;
            }
            let mut args: libc::clone_args = std::mem::zeroed();
            // The monitor's child, with the first one's signal at its end.
            args.flags = (libc::CLONE_NEWPID | libc::CLONE_PARENT) as u64;
            let pid = libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>());
            self.must(Stage::UserNamespace, 1, pid);
            if pid > 0 {
                self.end(0, 0, pid as i32);
            }
        }
    }

    /// No capability in any set, none to be had by exec, no user of the host's.
    fn give_up_rights(&self, becomes_nobody: bool) {
        // SAFETY: plain system calls; header and sets are as capset(2) has them.
        unsafe {
            let mut capability = 0;
            // The last one that the kernel knows is followed by EINVAL.
            while libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == 0 {
                capability += 1;
            }
            self.must(Stage::Rights, 0, if capability > 0 { 0 } else { -1 });
            let cleared = libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
            self.must(Stage::Rights, 1, cleared.into());
            if becomes_nobody {
                self.become_user(Stage::Rights, NOBODY);
            }
            // Version 3, of this process; effective, permitted and inheritable, twice 32 bits each.
            let (header, sets) = ([0x2008_0522_u32, 0], [0_u32; 6]);
            self.must(Stage::Rights, 2, libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()));
            let promised = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            self.must(Stage::Rights, 3, promised.into());
        }
    }

    /// User and group, without other groups. By raw calls, for the C library's tell threads of their parent's.
    fn become_user(&self, stage: Stage, id: u32) {
        // SAFETY: plain system calls.
        unsafe {
            self.must(stage, 0, libc::syscall(libc::SYS_setgroups, 0_usize, std::ptr::null::<u32>()));
            self.must(stage, 0, libc::syscall(libc::SYS_setresgid, id, id, id));
            self.must(stage, 0, libc::syscall(libc::SYS_setresuid, id, id, id));
        }
    }

    /// Without arguments, environment and descriptors.
    fn execute(&self, program: BorrowedFd<'_>) -> ! {
        let argv = [c"pause".as_ptr(), std::ptr::null()];
        let envp: [*const libc::c_char; 1] = [std::ptr::null()];
        // SAFETY: lists end with a null pointer, strings with a NUL; the descriptor is open until exec.
        unsafe {
            libc::setsid();
            // Those that it waits for stay blocked: one that comes before its first instruction must not be lost.
            reset_signals(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT]);
            // The standard streams, too: it reads and writes nothing.
            libc::syscall(libc::SYS_close_range, 0_u32, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            libc::syscall(
                libc::SYS_execveat,
                program.as_raw_fd(),
                c"".as_ptr(),
                argv.as_ptr(),
                envp.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        // It returns only if it failed.
        self.end(Stage::Exec as u8, 0, errno())
    }

    fn must(&self, stage: Stage, index: usize, result: i64) {
        if result < 0 {
            self.end(stage as u8, index, errno());
        }
    }

    fn end(&self, stage: u8, index: usize, number: i32) -> ! {
        let number = number.to_ne_bytes();
        let report = [stage, index as u8, number[0], number[1], number[2], number[3]];
        // SAFETY: the report is as long as it says; _exit runs nothing of the parent's.
        unsafe {
            libc::write(self.failed.as_raw_fd(), report.as_ptr().cast(), report.len());
            libc::_exit(127);
        }
    }
}
