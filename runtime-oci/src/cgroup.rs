//! Control groups: making, filling, reading and removing them, on cgroup v1, v2 and the mix of both.

mod stats;

use serde::{Deserialize, Serialize};

pub use stats::{CgroupStats, Pressure, PressureData, Psi};

/// How the host arranges its hierarchies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupMode {
    /// One hierarchy per controller.
    V1,
    /// The single hierarchy, at `/sys/fs/cgroup`.
    #[default]
    V2,
    /// Controllers on v1, and a v2 tree beside them that runtimes leave alone.
    Hybrid,
}

/// Which limits the host's kernel and hierarchies can set at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Support {
    /// Swap is accounted for.
    pub swap: bool,
    /// There is a hugetlb controller where runtimes look for it.
    pub hugetlb: bool,
}

/// The host's control groups.
#[derive(Clone, Debug)]
pub struct Cgroups {
    mode: CgroupMode,
}

impl Cgroups {
    /// The host's arrangement.
    #[must_use]
    pub fn mode(&self) -> CgroupMode {
        self.mode
    }
}
