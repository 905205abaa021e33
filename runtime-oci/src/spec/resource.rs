//! Limits, as cgroup v1 counts them; a runtime converts them for v2 (runtime-spec, config-linux.md, "Control groups").

use oci_spec::runtime::{LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxPids, LinuxResources};

use super::input::Resources;
use crate::cgroup::{CgroupMode, Support};
use crate::error::Error;

/// For `config.json` (without devices) and for the runtime's `update`.
pub(crate) fn linux_resources(
    resources: &Resources,
    support: Support,
    mode: CgroupMode,
) -> Result<LinuxResources, Error> {
    let mut linux = LinuxResources::default();
    linux
        .set_cpu(cpu(resources)?)
        .set_memory(memory(resources, support)?)
        .set_hugepage_limits(hugepages(resources, support));
    if resources.pids_limit != 0 {
        let mut pids = LinuxPids::default();
        pids.set_limit(resources.pids_limit);
        linux.set_pids(Some(pids));
    }
    if mode == CgroupMode::V2 && !resources.unified.is_empty() {
        linux.set_unified(Some(resources.unified.clone().into_iter().collect()));
    }
    Ok(linux)
}

/// Whether this host can set all of `resources`; `field` is where they come from. What nobody would miss passes, and is
/// left out later: the kubelet sends a limit of zero for every huge page size, and a swap limit that allows no swap.
///
/// # Errors
/// [`Error::BadSpec`] with the field, why, and what would help.
pub fn check_support(
    field: &str,
    resources: &Resources,
    support: Support,
    mode: CgroupMode,
) -> Result<(), Error> {
    let bad = |name: &str, reason: &str| Err(Error::bad(format!("{field}.{name}"), reason));
    let (memory, swap) = (resources.memory_limit_bytes, resources.memory_swap_limit_bytes);
    if mode != CgroupMode::V2 && !resources.unified.is_empty() {
        return bad(
            "unified",
            "names files of cgroup v2, and this host's controllers are on cgroup v1; systemd mounts v2 alone with \
                  `systemd.unified_cgroup_hierarchy=1`",
        );
    }
    if !support.hugetlb && resources.hugepage_limits.iter().any(|limit| limit.limit_bytes > 0) {
        return bad(
            "hugepage_limits",
            "this host has no hugetlb cgroup controller; it must be enabled and mounted",
        );
    }
    if !support.swap && swap > memory.max(0) {
        let reason = "this host does not count swap per cgroup; boot it with swapaccount=1, or use cgroup v2";
        return bad("memory_swap_limit_in_bytes", reason);
    }
    Ok(())
}

fn cpu(resources: &Resources) -> Result<Option<LinuxCpu>, Error> {
    let mut cpu = LinuxCpu::default();
    cpu.set_period(positive("cpu_period", resources.cpu_period)?)
        .set_quota(Some(resources.cpu_quota).filter(|quota| *quota != 0))
        .set_shares(positive("cpu_shares", resources.cpu_shares)?)
        .set_cpus(text(&resources.cpuset_cpus))
        .set_mems(text(&resources.cpuset_mems));
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

fn memory(resources: &Resources, support: Support) -> Result<Option<LinuxMemory>, Error> {
    let (limit, swap) = (resources.memory_limit_bytes, resources.memory_swap_limit_bytes);
    if swap > 0 && limit > swap {
        let reason =
            format!("{swap} is below the memory limit of {limit}: it counts memory and swap together");
        return Err(Error::bad("memory_swap_limit_in_bytes", reason));
    }
    let mut memory = LinuxMemory::default();
    memory.set_limit(Some(limit).filter(|limit| *limit != 0));
    if support.swap {
        // Without a word about swap, a limited container gets none: kernels would let it swap as much again.
        let swap = if swap == 0 && limit > 0 { limit } else { swap };
        memory.set_swap(Some(swap).filter(|swap| *swap != 0));
    }
    Ok((memory != LinuxMemory::default()).then_some(memory))
}

fn hugepages(resources: &Resources, support: Support) -> Option<Vec<LinuxHugepageLimit>> {
    let limits = resources.hugepage_limits.iter().map(|input| {
        let mut limit = LinuxHugepageLimit::default();
        limit
            .set_page_size(input.page_size.clone())
            .set_limit(i64::try_from(input.limit_bytes).unwrap_or(i64::MAX));
        limit
    });
    (support.hugetlb && !resources.hugepage_limits.is_empty()).then(|| limits.collect())
}

fn positive(field: &str, value: i64) -> Result<Option<u64>, Error> {
    match u64::try_from(value) {
        Ok(0) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(Error::bad(field, format!("{value} is negative"))),
    }
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}
