//! What pause's start opens beforehand, and what a failure of it says.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use linkspan_monitor::protocol::{PauseCall, Text};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use super::sys::{self, REPORT_BYTES, Report, Stage};

/// Starts pause, and returns its PID when it runs.
pub(super) fn spawn(call: &PauseCall, inherited_oom_score_adj: Option<&str>) -> io::Result<i32> {
    let namespaces: Vec<&Text> = [&call.network, &call.ipc, &call.uts].into_iter().flatten().collect();
    let open_all = |paths: &[&Text], options: &OpenOptions| -> io::Result<Vec<OwnedFd>> {
        let open = |path: &&Text| options.open(path.as_path()).map(OwnedFd::from).map_err(|e| named(e, path));
        paths.iter().map(open).collect()
    };
    let cgroups: Vec<&Text> = call.cgroup_procs.iter().collect();
    let namespace_fds = open_all(&namespaces, OpenOptions::new().read(true))?;
    let cgroup_fds = open_all(&cgroups, OpenOptions::new().write(true))?;
    let program = memfd()?;
    let (report, failed) = pipe_with(PipeFlags::CLOEXEC)?;
    let user = call.user.as_ref().map(|path| File::open(path.as_path()).map_err(|e| named(e, path)));
    let user = user.transpose()?;
    let oom_score_adj = call.oom_score_adj.map(|value| value.to_string());
    let mut pid = sys::spawn_pause(&sys::PausePlan {
        program: program.as_fd(),
        cgroups: &cgroup_fds,
        namespaces: &namespace_fds,
        user: user.as_ref().map(AsFd::as_fd),
        oom_score_adj: oom_score_adj.as_deref().or(inherited_oom_score_adj),
        new_pid: call.new_pid,
        failed: failed.as_fd(),
    })?;
    drop(failed);
    let mut told = Vec::new();
    File::from(report).read_to_end(&mut told)?;
    for report in told.chunks(REPORT_BYTES) {
        match Report::parse(report)? {
            Report::Replaced(by) => pid = by,
            // The child ends by itself and is reaped as an orphan.
            Report::Failed(stage, index, number) => {
                let error = io::Error::from_raw_os_error(number);
                let name =
                    |paths: &[&Text]| paths.get(index).map_or_else(String::new, |path| format!("{path:?}"));
                let what = match stage {
                    Stage::Cgroup => format!("entering cgroup {}", name(&cgroups)),
                    Stage::Namespace => format!("entering namespace {}", name(&namespaces)),
                    Stage::OomScoreAdj => "setting oom_score_adj".to_owned(),
                    Stage::Apart => "making a mount and a cgroup namespace of its own".to_owned(),
                    Stage::Root => format!("giving it an empty root (step {index})"),
                    Stage::UserNamespace => format!("becoming root of {:?}", call.user),
                    Stage::Rights => format!("giving up its rights (step {index})"),
                    Stage::Exec => "executing it".to_owned(),
                };
                return Err(io::Error::new(error.kind(), format!("{what}: {error}")));
            }
        }
    }
    Ok(pid)
}

/// The program, in memory that nobody can change any more.
fn memfd() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels since 6.3 can forbid what does not ask for it; older ones do not know the flag.
    let fd = rustix::fs::memfd_create("pause", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("pause", flags))?;
    let mut file = File::from(fd);
    file.write_all(linkspan_monitor::PAUSE_PROGRAM)?;
    // A program that the process itself may not read makes it one that nobody may look into but who has the rights for it
    // in the host's user namespace (ptrace(2), "dumpable"): from its first instruction on, and whatever a pod's root may do.
    file.set_permissions(Permissions::from_mode(0o111))?;
    seal(&file)?;
    // A file that is open for writing cannot be executed.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
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
