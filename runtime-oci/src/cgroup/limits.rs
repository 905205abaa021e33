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

/// Sets only what is named, and nothing that the host cannot limit: all of it, or what was there before.
pub(super) fn apply(
    layout: &Layout,
    support: Support,
    below: &Path,
    wanted: &Resources,
) -> Result<(), Error> {
    let mut group = Group { layout, below, replaced: Vec::new() };
    let applied = match layout.mode {
        CgroupMode::V2 => apply_v2(&mut group, support, wanted),
        CgroupMode::V1 | CgroupMode::Hybrid => apply_v1(&mut group, support, wanted),
    };
    if applied.is_err() {
        group.put_back();
    }
    applied
}

/// One whose limits are being set.
struct Group<'a> {
    layout: &'a Layout,
    below: &'a Path,
    /// Files that were written, with what was in them.
    replaced: Vec<(PathBuf, String)>,
}

impl Group<'_> {
    fn set(&mut self, controller: &str, name: &str, value: &str) -> Result<(), Error> {
        let dir = self.layout.dir(controller, self.below).ok_or_else(|| Error::Io {
            what: format!("setting {name} of cgroup {}", self.below.display()),
            source: io::Error::new(
                io::ErrorKind::NotFound,
                format!("the host has no cgroup controller {controller}"),
            ),
        })?;
        let before = text(Some(&dir), name);
        let file = dir.join(name);
        write(&file, value)?;
        self.replaced.push((file, before));
        Ok(())
    }

    fn set_unless_zero(
        &mut self,
        controller: &str,
        name: &str,
        number: i64,
        value: &str,
    ) -> Result<(), Error> {
        if number == 0 { Ok(()) } else { self.set(controller, name, value) }
    }

    fn set_unless_empty(&mut self, controller: &str, name: &str, value: &str) -> Result<(), Error> {
        if value.is_empty() { Ok(()) } else { self.set(controller, name, value) }
    }

    /// The last one first: that way limits which depend on each other agree all the time.
    fn put_back(self) {
        for (file, before) in self.replaced.into_iter().rev() {
            // Writing nothing at all would change nothing.
            let before = if before.is_empty() { "\n" } else { &before };
            if let Err(error) = write(&file, before) {
                tracing::warn!(%error, "a former limit of a control group could not be set again");
            }
        }
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

fn apply_v1(group: &mut Group<'_>, support: Support, wanted: &Resources) -> Result<(), Error> {
    for (name, value) in [
        ("cpu.cfs_period_us", wanted.cpu_period),
        ("cpu.cfs_quota_us", wanted.cpu_quota),
        ("cpu.shares", wanted.cpu_shares),
    ] {
        group.set_unless_zero("cpu", name, value, &value.to_string())?;
    }
    group.set_unless_zero("pids", "pids.max", wanted.pids_limit, &max_or(wanted.pids_limit))?;
    group.set_unless_empty("cpuset", "cpuset.cpus", &wanted.cpuset_cpus)?;
    group.set_unless_empty("cpuset", "cpuset.mems", &wanted.cpuset_mems)?;
    for limit in wanted.hugepage_limits.iter().filter(|_| support.hugetlb) {
        let name = format!("hugetlb.{}.limit_in_bytes", limit.page_size);
        group.set("hugetlb", &name, &limit.limit_bytes.to_string())?;
    }
    let set_memory = |group: &mut Group<'_>| {
        let bytes = wanted.memory_limit_bytes;
        group.set_unless_zero("memory", "memory.limit_in_bytes", bytes, &bytes.to_string())
    };
    let set_swap = |group: &mut Group<'_>| {
        let bytes = if support.swap { wanted.memory_swap_limit_bytes } else { 0 };
        group.set_unless_zero("memory", "memory.memsw.limit_in_bytes", bytes, &bytes.to_string())
    };
    // Memory may never exceed memory and swap together, not even between our two writes: one of the orders works.
    match set_memory(group) {
        Ok(()) => set_swap(group),
        Err(_) => set_swap(group).and_then(|()| set_memory(group)),
    }
}

fn apply_v2(group: &mut Group<'_>, support: Support, wanted: &Resources) -> Result<(), Error> {
    let weight = weight_of_shares(wanted.cpu_shares).to_string();
    group.set_unless_zero("", "cpu.weight", wanted.cpu_shares, &weight)?;
    if wanted.cpu_quota != 0 || wanted.cpu_period != 0 {
        let now = read(group.layout, group.below);
        group.set("", "cpu.max", &cpu_max(&now, wanted))?;
    }
    let memory = wanted.memory_limit_bytes;
    group.set_unless_zero("", "memory.max", memory, &max_or(memory))?;
    if support.swap && wanted.memory_swap_limit_bytes != 0 {
        let swap = match wanted.memory_swap_limit_bytes {
            both if both < 0 => -1,
            both if both < memory => {
                let reason = format!("{both} is less than the memory limit, {memory}");
                return Err(Error::bad("memory_swap_limit_in_bytes", reason));
            }
            both => both - memory.max(0),
        };
        group.set("", "memory.swap.max", &max_or(swap))?;
    }
    group.set_unless_zero("", "pids.max", wanted.pids_limit, &max_or(wanted.pids_limit))?;
    group.set_unless_empty("", "cpuset.cpus", &wanted.cpuset_cpus)?;
    group.set_unless_empty("", "cpuset.mems", &wanted.cpuset_mems)?;
    for limit in wanted.hugepage_limits.iter().filter(|_| support.hugetlb) {
        group.set("", &format!("hugetlb.{}.max", limit.page_size), &limit.limit_bytes.to_string())?;
    }
    for (name, value) in &wanted.unified {
        if name.contains('/') {
            return Err(Error::bad("unified", format!("{name:?} is no file name")));
        }
        group.set("", name, value)?;
    }
    Ok(())
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
