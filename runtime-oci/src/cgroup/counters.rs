//! All that a group counts: what monitoring wants beyond [`CgroupStats`]. Read for the metrics only, which are asked
//! for less often than statistics.

use std::fs;
use std::path::Path;

use super::layout::Layout;
use super::stats::{self, CgroupStats, V1_UNLIMITED, flat};
use super::{CgroupMode, group, number, text};

/// One reading. A controller that is not there reads as zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupCounters {
    pub stats: CgroupStats,
    pub cpu_user_ns: u64,
    pub cpu_system_ns: u64,
    pub throttling: Throttling,
    pub memory: MemoryCounters,
    /// Those that were read or written.
    pub devices: Vec<DeviceIo>,
    /// Its processes and those of groups below. Not threads: those are `stats.pids_current`.
    pub pids: Vec<i32>,
}

/// What the CPU quota did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
}

/// What memory is used for, and what happened when it ran short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounters {
    pub cache_bytes: u64,
    pub mapped_file_bytes: u64,
    pub active_file_bytes: u64,
    pub inactive_file_bytes: u64,
    pub kernel_bytes: u64,
    /// The most at any time; zero where the kernel does not remember it.
    pub max_usage_bytes: u64,
    /// Memory that is taken from the group last; zero without such a promise.
    pub reservation_bytes: u64,
    /// How often the limit stood in the way.
    pub limit_hits: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// Without those of groups below; the sums are in [`CgroupStats`]. On v2 the same as the sums.
    pub own_page_faults: u64,
    pub own_major_page_faults: u64,
}

/// What went to and from a block device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceIo {
    pub major: u32,
    pub minor: u32,
    /// `/dev/sda`; empty if the host does not know it any more.
    pub device: String,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

pub(super) fn read(layout: &Layout, below: &Path) -> CgroupCounters {
    let counters = match layout.mode {
        CgroupMode::V2 => read_v2(layout.dir("", below).as_deref()),
        CgroupMode::V1 | CgroupMode::Hybrid => read_v1(layout, below),
    };
    CgroupCounters {
        stats: stats::read(layout, below),
        pids: group::pids(layout, below).unwrap_or_default(),
        ..counters
    }
}

fn read_v1(layout: &Layout, below: &Path) -> CgroupCounters {
    let dir = |controller: &str| layout.dir(controller, below);
    let (cpuacct, memory, blkio) = (dir("cpuacct"), dir("memory"), dir("blkio"));
    let (cpuacct, memory, blkio) = (cpuacct.as_deref(), memory.as_deref(), blkio.as_deref());
    let cpu_stat = text(dir("cpu").as_deref(), "cpu.stat");
    let throttling = |key: &str| flat(&cpu_stat, key).unwrap_or(0);
    let stat = text(memory, "memory.stat");
    let counter = |key: &str| flat(&stat, key).unwrap_or(0);
    let file = |name: &str| number(memory, name).unwrap_or(0);
    CgroupCounters {
        cpu_user_ns: number(cpuacct, "cpuacct.usage_user").unwrap_or(0),
        cpu_system_ns: number(cpuacct, "cpuacct.usage_sys").unwrap_or(0),
        throttling: Throttling {
            periods: throttling("nr_periods"),
            throttled_periods: throttling("nr_throttled"),
            throttled_ns: throttling("throttled_time"),
        },
        memory: MemoryCounters {
            cache_bytes: counter("total_cache"),
            mapped_file_bytes: counter("total_mapped_file"),
            active_file_bytes: counter("total_active_file"),
            inactive_file_bytes: counter("total_inactive_file"),
            kernel_bytes: file("memory.kmem.usage_in_bytes"),
            max_usage_bytes: file("memory.max_usage_in_bytes"),
            reservation_bytes: Some(file("memory.soft_limit_in_bytes"))
                .filter(|limit| *limit < V1_UNLIMITED)
                .unwrap_or(0),
            limit_hits: file("memory.failcnt"),
            oom_kills: flat(&text(memory, "memory.oom_control"), "oom_kill").unwrap_or(0),
            own_page_faults: counter("pgfault"),
            own_major_page_faults: counter("pgmajfault"),
        },
        devices: v1_devices(
            &text(blkio, "blkio.throttle.io_service_bytes_recursive"),
            &text(blkio, "blkio.throttle.io_serviced_recursive"),
        ),
        ..CgroupCounters::default()
    }
}

fn read_v2(dir: Option<&Path>) -> CgroupCounters {
    let (cpu, stat, events) = (text(dir, "cpu.stat"), text(dir, "memory.stat"), text(dir, "memory.events"));
    let cpu = |key: &str| flat(&cpu, key).unwrap_or(0);
    let counter = |key: &str| flat(&stat, key).unwrap_or(0);
    let event = |key: &str| flat(&events, key).unwrap_or(0);
    CgroupCounters {
        cpu_user_ns: cpu("user_usec").saturating_mul(1000),
        cpu_system_ns: cpu("system_usec").saturating_mul(1000),
        throttling: Throttling {
            periods: cpu("nr_periods"),
            throttled_periods: cpu("nr_throttled"),
            throttled_ns: cpu("throttled_usec").saturating_mul(1000),
        },
        memory: MemoryCounters {
            cache_bytes: counter("file"),
            mapped_file_bytes: counter("file_mapped"),
            active_file_bytes: counter("active_file"),
            inactive_file_bytes: counter("inactive_file"),
            kernel_bytes: counter("kernel"),
            max_usage_bytes: number(dir, "memory.peak").unwrap_or(0),
            reservation_bytes: number(dir, "memory.low").unwrap_or(0),
            limit_hits: event("max"),
            oom_kills: event("oom_kill"),
            own_page_faults: counter("pgfault"),
            own_major_page_faults: counter("pgmajfault"),
        },
        devices: v2_devices(&text(dir, "io.stat")),
        ..CgroupCounters::default()
    }
}

/// Lines `8:0 Read 4096` of bytes, and the same of operations.
fn v1_devices(bytes: &str, operations: &str) -> Vec<DeviceIo> {
    let mut devices: Vec<DeviceIo> = Vec::new();
    let of_bytes = bytes.lines().map(|line| (line, true));
    for (line, is_bytes) in of_bytes.chain(operations.lines().map(|line| (line, false))) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[id, operation, value] = fields.as_slice() else { continue };
        let (Some((major, minor)), Ok(value)) = (device_number(id), value.parse()) else { continue };
        let device = at(&mut devices, major, minor);
        match (operation, is_bytes) {
            ("Read", true) => device.read_bytes = value,
            ("Write", true) => device.write_bytes = value,
            ("Read", false) => device.reads = value,
            ("Write", false) => device.writes = value,
            _ => {}
        }
    }
    used(devices)
}

/// Lines `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 …`.
fn v2_devices(stat: &str) -> Vec<DeviceIo> {
    let mut devices = Vec::new();
    for line in stat.lines() {
        let Some((major, minor)) = line.split_whitespace().next().and_then(device_number) else { continue };
        let value = |key: &str| {
            let found = line.split_whitespace().find_map(|field| field.strip_prefix(key));
            found.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        let device = at(&mut devices, major, minor);
        device.read_bytes = value("rbytes=");
        device.write_bytes = value("wbytes=");
        device.reads = value("rios=");
        device.writes = value("wios=");
    }
    used(devices)
}

fn device_number(id: &str) -> Option<(u32, u32)> {
    let (major, minor) = id.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn at(devices: &mut Vec<DeviceIo>, major: u32, minor: u32) -> &mut DeviceIo {
    let found = devices.iter().position(|device| (device.major, device.minor) == (major, minor));
    let index = found.unwrap_or_else(|| {
        devices.push(DeviceIo { major, minor, ..DeviceIo::default() });
        devices.len() - 1
    });
    &mut devices[index]
}

/// With their names; without those that nothing went to or from.
fn used(mut devices: Vec<DeviceIo>) -> Vec<DeviceIo> {
    devices.retain(|device| device.reads + device.writes + device.read_bytes + device.write_bytes > 0);
    for device in &mut devices {
        device.device = device_name(device.major, device.minor);
    }
    devices
}

/// sysfs has a link per device number; a slash in a name is an exclamation mark there.
fn device_name(major: u32, minor: u32) -> String {
    let link = fs::read_link(format!("/sys/dev/block/{major}:{minor}")).unwrap_or_default();
    let name = link.file_name().unwrap_or_default().to_string_lossy();
    if name.is_empty() { String::new() } else { format!("/dev/{}", name.replace('!', "/")) }
}

#[cfg(test)]
mod tests;
