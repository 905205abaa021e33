//! What plugins want of containers that exist.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use linkspan_cri_api::v1;
use linkspan_tests::node::{Node, Options};
use linkspan_tests::nri::Plugin;
use linkspan_tests::{need, node, requests, tools, wait};
use serde_json::json;

const SOON: Duration = Duration::from_secs(15);

async fn limits(node: &mut Node, id: &str) -> Result<v1::LinuxContainerResources> {
    let status = node.container_status(id).await?;
    status.resources.and_then(|resources| resources.linux).context("resources in the status")
}

/// What the kernel has for it, whichever version of cgroups.
fn shares(group: &str) -> Result<String> {
    let files =
        [format!("/sys/fs/cgroup/cpu{group}/cpu.shares"), format!("/sys/fs/cgroup{group}/cpu.weight")];
    let text = files.iter().find_map(|file| std::fs::read_to_string(file).ok()).context("a cpu group")?;
    Ok(text.trim().to_owned())
}

#[tokio::test]
async fn other_containers_are_changed_as_containers_come_change_and_go() {
    need!(NriPlugin);
    node::run(async |node| {
        let shares_of = |target: &str, shares: u32| {
            json!([{ "target": target, "resources": { "cpu": { "shares": { "value": shares.to_string() } } } }])
        };
        let script = json!({ "updates": {
            "CreateContainer/second": shares_of("first", 300),
            "UpdateContainer/second": shares_of("second", 700),
            "StopContainer/second": shares_of("first", 400),
            "PostStartContainer/third": shares_of("first", 500),
        } });
        let plugin = Plugin::start(node, "10", "balancer", &script).await?;
        let sandbox = requests::sandbox(node, "balanced");
        let (sandbox_id, first) = node.run_pod(&sandbox, &requests::idle("first")).await?;
        let group = node.container_info(&first).await?["runtimeSpec"]["linux"]["cgroupsPath"].clone();
        let group = group.as_str().context("a group")?.to_owned();

        let second = node.run_container(&sandbox_id, &requests::idle("second"), &sandbox).await?;
        assert_eq!(limits(node, &first).await?.cpu_shares, 300);
        let at_300 = shares(&group)?;

        let linux = v1::LinuxContainerResources { cpu_shares: 600, ..Default::default() };
        let request = v1::UpdateContainerResourcesRequest {
            container_id: second.clone(),
            linux: Some(linux),
            ..Default::default()
        };
        node.runtime.update_container_resources(request).await?;
        assert_eq!(limits(node, &second).await?.cpu_shares, 700, "the plugin's word counts");

        node.stop_container(&second, 5).await?;
        assert_eq!(limits(node, &first).await?.cpu_shares, 400);
        assert_ne!(shares(&group)?, at_300, "the kernel has it, too");

        node.run_container(&sandbox_id, &requests::idle("third"), &sandbox).await?;
        let answered = plugin.event("Unsolicited", |_| true).await?;
        assert_eq!(answered["extra"], json!({ "failed": 0, "error": "<nil>" }));
        assert_eq!(limits(node, &first).await?.cpu_shares, 500);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn updates_that_cannot_be_had_are_refused_or_told_as_failed() {
    need!(NriPlugin);
    node::run(async |node| {
        let reservation = json!({ "memory": { "reservation": { "value": "1000000" } } });
        let script = json!({ "updates": {
            "CreateContainer/strict": [{ "target": "first", "resources": reservation }],
            "CreateContainer/gone": [{ "target": "0".repeat(64), "resources": { "cpu": { "shares": { "value": "300" } } } }],
            "CreateContainer/lenient": [
                { "target": "first", "resources": reservation, "ignoreFailure": true },
                { "target": "0".repeat(64), "resources": { "cpu": { "shares": { "value": "300" } } }, "ignoreFailure": true },
            ],
            "PostStartContainer/lenient": [
                { "target": "first", "resources": reservation },
                { "target": "first", "resources": { "cpu": { "shares": { "value": "350" } } } },
            ],
        } });
        let plugin = Plugin::start(node, "10", "greedy", &script).await?;
        let sandbox = requests::sandbox(node, "greedy");
        let (sandbox_id, first) = node.run_pod(&sandbox, &requests::idle("first")).await?;
        let refused = node.create(&sandbox_id, &requests::idle("strict"), &sandbox).await.expect_err("refused");
        assert!(refused.message().contains("10-greedy"), "{}", refused.message());
        assert!(refused.message().contains("memory.reservation"), "{}", refused.message());
        let refused = node.create(&sandbox_id, &requests::idle("gone"), &sandbox).await.expect_err("refused");
        assert!(refused.message().contains("10-greedy"), "{}", refused.message());
        assert!(refused.message().contains("no container"), "{}", refused.message());
        node.run_container(&sandbox_id, &requests::idle("lenient"), &sandbox).await?;
        let answered = plugin.event("Unsolicited", |_| true).await?;
        assert_eq!(answered["extra"]["failed"], 1);
        assert_eq!(limits(node, &first).await?.cpu_shares, 350);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_evicted_container_stops_and_says_why() {
    need!(NriPlugin);
    node::run(async |node| {
        let script = json!({
            "events": "CreateContainer,PostStartContainer",
            "evict": {
                "second": { "first": "noisy neighbour" },
                "PostStartContainer/third": { "second": "its time has come" },
            },
        });
        let plugin = Plugin::spawn(node, "10", "evictor", &script, &["-raw"])?;
        plugin.event("Synchronize", |_| true).await?;
        let sandbox = requests::sandbox(node, "crowded");
        let (sandbox_id, first) = node.run_pod(&sandbox, &requests::idle("first")).await?;
        let second = node.run_container(&sandbox_id, &requests::idle("second"), &sandbox).await?;
        let status = node.exited(&first).await?;
        assert_eq!(status.message, "evicted by NRI plugin 10-evictor: noisy neighbour");
        node.run_container(&sandbox_id, &requests::idle("third"), &sandbox).await?;
        let status = node.exited(&second).await?;
        assert_eq!(status.message, "evicted by NRI plugin 10-evictor: its time has come");
        node.kill()?;
        node.start_again().await?;
        assert_eq!(
            node.container_status(&first).await?.message,
            "evicted by NRI plugin 10-evictor: noisy neighbour"
        );
        Ok(())
    })
    .await;
}

/// A runtime whose `update` waits as long as the file is there.
fn slow(folder: &Path) -> (PathBuf, PathBuf) {
    let hold = folder.join("hold");
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in *' update '*) : >{0}.called; while [ -e {0} ]; do sleep 0.02; done;; esac\nexec {1} \"$@\"\n",
        hold.display(),
        tools::crun().display()
    );
    (tools::script(folder.join("slow"), &text).expect("a script"), hold)
}

#[tokio::test]
async fn a_runtime_that_is_slow_with_one_containers_update_keeps_no_other_pod_waiting() {
    need!(NriPlugin);
    let folder = tempfile::tempdir().expect("a folder");
    let (runtime, hold) = slow(folder.path());
    let options = Options { runtimes: vec![("slow".to_owned(), runtime)], ..Options::default() };
    node::with(options, async |node| {
        let first = json!([{ "target": "first", "resources": { "cpu": { "shares": { "value": "300" } } } }]);
        let _plugin =
            Plugin::start(node, "10", "balancer", &json!({ "updates": { "CreateContainer/second": first } }))
                .await?;
        let sandbox = requests::sandbox(node, "slow");
        let (sandbox_id, first) = node.run_pod(&sandbox, &requests::idle("first")).await?;
        std::fs::write(&hold, "")?;
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox_id,
            config: Some(requests::idle("second")),
            sandbox_config: Some(sandbox),
        };
        let mut client = node.runtime.clone();
        let second = tokio::spawn(async move { client.create_container(request).await });
        let called = hold.with_extension("called");
        wait::until("the first one is updated", SOON, async || {
            anyhow::ensure!(called.exists());
            Ok(())
        })
        .await?;
        let other = requests::sandbox(node, "other");
        let made = tokio::time::timeout(SOON, node.run_pod(&other, &requests::idle("c"))).await;
        std::fs::remove_file(&hold)?;
        made.context("another pod waits for it")??;
        second.await??;
        assert_eq!(limits(node, &first).await?.cpu_shares, 300);
        Ok(())
    })
    .await;
}
