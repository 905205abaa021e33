//! Pause: the process that holds the pod's namespaces, as root of the pod's user namespace if it has one. It is embedded, and started from a sealed memfd.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use linkspan_monitor::protocol::{Failure, FailureKind, PAUSE, PauseCall, Process, Text};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use super::exit::exit_record;
use super::{Pod, now_ns};
use crate::poll::{Kind, Source, Watch};
use crate::runtime_call::{failure, wait_code};
use crate::sys::{self, PauseStage};

pub(super) struct Pause {
    pub(super) process: Process,
    /// None once it has ended.
    exit: Option<Watch>,
}

impl Pause {
    pub(super) fn is_running(&self) -> bool {
        self.exit.is_some()
    }

    pub(super) fn awaits(&self, pid: i32) -> bool {
        self.is_running() && self.process.pid == pid
    }
}

impl Pod {
    pub(super) fn start_pause(&mut self, call: &PauseCall) -> Result<Process, Failure> {
        if self.pause.is_some() {
            return Err(failure(FailureKind::AlreadyExists, "pause was started before".to_owned()));
        }
        let pid = spawn(call, self.inherited_oom_score_adj.as_deref())
            .map_err(|e| failure(FailureKind::Io, format!("starting pause: {e}")))?;
        let watched = Process::of(pid).and_then(|process| {
            let pidfd = process.open_pidfd().ok_or(io::ErrorKind::NotFound)?;
            Ok((process, self.poll.watch_readable(pidfd.into(), Source::new(Kind::PauseExit, 0))?))
        });
        // It is our child and not reaped: only a lack of descriptors can be in the way.
        let (process, exit) =
            watched.map_err(|e| failure(FailureKind::Io, format!("watching pause, PID {pid}: {e}")))?;
        self.pause = Some(Pause { process, exit: Some(exit) });
        Ok(process)
    }

    pub(super) fn pause_ended(&mut self) {
        let Some(pause) = &mut self.pause else { return };
        let Some(code) = pause.exit.as_ref().and_then(wait_code) else { return };
        pause.exit = None;
        let record = exit_record(PAUSE.to_owned(), pause.process, code, now_ns(), false);
        self.look_for_orphans = true;
        self.record(record);
    }
}

fn spawn(call: &PauseCall, inherited_oom_score_adj: Option<&str>) -> io::Result<i32> {
    let namespaces: Vec<&Text> = [&call.network, &call.ipc, &call.uts].into_iter().flatten().collect();
    let open_all = |paths: &[&Text], options: &OpenOptions| -> io::Result<Vec<OwnedFd>> {
        let open = |path: &&Text| options.open(path.as_path()).map(OwnedFd::from).map_err(|e| named(e, path));
        paths.iter().map(open).collect()
    };
    let cgroups: Vec<&Text> = call.cgroup_procs.iter().collect();
    let namespace_fds = open_all(&namespaces, OpenOptions::new().read(true))?;
    let cgroup_fds = open_all(&cgroups, OpenOptions::new().write(true))?;
    let program = memfd()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let (report, failed) = pipe_with(PipeFlags::CLOEXEC)?;
    let user = call.user.as_ref().map(|path| File::open(path.as_path()).map_err(|e| named(e, path)));
    let user = user.transpose()?;
    let oom_score_adj = call.oom_score_adj.map(|value| value.to_string());
    let pid = sys::spawn_pause(&sys::PausePlan {
        program: program.as_fd(),
        cgroups: &cgroup_fds,
        namespaces: &namespace_fds,
        user: user.as_ref().map(AsFd::as_fd),
        oom_score_adj: oom_score_adj.as_deref().or(inherited_oom_score_adj),
        new_pid: call.new_pid,
        failed: failed.as_fd(),
        null: null.as_fd(),
    })?;
    drop(failed);
    let mut told = Vec::new();
    File::from(report).read_to_end(&mut told)?;
    let mut pid = pid;
    let mut failure = None;
    for report in told.chunks(sys::PAUSE_REPORT_BYTES) {
        let report: [u8; sys::PAUSE_REPORT_BYTES] =
            report.try_into().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let [stage, index, number @ ..] = report;
        match stage == PauseStage::Replaced as u8 {
            true => pid = i32::from_ne_bytes(number),
            false => failure = Some((stage, usize::from(index), i32::from_ne_bytes(number))),
        }
    }
    // Without one, exec closed the pipe: pause runs.
    let Some((stage, index, number)) = failure else { return Ok(pid) };
    let error = io::Error::from_raw_os_error(number);
    let name = |paths: &[&Text]| paths.get(index).map_or_else(String::new, |path| format!("{path:?}"));
    let what = match stage {
        stage if stage == PauseStage::Cgroup as u8 => format!("entering cgroup {}", name(&cgroups)),
        stage if stage == PauseStage::Namespace as u8 => format!("entering namespace {}", name(&namespaces)),
        stage if stage == PauseStage::UserNamespace as u8 => format!("becoming root of {:?}", call.user),
        stage if stage == PauseStage::OomScoreAdj as u8 => "setting oom_score_adj".to_owned(),
        stage if stage == PauseStage::Stdio as u8 => "setting up its streams".to_owned(),
        _ => "executing it".to_owned(),
    };
    // The child ends by itself and is reaped as an orphan.
    Err(io::Error::new(error.kind(), format!("{what}: {error}")))
}

/// The program, in memory that nobody can change any more.
fn memfd() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels since 6.3 can forbid what does not ask for it; older ones do not know the flag.
    let fd = rustix::fs::memfd_create("pause", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("pause", flags))?;
    let mut file = File::from(fd);
    file.write_all(linkspan_monitor::PAUSE_PROGRAM)?;
    seal(&file)?;
    // A file that is open for writing cannot be executed.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    Ok(File::open(path)?.into())
}

fn seal(file: &File) -> io::Result<()> {
    // Not WRITE, which differs for mappings that are there already, and is refused (EBUSY) while the kernel itself holds
    // a page, as it does to page out.
    let seals = SealFlags::FUTURE_WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    Ok(rustix::fs::fcntl_add_seals(file, seals)?)
}

fn named(error: io::Error, path: &Text) -> io::Error {
    io::Error::new(error.kind(), format!("{path:?}: {error}"))
}

#[cfg(test)]
mod tests;
