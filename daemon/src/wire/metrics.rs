//! Metrics under cAdvisor's names: one table, from which both the descriptors and the samples come.
//!
//! CRI's `Metric.value` is a whole number, so that seconds lose their fraction.

mod table;

use linkspan_cri_api::v1;
use linkspan_pod_sandbox::model::{ContainerMetrics, GroupCounters, SandboxMetrics};

use table::{Read, Row, TABLE};

/// What every sample has first, in cAdvisor's meaning: `id` is the cgroup, `name` the container's ID. The samples of
/// a pod as a whole have no `container`, so that a sum over containers does not count it twice.
const BASE_LABELS: [&str; 6] = ["id", "name", "image", "container", "pod", "namespace"];

/// CRI `ListMetricDescriptorsResponse`: what there may be a sample of.
pub(crate) fn descriptors() -> Vec<v1::MetricDescriptor> {
    let descriptor = |row: &Row| v1::MetricDescriptor {
        name: row.name.to_owned(),
        help: row.help.to_owned(),
        label_keys: BASE_LABELS.iter().chain(row.labels).map(|key| (*key).to_owned()).collect(),
    };
    TABLE.iter().map(descriptor).collect()
}

pub(crate) fn sandbox(model: SandboxMetrics) -> v1::PodSandboxMetrics {
    let (name, namespace) = (model.attributes.metadata.name, model.attributes.metadata.namespace);
    let id = model.counters.cgroup_path.as_str();
    let mut samples = Samples::new([id, "", "", "", &name, &namespace], &model.counters);
    for row in TABLE {
        match row.read {
            Read::Group(read) => samples.add(row, read(&model.counters)),
            Read::Interface(read) => {
                let of_each = model.interfaces.iter();
                samples.add(row, of_each.map(|interface| (vec![interface.name.clone()], read(interface))));
            }
            Read::Container(_) => {}
        }
    }
    let containers = model.containers.iter().map(|of_one| container(of_one, &name, &namespace));
    v1::PodSandboxMetrics {
        pod_sandbox_id: model.attributes.id.into(),
        container_metrics: containers.collect(),
        metrics: samples.metrics,
    }
}

fn container(model: &ContainerMetrics, pod: &str, namespace: &str) -> v1::ContainerMetrics {
    let container_id = model.attributes.id.to_string();
    let id = model.counters.cgroup_path.as_str();
    let name = &model.attributes.metadata.name;
    let labels = [id, &container_id, &model.image, name, pod, namespace];
    let mut samples = Samples::new(labels, &model.counters);
    for row in TABLE {
        match row.read {
            Read::Group(read) => samples.add(row, read(&model.counters)),
            Read::Container(read) => samples.add(row, read(model)),
            Read::Interface(_) => {}
        }
    }
    v1::ContainerMetrics { metrics: samples.metrics, container_id }
}

/// Those of one pod or container.
struct Samples {
    base: Vec<String>,
    /// In nanoseconds.
    at: i64,
    metrics: Vec<v1::Metric>,
}

impl Samples {
    fn new(base: [&str; BASE_LABELS.len()], group: &GroupCounters) -> Self {
        let base = base.map(str::to_owned).to_vec();
        Self { base, at: group.counters.stats.at.0, metrics: Vec::new() }
    }

    fn add(&mut self, row: &Row, values: impl IntoIterator<Item = (Vec<String>, u64)>) {
        for (labels, value) in values {
            self.metrics.push(v1::Metric {
                name: row.name.to_owned(),
                timestamp: self.at,
                metric_type: row.kind.into(),
                label_values: self.base.iter().cloned().chain(labels).collect(),
                value: Some(v1::UInt64Value { value }),
            });
        }
    }
}

#[cfg(test)]
mod tests;
