//! UpdatePodSandboxResources.

use std::fs;

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::node::Node;
use linkspan_tests::{need, node, requests};
use tonic::{Code, Status};

const MIB: i64 = 1 << 20;

fn memory(limit: i64) -> Option<v1::LinuxContainerResources> {
    Some(v1::LinuxContainerResources { memory_limit_in_bytes: limit, ..Default::default() })
}

async fn update(
    node: &mut Node,
    id: &str,
    change: impl FnOnce(&mut v1::UpdatePodSandboxResourcesRequest),
) -> Result<(), Status> {
    let mut request =
        v1::UpdatePodSandboxResourcesRequest { pod_sandbox_id: id.to_owned(), ..Default::default() };
    change(&mut request);
    node.runtime.update_pod_sandbox_resources(request).await.map(drop)
}

/// The memory limit of a group, whichever version of cgroups; `None` without one.
fn limit(group: &str) -> Result<Option<i64>> {
    let files = [
        format!("/sys/fs/cgroup/memory{group}/memory.limit_in_bytes"),
        format!("/sys/fs/cgroup{group}/memory.max"),
    ];
    let text = files.iter().find_map(|file| fs::read_to_string(file).ok()).context("a memory group")?;
    Ok(text.trim().parse().ok().filter(|limit| *limit < 1 << 60))
}

#[tokio::test]
async fn a_group_of_ours_is_resized_and_the_new_size_is_told() {
    need!();
    node::run(async |node| {
        let mut config = requests::sandbox(node, "sized");
        let linux = config.linux.get_or_insert_default();
        linux.resources = Some(v1::LinuxContainerResources {
            memory_limit_in_bytes: 64 * MIB,
            cpu_shares: 512,
            ..Default::default()
        });
        let id = node.run_sandbox(&config, "").await?;
        let group = node.sandbox_info(&id).await?["cgroupParent"].as_str().context("a group")?.to_owned();
        assert_eq!(limit(&group)?, Some(64 * MIB), "what the containers may use together");

        update(node, &id, |request| {
            (request.resources, request.overhead) = (memory(128 * MIB), memory(8 * MIB));
        })
        .await?;
        let check = async |node: &mut Node| {
            let linux = node.sandbox_info(&id).await?["config"]["linux"].clone();
            ensure!(linux["resources"]["memory_limit_bytes"] == 128 * MIB, "{linux}");
            ensure!(linux["resources"]["cpu_shares"] == 512, "what is not named stays: {linux}");
            ensure!(linux["overhead"]["memory_limit_bytes"] == 8 * MIB, "{linux}");
            ensure!(limit(&group)? == Some(136 * MIB), "with what the pod takes itself");
            Ok(())
        };
        check(node).await?;

        let refused =
            update(node, &id, |request| request.resources = memory(-7)).await.expect_err("negative");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("resources.memory_limit_in_bytes"), "{}", refused.message());
        check(node).await?;
        node.kill()?;
        node.start_again().await?;
        check(node).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_group_of_the_kubelet_is_left_to_the_kubelet() {
    need!();
    node::run(async |node| {
        let mut config = requests::sandbox(node, "theirs");
        config.linux.get_or_insert_default().cgroup_parent = format!("/{}/theirs", node.cgroup());
        let id = node.run_sandbox(&config, "").await?;
        let group = node.sandbox_info(&id).await?["cgroupParent"].as_str().context("a group")?.to_owned();
        update(node, &id, |request| request.resources = memory(128 * MIB)).await?;
        assert_eq!(limit(&group)?, None);
        let told =
            node.sandbox_info(&id).await?["config"]["linux"]["resources"]["memory_limit_bytes"].clone();
        assert_eq!(told, 128 * MIB);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_resized_is_refused() {
    need!();
    node::run(async |node| {
        let code = async |node: &mut Node, id: &str, resources| {
            let answer = update(node, id, |request| request.resources = resources).await;
            answer.err().map(|status| status.code())
        };
        assert_eq!(code(node, "", memory(64 * MIB)).await, Some(Code::InvalidArgument));
        assert_eq!(code(node, &"0".repeat(64), memory(64 * MIB)).await, Some(Code::NotFound));
        let id = node.run_sandbox(&requests::sandbox(node, "stopped"), "").await?;
        assert_eq!(code(node, &id, None).await, Some(Code::InvalidArgument), "it says nothing");
        node.stop_sandbox(&id).await?;
        assert_eq!(code(node, &id, memory(64 * MIB)).await, Some(Code::FailedPrecondition));
        Ok(())
    })
    .await;
}
