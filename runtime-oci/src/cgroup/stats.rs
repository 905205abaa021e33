//! What a group has used.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// One reading of a group's counters. A controller that is not there reads as zero or `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CgroupStats {
    pub at: Timestamp,
    /// Since the group was made.
    pub cpu_usage_ns: u64,
    /// Page cache included.
    pub memory_usage_bytes: u64,
    /// Usage less inactive file pages: what the kubelet evicts by.
    pub memory_working_set_bytes: u64,
    /// Limit less working set; `None` without a limit.
    pub memory_available_bytes: Option<u64>,
    /// Anonymous memory.
    pub rss_bytes: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
    /// `None` where the kernel does not account for swap.
    pub swap_usage_bytes: Option<u64>,
    /// `None` without a limit, or where swap is not accounted for.
    pub swap_limit_bytes: Option<u64>,
    pub pids_current: u64,
    /// `None`: unlimited.
    pub pids_limit: Option<u64>,
    pub io_read_bytes: u64,
    pub io_write_bytes: u64,
    /// Only on cgroup v2 with pressure accounting switched on.
    pub psi: Option<Psi>,
}

/// Pressure stall information of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Psi {
    pub cpu: Pressure,
    pub memory: Pressure,
    pub io: Pressure,
}

/// Stalls of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// At least one task waited.
    pub some: PressureData,
    /// All tasks waited.
    pub full: PressureData,
}

/// Averages in percent over 10, 60 and 300 seconds, and the sum of all stalls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PressureData {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    /// Nanoseconds, as CRI `PsiData` wants them; the kernel counts microseconds.
    pub total_ns: u64,
}
