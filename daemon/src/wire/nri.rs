//! Pods, containers and limits as NRI has them.

use linkspan_nri::api;
use linkspan_nri::oci;
use linkspan_pod_sandbox::model::{ContainerState, HugepageLimit, Resources, SecurityProfile};
use linkspan_pod_sandbox::plugins::{ContainerView, PodView};

pub(crate) fn pod(view: &PodView) -> api::PodSandbox {
    let (config, linux) = (&view.config, &view.config.linux);
    api::PodSandbox {
        id: view.id.to_string(),
        name: config.metadata.name.clone(),
        uid: config.metadata.uid.clone(),
        namespace: config.metadata.namespace.clone(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        runtime_handler: view.runtime_handler.clone(),
        linux: Some(api::LinuxPodSandbox {
            pod_overhead: linux.overhead.as_ref().map(resources),
            pod_resources: linux.resources.as_ref().map(resources),
            cgroup_parent: view.cgroup_parent.clone(),
            cgroups_path: view.cgroup_path.clone(),
            namespaces: view
                .namespaces
                .iter()
                .map(|(kind, path)| api::LinuxNamespace {
                    r#type: (*kind).to_owned(),
                    path: path.display().to_string(),
                })
                .collect(),
            // Of a sandbox's own container, which we do not have.
            resources: None,
        }),
        pid: pid(view.pid),
        ips: view.ips.iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn container(view: &ContainerView) -> api::Container {
    let status = &view.status;
    let mut wire = oci::describe(&view.spec);
    if wire.annotations.is_empty() {
        wire.annotations.clone_from(&status.annotations);
    }
    if let Some(linux) = &mut wire.linux {
        linux.seccomp_profile = view.seccomp.as_ref().map(profile);
    }
    api::Container {
        id: status.id.to_string(),
        pod_sandbox_id: status.sandbox_id.to_string(),
        name: status.metadata.name.clone(),
        state: match status.state {
            ContainerState::Created => api::ContainerState::ContainerCreated,
            ContainerState::Running => api::ContainerState::ContainerRunning,
            ContainerState::Exited => api::ContainerState::ContainerStopped,
            ContainerState::Unknown => api::ContainerState::ContainerUnknown,
        }
        .into(),
        labels: status.labels.clone(),
        pid: pid(view.pid),
        created_at: status.created_at.0,
        started_at: status.started_at.0,
        finished_at: status.finished_at.0,
        exit_code: status.exit_code,
        status_reason: status.reason.clone(),
        status_message: status.message.clone(),
        cdi_devices: view.cdi_devices.iter().map(|name| api::CdiDevice { name: name.clone() }).collect(),
        ..wire
    }
}

fn pid(pid: Option<i32>) -> u32 {
    pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default()
}

fn profile(profile: &SecurityProfile) -> api::SecurityProfile {
    use api::security_profile::ProfileType;
    let (kind, localhost_ref) = match profile {
        SecurityProfile::RuntimeDefault => (ProfileType::RuntimeDefault, ""),
        SecurityProfile::Unconfined => (ProfileType::Unconfined, ""),
        SecurityProfile::Localhost(name) => (ProfileType::Localhost, name.as_str()),
    };
    api::SecurityProfile { profile_type: kind.into(), localhost_ref: localhost_ref.to_owned() }
}

/// CRI's zero is NRI's nothing.
pub(crate) fn resources(model: &Resources) -> api::LinuxResources {
    let signed = |value: i64| (value != 0).then_some(api::OptionalInt64 { value });
    let unsigned = |value: i64| {
        u64::try_from(value).ok().filter(|value| *value != 0).map(|value| api::OptionalUInt64 { value })
    };
    let memory = api::LinuxMemory {
        limit: signed(model.memory_limit_bytes),
        swap: signed(model.memory_swap_limit_bytes),
        ..api::LinuxMemory::default()
    };
    let cpu = api::LinuxCpu {
        shares: unsigned(model.cpu_shares),
        quota: signed(model.cpu_quota),
        period: unsigned(model.cpu_period),
        cpus: model.cpuset_cpus.clone(),
        mems: model.cpuset_mems.clone(),
        ..api::LinuxCpu::default()
    };
    let page = |limit: &HugepageLimit| api::HugepageLimit {
        page_size: limit.page_size.clone(),
        limit: limit.limit_bytes,
    };
    api::LinuxResources {
        memory: Some(memory),
        cpu: Some(cpu),
        hugepage_limits: model.hugepage_limits.iter().map(page).collect(),
        unified: model.unified.clone(),
        pids: (model.pids_limit != 0).then_some(api::LinuxPids { limit: model.pids_limit }),
        ..api::LinuxResources::default()
    }
}

/// What `wire` sets of what CRI has words for, over what is in `model`.
pub(crate) fn overlay(wire: &api::LinuxResources, model: &mut Resources) {
    let signed = |from: &Option<api::OptionalInt64>, to: &mut i64| {
        if let Some(from) = from {
            *to = from.value;
        }
    };
    let unsigned = |from: &Option<api::OptionalUInt64>, to: &mut i64| {
        if let Some(from) = from {
            *to = i64::try_from(from.value).unwrap_or(i64::MAX);
        }
    };
    if let Some(memory) = &wire.memory {
        signed(&memory.limit, &mut model.memory_limit_bytes);
        match &memory.swap {
            Some(swap) => model.memory_swap_limit_bytes = swap.value,
            // The old sum may be below the new limit.
            None if memory.limit.is_some() => model.memory_swap_limit_bytes = 0,
            None => {}
        }
    }
    if let Some(cpu) = &wire.cpu {
        unsigned(&cpu.shares, &mut model.cpu_shares);
        signed(&cpu.quota, &mut model.cpu_quota);
        unsigned(&cpu.period, &mut model.cpu_period);
        for (from, to) in [(&cpu.cpus, &mut model.cpuset_cpus), (&cpu.mems, &mut model.cpuset_mems)] {
            if !from.is_empty() {
                to.clone_from(from);
            }
        }
    }
    for limit in &wire.hugepage_limits {
        model.hugepage_limits.retain(|known| known.page_size != limit.page_size);
        let page = HugepageLimit { page_size: limit.page_size.clone(), limit_bytes: limit.limit };
        model.hugepage_limits.push(page);
    }
    model.unified.extend(wire.unified.clone());
    if let Some(pids) = &wire.pids {
        model.pids_limit = pids.limit;
    }
}

#[cfg(test)]
mod tests {
    use linkspan_pod_sandbox::model::{HugepageLimit, Resources};

    use super::{overlay, resources};

    #[test]
    fn limits_go_there_and_back() {
        let all = Resources {
            cpu_period: 100_000,
            cpu_quota: -1,
            cpu_shares: 512,
            memory_limit_bytes: 1 << 26,
            memory_swap_limit_bytes: 1 << 27,
            cpuset_cpus: "0-1".to_owned(),
            cpuset_mems: "0".to_owned(),
            hugepage_limits: vec![HugepageLimit { page_size: "2MB".to_owned(), limit_bytes: 0 }],
            unified: [("memory.high".to_owned(), "1".to_owned())].into(),
            pids_limit: 7,
            ..Resources::default()
        };
        let mut back = Resources::default();
        overlay(&resources(&all), &mut back);
        assert_eq!(back, all);
        let mut untouched = all.clone();
        overlay(&resources(&Resources::default()), &mut untouched);
        assert_eq!(untouched, all);
    }

    #[test]
    fn a_new_limit_does_not_keep_the_old_sum_with_swap() {
        let mut model =
            Resources { memory_limit_bytes: 64, memory_swap_limit_bytes: 64, ..Resources::default() };
        let wanted = Resources { memory_limit_bytes: 128, ..Resources::default() };
        overlay(&resources(&wanted), &mut model);
        assert_eq!((model.memory_limit_bytes, model.memory_swap_limit_bytes), (128, 0));
    }
}
