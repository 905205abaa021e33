//! Processes of this machine, by PID and start time.

use std::io;

pub use linkspan_monitor::protocol::{PidFd, Process};
use tokio::io::Interest;

use crate::monitor::sys;

/// Returns when the process has ended, whoever's child it is; gone is fine. Cancel safe.
///
/// # Errors
/// For want of descriptors.
pub async fn ended(process: Process) -> io::Result<()> {
    let Some(pidfd) = process.open_pidfd() else { return Ok(()) };
    sys::watch(pidfd.into(), Interest::READABLE)?.readable().await.map(drop)
}
