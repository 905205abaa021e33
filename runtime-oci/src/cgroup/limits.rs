//! Limits of groups that no runtime looks after: reading them back, and setting them.

use std::io;
use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::stats::V1_UNLIMITED;
use super::{CgroupMode, Support, number, text, write};
use crate::error::Error;
use crate::spec::Resources;

const DEFAULT_PERIOD_US: i64 = 100_000;

pub(super) fn read(layout: &Layout, below: &Path) -> Resources {
    match layout.mode {
        CgroupMode::V2 => read_v2(layout.dir("", below).as_deref()),
        CgroupMode::V1 | CgroupMode::Hybrid => read_v1(layout, below),
    }
}

/// Sets only what is named, and nothing that the host cannot limit.
pub(super) fn apply(
    layout: &Layout,
    support: Support,
    below: &Path,
    wanted: &Resources,
) -> Result<(), Error> {
    match layout.mode {
        CgroupMode::V2 => apply_v2(layout, support, below, wanted),
        CgroupMode::V1 | CgroupMode::Hybrid => apply_v1(layout, support, below, wanted),
    }
}

fn read_v1(layout: &Layout, below: &Path) -> Resources {
    let dir = |controller: &str| layout.dir(controller, below);
    let (cpu, memory, cpuset) = (dir("cpu"), dir("memory"), dir("cpuset"));
    let (cpu, memory, cpuset) = (cpu.as_deref(), memory.as_deref(), cpuset.as_deref());
    let bytes = |file: &str| match number(memory, file) {
        Some(limit) if limit >= V1_UNLIMITED => -1,
        limit => signed(limit),
    };
    Resources {
        cpu_period: signed(number(cpu, "cpu.cfs_period_us")),
        cpu_quota: text(cpu, "cpu.cfs_quota_us").parse().unwrap_or(0),
        cpu_shares: signed(number(cpu, "cpu.shares")),
        memory_limit_bytes: bytes("memory.limit_in_bytes"),
        memory_swap_limit_bytes: bytes("memory.memsw.limit_in_bytes"),
        cpuset_cpus: text(cpuset, "cpuset.cpus"),
        cpuset_mems: text(cpuset, "cpuset.mems"),
        pids_limit: limit_or_max(&text(dir("pids").as_deref(), "pids.max")),
        ..Resources::default()
    }
}

fn read_v2(dir: Option<&Path>) -> Resources {
    let cpu_max = text(dir, "cpu.max");
    let (quota, period) = cpu_max.split_once(' ').unwrap_or_default();
    let memory = limit_or_max(&text(dir, "memory.max"));
    let swap = match (memory, limit_or_max(&text(dir, "memory.swap.max"))) {
        (memory, swap) if memory < 0 || swap < 0 => -1,
        (memory, swap) => memory.saturating_add(swap),
    };
    Resources {
        cpu_period: period.parse().unwrap_or(0),
        cpu_quota: limit_or_max(quota),
        cpu_shares: number(dir, "cpu.weight").map_or(0, shares_of_weight),
        memory_limit_bytes: memory,
        memory_swap_limit_bytes: swap,
        cpuset_cpus: text(dir, "cpuset.cpus"),
        cpuset_mems: text(dir, "cpuset.mems"),
        pids_limit: limit_or_max(&text(dir, "pids.max")),
        ..Resources::default()
    }
}

fn apply_v1(layout: &Layout, support: Support, below: &Path, wanted: &Resources) -> Result<(), Error> {
    let set =
        |controller: &str, name: &str, value: &str| write(&file(layout, controller, below, name)?, value);
    let numbers = [
        ("cpu.cfs_period_us", wanted.cpu_period),
        ("cpu.cfs_quota_us", wanted.cpu_quota),
        ("cpu.shares", wanted.cpu_shares),
    ];
    for (name, value) in numbers.into_iter().filter(|(_, value)| *value != 0) {
        set("cpu", name, &value.to_string())?;
    }
    if wanted.pids_limit != 0 {
        set("pids", "pids.max", &max_or(wanted.pids_limit))?;
    }
    let lists = [("cpuset.cpus", &wanted.cpuset_cpus), ("cpuset.mems", &wanted.cpuset_mems)];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        set("cpuset", name, list)?;
    }
    for limit in wanted.hugepage_limits.iter().filter(|_| support.hugetlb) {
        let name = format!("hugetlb.{}.limit_in_bytes", limit.page_size);
        set("hugetlb", &name, &limit.limit_bytes.to_string())?;
    }
    // Memory may never exceed memory and swap together, not even between our two writes: one of the orders works.
    let set_memory = || match wanted.memory_limit_bytes {
        0 => Ok(()),
        bytes => set("memory", "memory.limit_in_bytes", &bytes.to_string()),
    };
    let set_swap = || match wanted.memory_swap_limit_bytes {
        bytes if bytes != 0 && support.swap => {
            set("memory", "memory.memsw.limit_in_bytes", &bytes.to_string())
        }
        _ => Ok(()),
    };
    match set_memory() {
        Ok(()) => set_swap(),
        Err(_) => set_swap().and_then(|()| set_memory()),
    }
}

fn apply_v2(layout: &Layout, support: Support, below: &Path, wanted: &Resources) -> Result<(), Error> {
    let set = |name: &str, value: &str| write(&file(layout, "", below, name)?, value);
    if wanted.cpu_shares != 0 {
        set("cpu.weight", &weight_of_shares(wanted.cpu_shares).to_string())?;
    }
    if wanted.cpu_quota != 0 || wanted.cpu_period != 0 {
        set("cpu.max", &cpu_max(&read(layout, below), wanted))?;
    }
    if wanted.memory_limit_bytes != 0 {
        set("memory.max", &max_or(wanted.memory_limit_bytes))?;
    }
    if support.swap && wanted.memory_swap_limit_bytes != 0 {
        let swap = match (wanted.memory_swap_limit_bytes, wanted.memory_limit_bytes) {
            (both, _) if both < 0 => -1,
            (both, memory) if both < memory => {
                let reason = format!("{both} is less than the memory limit, {memory}");
                return Err(Error::bad("memory_swap_limit_in_bytes", reason));
            }
            (both, memory) => both - memory.max(0),
        };
        set("memory.swap.max", &max_or(swap))?;
    }
    if wanted.pids_limit != 0 {
        set("pids.max", &max_or(wanted.pids_limit))?;
    }
    let lists = [("cpuset.cpus", &wanted.cpuset_cpus), ("cpuset.mems", &wanted.cpuset_mems)];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        set(name, list)?;
    }
    for limit in wanted.hugepage_limits.iter().filter(|_| support.hugetlb) {
        set(&format!("hugetlb.{}.max", limit.page_size), &limit.limit_bytes.to_string())?;
    }
    for (name, value) in &wanted.unified {
        if name.contains('/') {
            return Err(Error::bad("unified", format!("{name:?} is no file name")));
        }
        set(name, value)?;
    }
    Ok(())
}

fn file(layout: &Layout, controller: &str, below: &Path, name: &str) -> Result<PathBuf, Error> {
    match layout.dir(controller, below) {
        Some(dir) => Ok(dir.join(name)),
        None => Err(Error::Io {
            what: format!("setting {name} of cgroup {}", below.display()),
            source: io::Error::new(
                io::ErrorKind::NotFound,
                format!("the host has no cgroup controller {controller}"),
            ),
        }),
    }
}

/// `cpu.max` takes both at once: the one that is not named stays.
fn cpu_max(now: &Resources, wanted: &Resources) -> String {
    let quota = if wanted.cpu_quota == 0 { now.cpu_quota } else { wanted.cpu_quota };
    let period =
        [wanted.cpu_period, now.cpu_period, DEFAULT_PERIOD_US].into_iter().find(|period| *period > 0);
    format!("{} {}", max_or(quota), period.unwrap_or(DEFAULT_PERIOD_US))
}

/// runtime-spec, config-linux.md, "CPU": 2…262144 onto 1…10000, as the kubelet and runc have it.
fn weight_of_shares(shares: i64) -> i64 {
    let shares = shares.clamp(2, 262_144);
    1 + ((shares - 2) * 9999) / 262_142
}

fn shares_of_weight(weight: u64) -> i64 {
    let weight = i64::try_from(weight).unwrap_or(10_000).clamp(1, 10_000);
    2 + ((weight - 1) * 262_142) / 9999
}

fn max_or(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn limit_or_max(text: &str) -> i64 {
    if text == "max" { -1 } else { text.parse().unwrap_or(0) }
}

fn signed(value: Option<u64>) -> i64 {
    value.map_or(0, |value| i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
