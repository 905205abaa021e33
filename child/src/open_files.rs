//! The limit of open files: the soft one is raised to the hard one for the daemon alone.
//!
//! Service managers give 1024, so that programs that use select(2) do not break (systemd, `DefaultLimitNOFILE=`); each
//! pod and each streaming session of the daemon holds some. What the daemon starts gets back what the daemon was given.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As the daemon was given it, if it was raised.
static GIVEN: OnceLock<Rlimit> = OnceLock::new();

/// `RLIMIT_NOFILE`, in descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    pub soft: u64,
    pub hard: u64,
}

impl From<Rlimit> for OpenFiles {
    fn from(limit: Rlimit) -> Self {
        // None: without a limit.
        Self { soft: limit.current.unwrap_or(u64::MAX), hard: limit.maximum.unwrap_or(u64::MAX) }
    }
}

/// Of this process, now.
#[must_use]
pub fn limit() -> OpenFiles {
    getrlimit(Resource::Nofile).into()
}

/// Raises the soft limit of this process to the hard one; the limit as it is now. What is started by
/// [`Command`](crate::Command) from now on gets the limit as it was.
///
/// # Errors
/// Of setrlimit(2): the hard limit is above what the kernel allows now (`fs.nr_open`).
pub fn raise() -> io::Result<OpenFiles> {
    let given = getrlimit(Resource::Nofile);
    if given.current != given.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: given.maximum, maximum: given.maximum })?;
        let _ = GIVEN.set(given);
    }
    Ok(limit())
}

/// What a child has to be given, if it is not what it would inherit.
pub(crate) fn given() -> Option<libc::rlimit> {
    let number = |limit: Option<u64>| limit.unwrap_or(libc::RLIM_INFINITY);
    GIVEN.get().map(|given| libc::rlimit { rlim_cur: number(given.current), rlim_max: number(given.maximum) })
}
