//! Statistics.

use linkspan_cri_api::v1;
use linkspan_pod_sandbox::model::{ContainerStats, SandboxStats, WritableLayer};
use linkspan_pod_sandbox::namespaces::InterfaceStats;
use linkspan_pod_sandbox::network::INTERFACE;
use linkspan_runtime_oci::CgroupStats;
use linkspan_runtime_oci::cgroup::{Pressure, PressureData};

use super::{container, sandbox};

pub(crate) fn container(model: ContainerStats) -> v1::ContainerStats {
    let cgroup = &model.cgroup;
    v1::ContainerStats {
        cpu: Some(cpu(cgroup, model.usage_nano_cores)),
        memory: Some(memory(cgroup)),
        writable_layer: model.writable_layer.map(writable_layer),
        swap: swap(cgroup),
        io: io(cgroup),
        attributes: Some(v1::ContainerAttributes {
            id: model.attributes.id.into(),
            metadata: Some(container::metadata_to_wire(model.attributes.metadata)),
            labels: model.attributes.labels,
            annotations: model.attributes.annotations,
        }),
    }
}

pub(crate) fn sandbox(model: SandboxStats) -> v1::PodSandboxStats {
    let cgroup = &model.cgroup;
    let (default, others): (Vec<_>, Vec<_>) = model
        .interfaces
        .into_iter()
        .filter(|interface| interface.name != "lo")
        .partition(|interface| interface.name == INTERFACE);
    let network = v1::NetworkUsage {
        timestamp: model.network_at.0,
        default_interface: default.into_iter().next().map(interface),
        interfaces: others.into_iter().map(interface).collect(),
    };
    v1::PodSandboxStats {
        linux: Some(v1::LinuxPodSandboxStats {
            cpu: Some(cpu(cgroup, model.usage_nano_cores)),
            memory: Some(memory(cgroup)),
            network: Some(network),
            process: Some(v1::ProcessUsage {
                timestamp: cgroup.at.0,
                process_count: number(model.process_count),
            }),
            containers: model.containers.into_iter().map(container).collect(),
            io: io(cgroup),
        }),
        windows: None,
        attributes: Some(v1::PodSandboxAttributes {
            id: model.attributes.id.into(),
            metadata: Some(sandbox::metadata_to_wire(model.attributes.metadata)),
            labels: model.attributes.labels,
            annotations: model.attributes.annotations,
        }),
    }
}

fn cpu(cgroup: &CgroupStats, usage_nano_cores: Option<u64>) -> v1::CpuUsage {
    v1::CpuUsage {
        timestamp: cgroup.at.0,
        usage_core_nano_seconds: number(cgroup.cpu_usage_ns),
        usage_nano_cores: usage_nano_cores.and_then(number),
        psi: cgroup.psi.as_ref().map(|psi| pressure(&psi.cpu)),
    }
}

fn memory(cgroup: &CgroupStats) -> v1::MemoryUsage {
    v1::MemoryUsage {
        timestamp: cgroup.at.0,
        working_set_bytes: number(cgroup.memory_working_set_bytes),
        available_bytes: cgroup.memory_available_bytes.and_then(number),
        usage_bytes: number(cgroup.memory_usage_bytes),
        rss_bytes: number(cgroup.rss_bytes),
        page_faults: number(cgroup.page_faults),
        major_page_faults: number(cgroup.major_page_faults),
        psi: cgroup.psi.as_ref().map(|psi| pressure(&psi.memory)),
    }
}

fn swap(cgroup: &CgroupStats) -> Option<v1::SwapUsage> {
    let used = cgroup.swap_usage_bytes?;
    Some(v1::SwapUsage {
        timestamp: cgroup.at.0,
        swap_available_bytes: cgroup.swap_limit_bytes.and_then(|limit| number(limit.saturating_sub(used))),
        swap_usage_bytes: number(used),
    })
}

fn io(cgroup: &CgroupStats) -> Option<v1::IoUsage> {
    let psi = cgroup.psi.as_ref()?;
    Some(v1::IoUsage { timestamp: cgroup.at.0, psi: Some(pressure(&psi.io)) })
}

fn pressure(model: &Pressure) -> v1::PsiStats {
    v1::PsiStats { full: Some(pressure_data(model.full)), some: Some(pressure_data(model.some)) }
}

fn pressure_data(model: PressureData) -> v1::PsiData {
    v1::PsiData { total: model.total_ns, avg10: model.avg10, avg60: model.avg60, avg300: model.avg300 }
}

fn writable_layer(model: WritableLayer) -> v1::FilesystemUsage {
    v1::FilesystemUsage {
        timestamp: model.at.0,
        fs_id: Some(v1::FilesystemIdentifier { mountpoint: model.mountpoint.display().to_string() }),
        used_bytes: number(model.used_bytes),
        inodes_used: number(model.inodes_used),
    }
}

fn interface(model: InterfaceStats) -> v1::NetworkInterfaceUsage {
    v1::NetworkInterfaceUsage {
        name: model.name,
        rx_bytes: number(model.rx_bytes),
        rx_errors: number(model.rx_errors),
        tx_bytes: number(model.tx_bytes),
        tx_errors: number(model.tx_errors),
    }
}

fn number(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}
