//! What a group has used.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::{CgroupMode, number, text};
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

/// A v1 group without a limit shows the largest page-aligned number.
pub(super) const V1_UNLIMITED: u64 = 1 << 60;

/// Reads what is there; a file that is missing leaves its counter at zero or `None`.
pub(super) fn read(layout: &Layout, below: &Path) -> CgroupStats {
    match layout.mode {
        CgroupMode::V2 => read_v2(layout.dir("", below).as_deref()),
        CgroupMode::V1 | CgroupMode::Hybrid => read_v1(layout, below),
    }
}

fn read_v1(layout: &Layout, below: &Path) -> CgroupStats {
    let dir = |controller: &str| layout.dir(controller, below);
    let (memory, pids) = (dir("memory"), dir("pids"));
    let (memory, pids) = (memory.as_deref(), pids.as_deref());
    let stat = text(memory, "memory.stat");
    let counter = |key: &str| flat(&stat, key).unwrap_or(0);
    let usage = number(memory, "memory.usage_in_bytes").unwrap_or(0);
    let limited = |file: &str| number(memory, file).filter(|limit| *limit < V1_UNLIMITED);
    let limit = limited("memory.limit_in_bytes");
    let with_swap = number(memory, "memory.memsw.usage_in_bytes");
    let (io_read_bytes, io_write_bytes) =
        blkio(&text(dir("blkio").as_deref(), "blkio.throttle.io_service_bytes_recursive"));
    let working_set = usage.saturating_sub(counter("total_inactive_file"));
    CgroupStats {
        at: Timestamp::now(),
        cpu_usage_ns: number(dir("cpuacct").as_deref(), "cpuacct.usage").unwrap_or(0),
        memory_usage_bytes: usage,
        memory_working_set_bytes: working_set,
        memory_available_bytes: limit.map(|limit| limit.saturating_sub(working_set)),
        rss_bytes: counter("total_rss"),
        page_faults: counter("total_pgfault"),
        major_page_faults: counter("total_pgmajfault"),
        swap_usage_bytes: with_swap.map(|both| both.saturating_sub(usage)),
        swap_limit_bytes: limited("memory.memsw.limit_in_bytes")
            .map(|both| both.saturating_sub(limit.unwrap_or_default())),
        pids_current: number(pids, "pids.current").unwrap_or(0),
        pids_limit: number(pids, "pids.max"),
        io_read_bytes,
        io_write_bytes,
        psi: None,
    }
}

fn read_v2(dir: Option<&Path>) -> CgroupStats {
    let (cpu, memory) = (text(dir, "cpu.stat"), text(dir, "memory.stat"));
    let counter = |key: &str| flat(&memory, key).unwrap_or(0);
    let usage = number(dir, "memory.current").unwrap_or(0);
    let working_set = usage.saturating_sub(counter("inactive_file"));
    let (io_read_bytes, io_write_bytes) = io_stat(&text(dir, "io.stat"));
    CgroupStats {
        at: Timestamp::now(),
        cpu_usage_ns: flat(&cpu, "usage_usec").unwrap_or(0).saturating_mul(1000),
        memory_usage_bytes: usage,
        memory_working_set_bytes: working_set,
        memory_available_bytes: number(dir, "memory.max").map(|limit| limit.saturating_sub(working_set)),
        rss_bytes: counter("anon"),
        page_faults: counter("pgfault"),
        major_page_faults: counter("pgmajfault"),
        swap_usage_bytes: number(dir, "memory.swap.current"),
        swap_limit_bytes: number(dir, "memory.swap.max"),
        pids_current: number(dir, "pids.current").unwrap_or(0),
        pids_limit: number(dir, "pids.max"),
        io_read_bytes,
        io_write_bytes,
        psi: psi(dir),
    }
}

/// The number behind `key` in a file of `key number` lines.
pub(super) fn flat(text: &str, key: &str) -> Option<u64> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter(|(name, _)| *name == key).find_map(|(_, value)| value.trim().parse().ok())
}

/// Bytes read and written on all devices: lines `8:0 Read 4096`.
fn blkio(text: &str) -> (u64, u64) {
    let sum = |operation: &str| {
        let of_operation = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        of_operation
            .filter(|fields| fields.len() == 3 && fields[1] == operation)
            .filter_map(|fields| fields[2].parse::<u64>().ok())
            .sum()
    };
    (sum("Read"), sum("Write"))
}

/// The same on v2: lines `8:0 rbytes=4096 wbytes=0 …`.
fn io_stat(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let values = text.split_whitespace().filter_map(|field| field.strip_prefix(key));
        values.filter_map(|value| value.parse::<u64>().ok()).sum()
    };
    (sum("rbytes="), sum("wbytes="))
}

fn psi(dir: Option<&Path>) -> Option<Psi> {
    let pressure = |file: &str| parse_pressure(&text(dir, file));
    Some(Psi {
        cpu: pressure("cpu.pressure")?,
        memory: pressure("memory.pressure")?,
        io: pressure("io.pressure")?,
    })
}

/// Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`; `None` if accounting is off.
fn parse_pressure(text: &str) -> Option<Pressure> {
    let line = |kind: &str| {
        let fields = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let value = |key: &str| fields.split_whitespace().find_map(|field| field.strip_prefix(key));
        let average = |key: &str| value(key).and_then(|number| number.parse().ok()).unwrap_or(0.0);
        let total_us: u64 = value("total=")?.parse().ok()?;
        Some(PressureData {
            avg10: average("avg10="),
            avg60: average("avg60="),
            avg300: average("avg300="),
            total_ns: total_us.saturating_mul(1000),
        })
    };
    Some(Pressure { some: line("some ")?, full: line("full ").unwrap_or_default() })
}

#[cfg(test)]
mod tests;
