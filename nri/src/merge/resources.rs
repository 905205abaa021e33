//! Limits: what of them is set, and one set laid over another.

use super::owners::Claim;
use crate::api::{Field, LinuxCpu, LinuxMemory, LinuxResources};

/// Takes every field that is set from one message to the other.
macro_rules! overlay {
    ($from:expr => $into:expr; $($field:ident),* $(,)?) => {
        $( if $from.$field.is_some() { $into.$field.clone_from(&$from.$field); } )*
    };
}

/// One claim for each field that is set.
macro_rules! claims {
    ($from:expr => $claims:expr; $($field:ident: $claim:ident),* $(,)?) => {
        $( if $from.$field.is_some() { $claims.push((Field::$claim, None)); } )*
    };
}

/// All that `wanted` sets. Rules about devices are added to, not set.
pub(super) fn claims(wanted: &LinuxResources) -> Vec<Claim> {
    let mut claims = Vec::new();
    if let Some(memory) = &wanted.memory {
        claims!(memory => claims; limit: MemLimit, reservation: MemReservation, swap: MemSwapLimit, kernel: MemKernelLimit,
            kernel_tcp: MemTcpLimit, swappiness: MemSwappiness, disable_oom_killer: MemDisableOomKiller,
            use_hierarchy: MemUseHierarchy);
    }
    if let Some(cpu) = &wanted.cpu {
        claims!(cpu => claims; shares: CpuShares, quota: CpuQuota, period: CpuPeriod, realtime_runtime: CpuRealtimeRuntime,
            realtime_period: CpuRealtimePeriod);
        let sets = [(&cpu.cpus, Field::CpuSetCpUs), (&cpu.mems, Field::CpuSetMems)];
        claims.extend(sets.iter().filter(|(text, _)| !text.is_empty()).map(|(_, field)| (*field, None)));
    }
    claims!(wanted => claims; blockio_class: BlockioClass, rdt_class: RdtClass, pids: PidsLimit);
    let pages =
        wanted.hugepage_limits.iter().map(|limit| (Field::HugepageLimits, Some(limit.page_size.clone())));
    claims.extend(pages);
    claims.extend(wanted.unified.keys().map(|key| (Field::CgroupsUnified, Some(key.clone()))));
    claims
}

/// What is set in `wanted` replaces what is in `into`.
pub(super) fn overlay(wanted: &LinuxResources, into: &mut LinuxResources) {
    if let Some(memory) = &wanted.memory {
        let target = into.memory.get_or_insert_with(LinuxMemory::default);
        overlay!(memory => target; limit, reservation, swap, kernel, kernel_tcp, swappiness, disable_oom_killer, use_hierarchy);
    }
    if let Some(cpu) = &wanted.cpu {
        let target = into.cpu.get_or_insert_with(LinuxCpu::default);
        overlay!(cpu => target; shares, quota, period, realtime_runtime, realtime_period);
        for (text, place) in [(&cpu.cpus, &mut target.cpus), (&cpu.mems, &mut target.mems)] {
            if !text.is_empty() {
                place.clone_from(text);
            }
        }
    }
    overlay!(wanted => into; blockio_class, rdt_class, pids);
    for limit in &wanted.hugepage_limits {
        into.hugepage_limits.retain(|known| known.page_size != limit.page_size);
        into.hugepage_limits.push(limit.clone());
    }
    into.unified.extend(wanted.unified.clone());
    into.devices.extend(wanted.devices.iter().cloned());
}
