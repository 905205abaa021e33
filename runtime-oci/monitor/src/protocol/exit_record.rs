//! Exit records: `<pod_dir>/exits/<container_id>.json`, written by the monitor before it tells anybody.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub container_id: String,
    pub pid: i32,
    /// As in [`super::Process`].
    pub start_time: u64,
    /// 128 + n for signal n; 255 if nobody can know.
    pub code: i32,
    /// Wall clock, nanoseconds since the epoch.
    pub at_ns: i64,
    /// The exit was SIGKILL's and the kernel had killed for lack of memory in the container's group.
    pub oom_killed: bool,
    /// Bytes of output that could not be written to the log (a full disk), as far as that was known then.
    #[serde(default)]
    pub log_bytes_dropped: u64,
}

/// Where the records of a pod are.
#[must_use]
pub fn exits_dir(pod_dir: &Path) -> PathBuf {
    pod_dir.join("exits")
}

fn record_path(pod_dir: &Path, container_id: &str) -> PathBuf {
    exits_dir(pod_dir).join(format!("{container_id}.json"))
}

/// Reads a record; `None` if the container has not ended. A reader never sees half a record.
///
/// # Errors
/// If the file cannot be read, or is not a record.
pub fn read_exit(pod_dir: &Path, container_id: &str) -> io::Result<Option<ExitRecord>> {
    match fs::read(record_path(pod_dir, container_id)) {
        Ok(json) => Ok(Some(serde_json::from_slice(&json)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes a record by rename. No fsync: after a reboot there is nothing left that could have exited.
///
/// # Errors
/// Those of the file system.
pub fn write_exit(pod_dir: &Path, record: &ExitRecord) -> io::Result<()> {
    let path = record_path(pod_dir, &record.container_id);
    // An ID may hold dots: the suffix is added, not exchanged.
    let temporary = exits_dir(pod_dir).join(format!(".{}.tmp", record.container_id));
    let json = serde_json::to_vec(record)?;
    if let Err(e) = fs::write(&temporary, &json) {
        if e.kind() != io::ErrorKind::NotFound {
            return Err(e);
        }
        fs::create_dir(exits_dir(pod_dir))?;
        fs::write(&temporary, &json)?;
    }
    fs::rename(&temporary, &path)
}

/// Removes a record; gone already is fine.
///
/// # Errors
/// Those of the file system.
pub fn remove_exit(pod_dir: &Path, container_id: &str) -> io::Result<()> {
    match fs::remove_file(record_path(pod_dir, container_id)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
