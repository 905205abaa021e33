//! ContainerStats, PodSandboxStats, ImageFsInfo, Status, Version, RuntimeConfig.

use anyhow::{Context, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::{need, node, requests, wait};

#[tokio::test]
async fn usage_of_a_container_and_its_pod_is_told() {
    need!();
    node::run(async |node| {
        let line = "head -c 1000000 /dev/urandom > /written; while :; do :; done";
        let sandbox = requests::sandbox(node, "busy");
        let (sandbox_id, id) = node.run_pod(&sandbox, &requests::container("c", &["sh", "-c", line])).await?;
        let deadline = std::time::Duration::from_secs(30);
        let stats = wait::until("the container has used something", deadline, async || {
            let request = v1::ContainerStatsRequest { container_id: id.clone() };
            let stats = node.runtime.container_stats(request).await?.into_inner().stats.context("stats")?;
            let cpu = stats.cpu.as_ref().and_then(|cpu| cpu.usage_core_nano_seconds).map_or(0, |v| v.value);
            let memory = stats.memory.as_ref().and_then(|m| m.working_set_bytes).map_or(0, |v| v.value);
            let disk = stats.writable_layer.as_ref().and_then(|w| w.used_bytes).map_or(0, |v| v.value);
            ensure!(cpu > 10_000_000, "cpu {cpu} ns");
            ensure!(memory > 50_000, "memory {memory}");
            ensure!(disk >= 1_000_000, "disk {disk}");
            Ok(stats)
        })
        .await?;
        let attributes = stats.attributes.unwrap();
        assert_eq!(attributes.id, id);
        assert_eq!(attributes.metadata.unwrap().name, "c");
        assert!(stats.cpu.unwrap().timestamp > 1_600_000_000_000_000_000);

        let list =
            node.runtime.list_container_stats(v1::ListContainerStatsRequest::default()).await?.into_inner();
        assert_eq!(list.stats.len(), 1);
        let request = v1::PodSandboxStatsRequest { pod_sandbox_id: sandbox_id.clone() };
        let stats = node.runtime.pod_sandbox_stats(request).await?.into_inner().stats.context("stats")?;
        let linux = stats.linux.context("stats of Linux")?;
        assert!(linux.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 10_000_000);
        assert!(linux.process.unwrap().process_count.unwrap().value >= 1);
        assert_eq!(linux.containers.len(), 1);
        let interface = linux.network.context("network")?.default_interface.context("an interface")?;
        assert_eq!(interface.name, "eth0");
        let list = node
            .runtime
            .list_pod_sandbox_stats(v1::ListPodSandboxStatsRequest::default())
            .await?
            .into_inner();
        assert_eq!(list.stats.len(), 1);
        node.stop_container(&id, 0).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_server_tells_what_it_is_and_how_it_is() {
    need!();
    node::run(async |node| {
        let version = node.runtime.version(v1::VersionRequest { version: "v1".into() }).await?.into_inner();
        assert_eq!((version.version.as_str(), version.runtime_api_version.as_str()), ("0.1.0", "v1"));
        assert_eq!(version.runtime_name, "linkspan");
        let status = node.runtime.status(v1::StatusRequest { verbose: true }).await?.into_inner();
        let conditions = status.status.unwrap().conditions;
        for name in ["RuntimeReady", "NetworkReady"] {
            assert!(conditions.iter().any(|c| c.r#type == name && c.status), "{name}: {conditions:?}");
        }
        for (key, text) in &status.info {
            serde_json::from_str::<serde_json::Value>(text)
                .with_context(|| format!("{key} is no JSON: {text}"))?;
        }
        let config = node.runtime.runtime_config(v1::RuntimeConfigRequest {}).await?.into_inner();
        assert_eq!(config.linux.unwrap().cgroup_driver(), v1::CgroupDriver::Cgroupfs);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_images_file_system_grows_with_a_pull() {
    need!();
    node::run(async |node| {
        let images = node.images.clone();
        let used = async || -> anyhow::Result<(u64, u64)> {
            let info = images.clone().image_fs_info(v1::ImageFsInfoRequest {}).await?.into_inner();
            let usage = info.image_filesystems.first().context("a file system")?;
            assert!(!info.container_filesystems.is_empty());
            assert!(!usage.fs_id.as_ref().unwrap().mountpoint.is_empty());
            Ok((usage.used_bytes.unwrap().value, usage.inodes_used.unwrap().value))
        };
        let before = used().await?;
        node.pull(requests::NGINX).await?;
        let after = used().await?;
        assert!(after.0 > before.0 + 5_000_000 && after.1 > before.1 + 10, "{before:?} {after:?}");
        Ok(())
    })
    .await;
}
