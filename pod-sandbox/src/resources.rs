//! Limits that are changed while they are in force.

use linkspan_runtime_oci::Resources;

/// What is set in `wanted` replaces what is in `current`; what is not set there stays.
pub(crate) fn merge(current: &Resources, wanted: &Resources) -> Resources {
    let number = |new: i64, old: i64| if new == 0 { old } else { new };
    let text = |new: &String, old: &String| if new.is_empty() { old.clone() } else { new.clone() };
    let mut unified = current.unified.clone();
    unified.extend(wanted.unified.clone());
    let hugepages = if wanted.hugepage_limits.is_empty() { current } else { wanted };
    Resources {
        cpu_period: number(wanted.cpu_period, current.cpu_period),
        cpu_quota: number(wanted.cpu_quota, current.cpu_quota),
        cpu_shares: number(wanted.cpu_shares, current.cpu_shares),
        memory_limit_bytes: number(wanted.memory_limit_bytes, current.memory_limit_bytes),
        memory_swap_limit_bytes: swap(current, wanted),
        // It belongs to processes and was given to the first one; an update does not reach it.
        oom_score_adj: current.oom_score_adj,
        cpuset_cpus: text(&wanted.cpuset_cpus, &current.cpuset_cpus),
        cpuset_mems: text(&wanted.cpuset_mems, &current.cpuset_mems),
        hugepage_limits: hugepages.hugepage_limits.clone(),
        unified,
        pids_limit: number(wanted.pids_limit, current.pids_limit),
    }
}

/// What a pod's group is limited to: its containers' sum and what the pod takes beside them. A limit that only one of
/// them has stays as it is: the other's share is not limited, or there is none.
pub(crate) fn of_pod(containers: Option<&Resources>, overhead: Option<&Resources>) -> Option<Resources> {
    let (containers, overhead) = match (containers, overhead) {
        (Some(containers), Some(overhead)) => (containers, overhead),
        (containers, _) => return containers.cloned(),
    };
    let sum = |of: fn(&Resources) -> i64| match (of(containers), of(overhead)) {
        (limit, more) if limit > 0 && more > 0 => limit.saturating_add(more),
        (limit, _) => limit,
    };
    // It includes memory: what the pod takes itself counts in both, or the one would be more than the two together.
    let swap = match containers.memory_swap_limit_bytes {
        limit if limit > 0 => {
            limit.saturating_add(overhead.memory_swap_limit_bytes.max(overhead.memory_limit_bytes))
        }
        limit => limit,
    };
    let same_period = overhead.cpu_period == containers.cpu_period;
    Some(Resources {
        cpu_quota: if same_period { sum(|limits| limits.cpu_quota) } else { containers.cpu_quota },
        cpu_shares: sum(|limits| limits.cpu_shares),
        memory_limit_bytes: sum(|limits| limits.memory_limit_bytes),
        memory_swap_limit_bytes: swap,
        ..containers.clone()
    })
}

/// A container without swap keeps none when its memory limit moves: the old sum would be below the new limit, or
/// would allow swap that was never granted.
fn swap(current: &Resources, wanted: &Resources) -> i64 {
    let had_no_swap = current.memory_swap_limit_bytes == current.memory_limit_bytes;
    match (wanted.memory_swap_limit_bytes, wanted.memory_limit_bytes) {
        (0, 0) => current.memory_swap_limit_bytes,
        (0, memory) if had_no_swap && current.memory_limit_bytes != 0 => memory,
        (0, memory) if current.memory_swap_limit_bytes > 0 => current.memory_swap_limit_bytes.max(memory),
        (0, _) => current.memory_swap_limit_bytes,
        (swap, _) => swap,
    }
}

#[cfg(test)]
mod tests {
    use linkspan_runtime_oci::Resources;

    use super::{merge, of_pod};
    use crate::validate::resources;

    const MIB: i64 = 1 << 20;

    #[test]
    fn what_is_not_mentioned_stays() {
        let current = Resources {
            cpu_shares: 512,
            cpu_quota: 20_000,
            cpu_period: 100_000,
            cpuset_cpus: "0".to_owned(),
            oom_score_adj: 900,
            ..Resources::default()
        };
        let wanted = Resources { cpu_quota: 50_000, oom_score_adj: -5, ..Resources::default() };
        assert_eq!(merge(&current, &wanted), Resources { cpu_quota: 50_000, ..current });
    }

    #[test]
    fn a_pods_group_has_room_for_what_the_pod_takes_itself() {
        let limits = |memory, quota, period| Resources {
            memory_limit_bytes: memory * MIB,
            cpu_quota: quota,
            cpu_period: period,
            ..Resources::default()
        };
        let check = |containers: &Resources, overhead: &Resources, expected: Resources| {
            assert_eq!(of_pod(Some(containers), Some(overhead)), Some(expected));
        };
        check(&limits(64, 100, 10), &limits(8, 20, 10), limits(72, 120, 10));
        check(&limits(64, 100, 10), &limits(8, 20, 30), limits(72, 100, 10));
        check(&limits(0, -1, 10), &limits(8, 20, 10), limits(0, -1, 10));
        assert_eq!(of_pod(Some(&limits(64, 1, 1)), None), Some(limits(64, 1, 1)));
        assert_eq!(of_pod(None, Some(&limits(64, 1, 1))), None);
    }

    #[test]
    fn what_a_pod_takes_itself_is_no_swap_of_its_containers() {
        let limits = |(memory, swap): (i64, i64)| Resources {
            memory_limit_bytes: memory * MIB,
            memory_swap_limit_bytes: if swap < 0 { swap } else { swap * MIB },
            ..Resources::default()
        };
        let check = |containers: (i64, i64), overhead: (i64, i64), expected: (i64, i64)| {
            let summed = of_pod(Some(&limits(containers)), Some(&limits(overhead))).unwrap();
            assert_eq!(summed, limits(expected));
            resources("linux", &summed).unwrap();
        };
        check((64, 64), (8, 0), (72, 72));
        check((64, 64), (8, -1), (72, 72));
        check((64, 100), (8, 10), (72, 110));
        check((64, -1), (8, 8), (72, -1));
        check((64, 0), (8, 8), (72, 0));
        check((0, 0), (8, 8), (0, 0));
    }

    #[test]
    fn a_moved_memory_limit_takes_the_swap_limit_with_it() {
        let check = |(memory, swap): (i64, i64), wanted: i64, expected: i64| {
            let current = Resources {
                memory_limit_bytes: memory * MIB,
                memory_swap_limit_bytes: swap * MIB,
                ..Resources::default()
            };
            let wanted = Resources { memory_limit_bytes: wanted * MIB, ..Resources::default() };
            let merged = merge(&current, &wanted);
            assert_eq!(merged.memory_swap_limit_bytes, expected * MIB);
            resources("linux", &merged).unwrap();
        };
        check((64, 64), 128, 128);
        check((64, 64), 32, 32);
        check((64, 100), 128, 128);
        check((64, 200), 128, 200);
        check((64, 0), 128, 0);
    }
}
