//! From a freshly started process to one that is fit to be a pod's monitor.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;

use linkspan_monitor::protocol;
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::args::Args;
use crate::sys;

/// What the loop starts with.
pub(crate) struct Entered {
    pub(crate) args: Args,
    /// The daemon's end of the first connection came as stdin.
    pub(crate) first_connection: OwnedFd,
    pub(crate) listener: OwnedFd,
    pub(crate) signals: OwnedFd,
    /// What `/proc/self/oom_score_adj` said before we changed it: what we start gets it back.
    pub(crate) inherited_oom_score_adj: Option<String>,
    /// Held until the end: one monitor per pod.
    pub(crate) lock: OwnedFd,
}

/// Makes this process a session of its own, a subreaper, in its cgroups, with no descriptors but its own.
pub(crate) fn enter(args: Args) -> io::Result<Entered> {
    sys::close_from(3);
    let first_connection = sys::take_stdin()?;
    // A session leader's failure (started by hand from a shell's own group) changes nothing for the pod.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let signals = sys::block_and_watch_signals()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    for procs in &args.cgroup_procs {
        let opened = fs::OpenOptions::new().write(true).open(procs);
        opened
            .and_then(|mut file| file.write_all(b"0"))
            .map_err(|e| named(e, format!("entering cgroup {}", procs.display())))?;
    }
    let inherited_oom_score_adj = match args.oom_score_adj {
        Some(value) => Some(set_oom_score_adj(value)?),
        None => None,
    };
    let pod_dir = &args.pod_dir;
    let lock = rustix::fs::open(pod_dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| named(e.into(), format!("opening {}", pod_dir.display())))?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|e| named(e.into(), format!("{} has a monitor already", pod_dir.display())))?;
    let exits = protocol::exits_dir(pod_dir);
    match fs::DirBuilder::new().mode(0o700).create(&exits) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            return Err(named(e, format!("making {}", exits.display())));
        }
        _ => {}
    }
    let listener = protocol::listen(pod_dir)
        .map_err(|e| named(e, format!("listening at {}/{}", pod_dir.display(), protocol::SOCKET_NAME)))?;
    Ok(Entered { args, first_connection, listener, signals, inherited_oom_score_adj, lock })
}

/// Returns what was there before.
fn set_oom_score_adj(value: i32) -> io::Result<String> {
    let path = "/proc/self/oom_score_adj";
    let before = fs::read_to_string(path)?;
    fs::write(path, value.to_string()).map_err(|e| named(e, format!("setting oom_score_adj to {value}")))?;
    Ok(before.trim().to_owned())
}

fn named(error: io::Error, what: String) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
