use std::collections::{BTreeMap, BTreeSet};

use linkspan_pod_sandbox::model::{
    ContainerAttributes, ContainerId, ContainerMetadata, Resources, SandboxAttributes, SandboxId,
    SandboxMetadata, Timestamp, WritableLayer,
};
use linkspan_pod_sandbox::namespaces::InterfaceStats;
use linkspan_runtime_oci::cgroup::{DeviceIo, Psi, Throttling};
use linkspan_runtime_oci::{CgroupCounters, CgroupStats, OpenFiles};

use super::*;

fn group(path: &str, usage_seconds: u64) -> GroupCounters {
    let stats = CgroupStats {
        at: Timestamp(90_000_000_000),
        cpu_usage_ns: usage_seconds * 1_000_000_000 + 999_999_999,
        memory_working_set_bytes: 7000,
        psi: Some(Psi::default()),
        ..CgroupStats::default()
    };
    GroupCounters {
        cgroup_path: path.to_owned(),
        started_at: Timestamp(60_000_000_000),
        counters: CgroupCounters {
            stats,
            throttling: Throttling { periods: 5, ..Throttling::default() },
            devices: vec![DeviceIo {
                major: 8,
                device: "/dev/sda".into(),
                read_bytes: 3,
                ..DeviceIo::default()
            }],
            ..CgroupCounters::default()
        },
        limits: Resources {
            cpu_period: 100_000,
            cpu_quota: 50_000,
            cpu_shares: 2,
            memory_limit_bytes: -1,
            ..Resources::default()
        },
    }
}

fn pod() -> SandboxMetrics {
    let id = SandboxId::try_from("a".repeat(64)).expect("an ID");
    let metadata = SandboxMetadata { name: "web".into(), namespace: "shop".into(), ..Default::default() };
    let container = ContainerMetrics {
        attributes: ContainerAttributes {
            id: ContainerId::try_from("c".repeat(64)).expect("an ID"),
            sandbox_id: id.clone(),
            metadata: ContainerMetadata { name: "nginx".into(), attempt: 0 },
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        },
        image: "nginx:1".into(),
        counters: group("/pods/web/nginx", 2),
        writable_layer: Some(WritableLayer {
            at: Timestamp(1),
            mountpoint: "/".into(),
            used_bytes: 4,
            inodes_used: 5,
        }),
        open_files: OpenFiles { descriptors: 6, sockets: 1 },
        descriptor_limit: Some(1024),
    };
    SandboxMetrics {
        attributes: SandboxAttributes { id, metadata, labels: BTreeMap::new(), annotations: BTreeMap::new() },
        counters: group("/pods/web", 3),
        interfaces: vec![InterfaceStats { name: "eth0".into(), rx_bytes: 8, ..InterfaceStats::default() }],
        containers: vec![container],
    }
}

/// The value under the labels of the metric's own; the base labels are returned.
fn check(metrics: &[v1::Metric], name: &str, labels: &[&str], value: u64) -> Vec<String> {
    let found = metrics.iter().find(|m| m.name == name && m.label_values[BASE_LABELS.len()..] == *labels);
    let found = found.unwrap_or_else(|| panic!("no {name} {labels:?}"));
    assert_eq!(found.value, Some(v1::UInt64Value { value }), "{name} {labels:?}");
    assert_eq!(found.timestamp, 90_000_000_000);
    found.label_values[..BASE_LABELS.len()].to_vec()
}

#[test]
fn every_descriptor_has_samples_and_every_sample_a_descriptor() {
    let described = descriptors();
    let keys: BTreeMap<_, _> = described.iter().map(|d| (d.name.as_str(), d.label_keys.len())).collect();
    assert_eq!(keys.len(), described.len(), "a name is there twice");
    let wire = sandbox(pod());
    let metrics: Vec<_> = wire.metrics.iter().chain(&wire.container_metrics[0].metrics).collect();
    for metric in &metrics {
        assert_eq!(keys.get(metric.name.as_str()), Some(&metric.label_values.len()), "{}", metric.name);
    }
    let sampled: BTreeSet<_> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(sampled, keys.keys().copied().collect());
    let mut series: Vec<_> = metrics.iter().map(|metric| (&metric.name, &metric.label_values)).collect();
    let count = series.len();
    series.sort();
    series.dedup();
    assert_eq!(series.len(), count, "Prometheus takes no series twice");
}

#[test]
fn samples_are_named_and_labelled_as_cadvisor_does() {
    let wire = sandbox(pod());
    let of_pod = ["/pods/web", "", "", "", "web", "shop"];
    assert_eq!(check(&wire.metrics, "container_cpu_usage_seconds_total", &["total"], 3), of_pod);
    check(&wire.metrics, "container_network_receive_bytes_total", &["eth0"], 8);
    let of_container = wire.container_metrics.first().expect("one");
    assert_eq!(of_container.container_id, "c".repeat(64));
    let metrics = &of_container.metrics;
    let labels = check(metrics, "container_memory_working_set_bytes", &[], 7000);
    assert_eq!(labels, ["/pods/web/nginx", &"c".repeat(64), "nginx:1", "nginx", "web", "shop"]);
    check(metrics, "container_cpu_usage_seconds_total", &["total"], 2);
    check(metrics, "container_start_time_seconds", &[], 60);
    check(metrics, "container_last_seen", &[], 90);
    check(metrics, "container_spec_cpu_quota", &[], 50_000);
    check(metrics, "container_spec_memory_limit_bytes", &[], 0);
    check(metrics, "container_blkio_device_usage_total", &["/dev/sda", "8", "0", "Read"], 3);
    check(metrics, "container_ulimits_soft", &["max_open_files"], 1024);
    assert!(!metrics.iter().any(|metric| metric.name.starts_with("container_network_")));
}

#[test]
fn what_is_unlimited_or_not_accounted_for_has_no_sample() {
    let mut model = pod();
    model.counters.limits = Resources { cpu_quota: -1, ..Resources::default() };
    model.counters.counters.stats.psi = None;
    let wire = sandbox(model);
    let starts = |prefix: &str| wire.metrics.iter().any(|metric| metric.name.starts_with(prefix));
    assert!(!starts("container_spec_cpu_") && !starts("container_pressure_"));
}
