//! ListMetricDescriptors, ListPodSandboxMetrics and StreamPodSandboxMetrics.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::node::Node;
use linkspan_tests::{need, node, requests, wait};

/// By metric's name, its label keys.
async fn descriptors(node: &mut Node) -> Result<BTreeMap<String, Vec<String>>> {
    let request = v1::ListMetricDescriptorsRequest {};
    let found = node.runtime.list_metric_descriptors(request).await?.into_inner().descriptors;
    Ok(found.into_iter().map(|descriptor| (descriptor.name, descriptor.label_keys)).collect())
}

async fn metrics(node: &mut Node) -> Result<Vec<v1::PodSandboxMetrics>> {
    let request = v1::ListPodSandboxMetricsRequest {};
    Ok(node.runtime.list_pod_sandbox_metrics(request).await?.into_inner().pod_metrics)
}

/// The value of the first sample of that name.
fn value(metrics: &[v1::Metric], name: &str) -> Result<u64> {
    let metric = metrics.iter().find(|metric| metric.name == name).with_context(|| format!("no {name}"))?;
    Ok(metric.value.context("a value")?.value)
}

#[tokio::test]
async fn a_busy_container_and_its_pod_are_measured() {
    need!();
    node::run(async |node| {
        let keys = descriptors(node).await?;
        let line = "head -c 1000000 /dev/urandom > /written; while :; do :; done";
        let mut config = requests::container("busy", &["sh", "-c", line]);
        let limits = requests::resources(&mut config);
        limits.memory_limit_in_bytes = 64 << 20;
        (limits.cpu_period, limits.cpu_quota, limits.cpu_shares) = (100_000, 50_000, 512);
        let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let (sandbox_id, id) = node.run_pod(&requests::sandbox(node, "measured"), &config).await?;
        let pod = wait::until(
            "a second of CPU time is used up, and the file seen",
            Duration::from_secs(30),
            async || {
                let mut found = metrics(node).await?;
                ensure!(found.len() == 1, "{} pods", found.len());
                let of_container = &found[0].container_metrics.first().context("a container")?.metrics;
                ensure!(value(of_container, "container_cpu_usage_seconds_total")? >= 1);
                // Measured every few seconds only.
                ensure!(value(of_container, "container_fs_usage_bytes")? >= 1_000_000);
                Ok(found.remove(0))
            },
        )
        .await?;
        assert_eq!(pod.pod_sandbox_id, sandbox_id);
        let container = &pod.container_metrics[0];
        assert_eq!(container.container_id, id);
        for metric in pod.metrics.iter().chain(&container.metrics) {
            let keys = keys.get(&metric.name).with_context(|| format!("{} is not described", metric.name))?;
            assert_eq!(keys.len(), metric.label_values.len(), "{}", metric.name);
            let labels: BTreeMap<_, _> = keys.iter().map(String::as_str).zip(&metric.label_values).collect();
            assert_eq!((labels["pod"].as_str(), labels["namespace"].as_str()), ("measured", "tests"));
        }
        let of_container = |name: &str| value(&container.metrics, name);
        assert!(of_container("container_memory_working_set_bytes")? > 50_000);
        assert!(
            of_container("container_memory_max_usage_bytes")? > 1_000_000,
            "the file went through the cache"
        );
        assert!(
            of_container("container_cpu_cfs_throttled_periods_total")? > 0,
            "it wants more than half a CPU"
        );
        assert!(of_container("container_start_time_seconds")? >= before);
        assert_eq!(of_container("container_processes")?, 1);
        assert!(of_container("container_file_descriptors")? >= 3);
        assert_eq!(of_container("container_spec_memory_limit_bytes")?, 64 << 20);
        assert_eq!(of_container("container_spec_cpu_quota")?, 50_000);
        assert_eq!(of_container("container_oom_events_total")?, 0);
        assert!(value(&pod.metrics, "container_cpu_usage_seconds_total")? >= 1);
        assert!(value(&pod.metrics, "container_processes")? >= 2, "pause is one");
        assert!(pod.metrics.iter().any(|metric| metric.name == "container_network_receive_bytes_total"));

        let request = v1::StreamPodSandboxMetricsRequest {};
        let mut stream = node.runtime.stream_pod_sandbox_metrics(request).await?.into_inner();
        let message = stream.message().await?.context("a message")?;
        assert_eq!(message.pod_sandbox_metrics[0].pod_sandbox_id, sandbox_id);
        assert_eq!(message.pod_sandbox_metrics[0].container_metrics.len(), 1);
        assert!(stream.message().await?.is_none());

        node.stop_container(&id, 0).await?;
        assert!(metrics(node).await?[0].container_metrics.is_empty(), "only running ones are measured");
        node.stop_sandbox(&sandbox_id).await?;
        assert!(metrics(node).await?.is_empty());
        Ok(())
    })
    .await;
}
