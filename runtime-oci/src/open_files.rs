//! What processes hold open, as `/proc` tells. A process that goes away meanwhile holds nothing.

use std::fs;
use std::path::PathBuf;

/// Of some processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFiles {
    pub descriptors: u64,
    /// Those of the descriptors that are sockets.
    pub sockets: u64,
}

impl OpenFiles {
    /// Blocking; a moment per thousand descriptors.
    #[must_use]
    pub fn of(pids: &[i32]) -> Self {
        let mut found = Self::default();
        for pid in pids {
            for entry in fs::read_dir(proc_dir(*pid).join("fd")).into_iter().flatten().flatten() {
                let target = fs::read_link(entry.path()).unwrap_or_default();
                found.descriptors += 1;
                found.sockets += u64::from(target.to_string_lossy().starts_with("socket:"));
            }
        }
        found
    }
}

/// The soft limit of a process for its descriptors; `None` if there is no limit, or no such process.
#[must_use]
pub fn descriptor_limit(pid: i32) -> Option<u64> {
    let limits = fs::read_to_string(proc_dir(pid).join("limits")).ok()?;
    let values = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    values.split_whitespace().next()?.parse().ok()
}

fn proc_dir(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixStream;

    use super::{OpenFiles, descriptor_limit};

    #[test]
    fn files_and_sockets_of_a_process_are_counted() {
        let own = i32::try_from(std::process::id()).unwrap();
        let _held = (File::open("/").unwrap(), UnixStream::pair().unwrap());
        let open = OpenFiles::of(&[own]);
        assert!(open.sockets >= 2 && open.descriptors > open.sockets, "{open:?}");
        assert!(descriptor_limit(own).is_none_or(|limit| limit >= open.descriptors));
    }

    #[test]
    fn a_process_that_is_gone_holds_nothing() {
        assert_eq!(OpenFiles::of(&[i32::MAX]), OpenFiles::default());
        assert_eq!(descriptor_limit(i32::MAX), None);
    }
}
