//! What the host can do, read once when the daemon starts.

use std::fs;
use std::path::Path;

use linkspan_runtime_oci::{CgroupMode, host};

use crate::error::Error;

/// Facts that do not change while the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// `CAP_…` names that containers can have at most.
    pub(crate) bounding: Vec<String>,
    pub(crate) oom_score_adj_floor: i32,
    pub(crate) cgroup_mode: CgroupMode,
    pub(crate) apparmor: bool,
    pub(crate) selinux: bool,
}

impl Host {
    pub(crate) fn read(cgroup_mode: CgroupMode) -> Result<Self, Error> {
        let apparmor = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        Ok(Self {
            bounding: host::bounding_set()?,
            oom_score_adj_floor: host::oom_score_adj_floor()?,
            cgroup_mode,
            apparmor: apparmor.is_ok_and(|enabled| enabled.starts_with('Y')),
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
        })
    }
}
