//! Limits and weights.

use linkspan_cri_api::v1;
use linkspan_pod_sandbox::model::{HugepageLimit, Resources};

pub(crate) fn resources(wire: v1::LinuxContainerResources) -> Resources {
    Resources {
        cpu_period: wire.cpu_period,
        cpu_quota: wire.cpu_quota,
        cpu_shares: wire.cpu_shares,
        memory_limit_bytes: wire.memory_limit_in_bytes,
        memory_swap_limit_bytes: wire.memory_swap_limit_in_bytes,
        oom_score_adj: wire.oom_score_adj,
        cpuset_cpus: wire.cpuset_cpus,
        cpuset_mems: wire.cpuset_mems,
        hugepage_limits: wire
            .hugepage_limits
            .into_iter()
            .map(|limit| HugepageLimit { page_size: limit.page_size, limit_bytes: limit.limit })
            .collect(),
        unified: wire.unified,
        // CRI has no such field: a pod's limit is the kubelet's own cgroup.
        pids_limit: 0,
    }
}

pub(crate) fn to_wire(model: Resources) -> v1::LinuxContainerResources {
    v1::LinuxContainerResources {
        cpu_period: model.cpu_period,
        cpu_quota: model.cpu_quota,
        cpu_shares: model.cpu_shares,
        memory_limit_in_bytes: model.memory_limit_bytes,
        memory_swap_limit_in_bytes: model.memory_swap_limit_bytes,
        oom_score_adj: model.oom_score_adj,
        cpuset_cpus: model.cpuset_cpus,
        cpuset_mems: model.cpuset_mems,
        hugepage_limits: model
            .hugepage_limits
            .into_iter()
            .map(|limit| v1::HugepageLimit { page_size: limit.page_size, limit: limit.limit_bytes })
            .collect(),
        unified: model.unified,
    }
}
