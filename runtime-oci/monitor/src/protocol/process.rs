//! A process named by PID and start time, so that a reused PID is never taken for it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::sys;

/// A process of this machine, this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    /// Clock ticks after boot: `/proc/<pid>/stat`, field 22.
    pub start_time: u64,
}

impl Process {
    /// The process that has this PID now.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self { pid, start_time: ProcessStat::read(pid)?.start_time })
    }

    /// The calling process.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn this() -> io::Result<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Whether it runs still. A zombie is dead: only its parent has not noticed yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        ProcessStat::read(self.pid)
            .is_ok_and(|stat| stat.start_time == self.start_time && !matches!(stat.state, 'Z' | 'X' | 'x'))
    }

    /// How it has ended, as a shell counts: 128 + n for signal n. `None` while it runs, once its parent has taken notice, and
    /// for one that we may not look into.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        if !self.open_pidfd()?.has_ended() {
            return None;
        }
        // To who may not know it the kernel tells a zero instead. What a dead process executes is nothing, but forbidden is
        // told first.
        if std::fs::read_link(format!("/proc/{}/exe", self.pid))
            .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        {
            return None;
        }
        let stat = ProcessStat::read(self.pid).ok().filter(|stat| stat.start_time == self.start_time)?;
        let status = stat.exit_status?;
        Some(match status & 0x7f {
            0 => status >> 8 & 0xff,
            signal => 128 + signal,
        })
    }

    /// A descriptor of exactly this process; `None` if it is gone, whoever may have its PID now.
    #[must_use]
    pub fn open_pidfd(&self) -> Option<PidFd> {
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::NONBLOCK).ok()?;
        // The descriptor pins whoever has the PID now; only then does the comparison hold.
        let stat = ProcessStat::read(self.pid).ok()?;
        (stat.start_time == self.start_time).then_some(PidFd(fd))
    }

    /// Sends a signal; a process that is gone gets none, and that is no error.
    ///
    /// # Errors
    /// If the signal is no signal, or not allowed.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.open_pidfd().map_or(Ok(()), |fd| fd.signal(signal))
    }
}

/// A descriptor that names one process for as long as it is open.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Sends a signal; a process that has ended gets none, and that is no error.
    ///
    /// # Errors
    /// If the signal is no signal, or not allowed.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        match sys::pidfd_send_signal(self.0.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            sent => sent,
        }
    }

    /// Whether the process has ended (reaped or not).
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&rustix::event::Timespec::default())), Ok(ready) if ready > 0)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(fd: PidFd) -> Self {
        fd.0
    }
}

/// The fields of `/proc/<pid>/stat` that we use (proc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    pub pid: i32,
    pub state: char,
    pub parent: i32,
    pub session: i32,
    pub start_time: u64,
    /// As waitpid(2) tells it; of a process that runs it says nothing.
    pub exit_status: Option<i32>,
}

impl ProcessStat {
    /// Reads one process.
    ///
    /// # Errors
    /// `NotFound` if there is no such process.
    pub fn read(pid: i32) -> io::Result<Self> {
        // One read takes it whole: fifty numbers and a name.
        let mut text = [0; 2048];
        let length = match File::open(format!("/proc/{pid}/stat"))?.read(&mut text) {
            Ok(length) => length,
            // The process may end between open and read.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Err(io::ErrorKind::NotFound.into()),
            Err(e) => return Err(e),
        };
        Self::parse(pid, &text[..length]).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The command name is in parentheses and may itself hold spaces and parentheses: the last one counts.
    pub(super) fn parse(pid: i32, text: &[u8]) -> Option<Self> {
        let after_name = text.iter().rposition(|byte| *byte == b')')? + 1;
        let rest = std::str::from_utf8(text.get(after_name..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        let start_time = fields.nth(15)?.parse().ok()?;
        let exit_status = fields.nth(29).and_then(|field| field.parse().ok());
        Some(Self { pid, state, parent, session, start_time, exit_status })
    }
}

#[cfg(test)]
mod tests;
