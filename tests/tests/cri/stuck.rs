//! What does not go on: a container that somebody has frozen, a monitor that is stopped. Pods end all the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::node::{Node, signal};
use linkspan_tests::{need, node, requests, wait};
use tonic::Code;

/// Longer than any deadline that counts here, and shorter than the graces.
const SOON: Duration = Duration::from_secs(30);
const LONG_GRACE: i64 = 600;

/// Ends by itself, with 7, when it is asked to.
fn polite(name: &str) -> v1::ContainerConfig {
    requests::container(name, &["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 1000 & wait; done"])
}

/// Where the group of a process is frozen, and what is written to it.
fn freezer(pid: u32) -> Result<(PathBuf, &'static str)> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let of = |controller: &str| {
        text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            (parts.next() == Some(controller)).then(|| parts.next().unwrap_or_default().to_owned())
        })
    };
    let root = Path::new("/sys/fs/cgroup");
    if let Some(path) = of("freezer") {
        return Ok((root.join("freezer").join(path.trim_start_matches('/')), "FROZEN"));
    }
    Ok((root.join(of("").context("a v2 group")?.trim_start_matches('/')), "1"))
}

fn freeze(group: &Path, value: &str) -> Result<()> {
    let file = if value == "1" { "cgroup.freeze" } else { "freezer.state" };
    fs::write(group.join(file), value).with_context(|| group.display().to_string())
}

#[tokio::test]
async fn a_container_that_was_frozen_by_hand_is_killed() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "frozen");
        let (sandbox_id, id) = node.run_pod(&sandbox, &polite("c")).await?;
        let pid = node.trapped(&id).await?;
        let (group, value) = freezer(pid)?;
        freeze(&group, value)?;
        tokio::time::timeout(SOON, node.stop_container(&id, 1)).await??;
        assert_eq!(node.container_status(&id).await?.exit_code, 137);

        // A whole pod, with pause, and a container in which one has frozen another.
        let id = node.run_container(&sandbox_id, &polite("nested"), &sandbox).await?;
        let pid = node.trapped(&id).await?;
        let (group, value) = freezer(pid)?;
        let nested = group.join("nested");
        fs::create_dir(&nested)?;
        let child = wait::until("it has a child", SOON, async || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
            Ok(children.split_whitespace().next().context("none so far")?.to_owned())
        })
        .await?;
        fs::write(nested.join("cgroup.procs"), child)?;
        freeze(&nested, value)?;
        let pod = group.parent().context("the pod's group")?;
        ensure!(pod.ends_with(&sandbox_id), "{}", pod.display());
        freeze(pod, value)?;
        tokio::time::timeout(SOON, node.stop_sandbox(&sandbox_id)).await??;
        // It was asked and killed at once.
        assert!([7, 137].contains(&node.container_status(&id).await?.exit_code));
        node.remove_sandbox(&sandbox_id).await?;
        Ok(())
    })
    .await;
}

async fn with_a_stopped_monitor(node: &mut Node, name: &str) -> Result<(String, String, u32)> {
    let sandbox = requests::sandbox(node, name);
    let (sandbox_id, id) = node.run_pod(&sandbox, &polite("c")).await?;
    node.trapped(&id).await?;
    let monitor = crate::hung::monitor(&sandbox_id)?;
    signal(monitor, "STOP")?;
    Ok((sandbox_id, id, monitor))
}

#[tokio::test]
async fn a_container_whose_monitor_is_stopped_is_stopped_and_its_exit_code_is_known() {
    need!();
    node::run(async |node| {
        let (sandbox_id, id, monitor) = with_a_stopped_monitor(node, "stop").await?;
        tokio::time::timeout(SOON, node.stop_container(&id, LONG_GRACE)).await??;
        let status = node.container_status(&id).await?;
        assert_eq!((status.exit_code, status.reason.as_str()), (7, "Error"), "{}", status.message);
        // It goes on, and all that it does then is right.
        signal(monitor, "CONT")?;
        let sandbox = requests::sandbox(node, "stop");
        let next = node.run_container(&sandbox_id, &requests::idle("next"), &sandbox).await?;
        assert_eq!(node.output(&next, &["echo", "works"]).await?, "works");
        node.remove_container(&id).await?;
        assert_eq!(node.sandbox_status(&sandbox_id).await?.state(), v1::PodSandboxState::SandboxReady);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_whose_monitor_is_stopped_is_stopped_and_removed_with_it() {
    need!();
    node::run(async |node| {
        let (sandbox_id, id, monitor) = with_a_stopped_monitor(node, "pod").await?;
        tokio::time::timeout(SOON, node.stop_sandbox(&sandbox_id)).await??;
        let status = node.container_status(&id).await?;
        assert_eq!(status.state(), v1::ContainerState::ContainerExited);
        // It was asked and killed at once.
        assert!([7, 137].contains(&status.exit_code), "{}", status.exit_code);
        assert!(!Path::new(&format!("/proc/{monitor}")).exists(), "its monitor is still there");
        tokio::time::timeout(SOON, node.remove_sandbox(&sandbox_id)).await??;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_exec_does_not_outlast_its_timeout_because_the_monitor_is_stopped() {
    need!();
    node::run(async |node| {
        let (_, id, monitor) = with_a_stopped_monitor(node, "exec").await?;
        let began = Instant::now();
        let late = node.exec_within(&id, &["true"], 1).await.unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
        assert!(late.message().contains("monitor does not answer"), "{late}");
        let overrun = began.elapsed().saturating_sub(Duration::from_secs(1));
        assert!(overrun < Duration::from_secs(8), "it took {overrun:?} longer");
        signal(monitor, "CONT")?;
        Ok(())
    })
    .await;
}
