//! What does not answer costs the pod that wants it, and no other: volumes, logs, monitors.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::hung::{FrozenDisk, HungMount};
use linkspan_tests::node::{Node, signal};
use linkspan_tests::{need, node, requests, wait};
use tokio::time::timeout;
use tonic::Code;

/// An ample time for what waits for nothing.
const AT_ONCE: Duration = Duration::from_secs(10);
/// Longer than the daemon waits for a file system.
const GIVEN_UP: Duration = Duration::from_secs(60);

fn mount(host_path: String) -> v1::Mount {
    v1::Mount { host_path, container_path: "/volume".to_owned(), ..Default::default() }
}

/// Until so many of the daemon's threads wait for the file system.
async fn looks(node: &Node, count: usize) -> Result<()> {
    let pid = node.daemon_pid().context("a daemon")?;
    wait::until("the daemon looks at the volume", AT_ONCE, async || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
        let waits = tasks.filter(|task| {
            let at = std::fs::read_to_string(task.path().join("wchan")).unwrap_or_default();
            at.contains("fuse") || at.contains("request_wait")
        });
        let waiting = waits.count();
        ensure!(waiting >= count, "{waiting} of its threads wait for the file system, not {count}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_pod_whose_volume_hangs_is_stopped_and_removed_and_no_other_notices() {
    need!();
    node::run(async |node| {
        let hung = HungMount::new(&node.prefix().join("hung"))?;
        let sandbox = requests::sandbox(node, "hung");
        let (sandbox_id, id) = node.run_pod(&sandbox, &requests::idle("works")).await?;
        // More than a pod may have at a time.
        let mut creates = Vec::new();
        for number in 0..6 {
            let mut container = requests::idle(&format!("hangs-{number}"));
            container.mounts = vec![mount(hung.file(&format!("data-{number}")))];
            creates.push(node.creating(&sandbox_id, &container, &sandbox));
        }
        looks(node, 4).await?;

        let began = Instant::now();
        let (_, other) = node.run_pod(&requests::sandbox(node, "other"), &requests::idle("c")).await?;
        assert_eq!(node.output(&other, &["echo", "works"]).await?, "works");
        assert_eq!(node.output(&id, &["echo", "too"]).await?, "too", "the pod itself");
        timeout(AT_ONCE, node.stop_sandbox(&sandbox_id)).await.context("StopPodSandbox hangs, too")??;
        timeout(AT_ONCE, node.remove_sandbox(&sandbox_id)).await.context("RemovePodSandbox hangs, too")??;
        for create in creates {
            let refused = create.await?.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
            ensure!(refused.message().contains(&sandbox_id), "{refused}");
        }
        ensure!(began.elapsed() < AT_ONCE, "it took {:?}", began.elapsed());
        let gone = node.sandbox_status(&sandbox_id).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_hangs_is_named_and_its_create_leaves_nothing() {
    need!();
    node::run(async |node| {
        let hung = HungMount::new(&node.prefix().join("hung"))?;
        let sandbox = requests::sandbox(node, "volume");
        node.pull(requests::BUSYBOX).await?;
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let mut container = requests::idle("c");
        container.mounts = vec![mount(hung.file("data"))];
        let volume = node.creating(&sandbox_id, &container, &sandbox);

        let mut logs = requests::sandbox(node, "logs");
        logs.log_directory = hung.file("logs");
        let refused = timeout(GIVEN_UP, node.run_sandbox(&logs, "")).await?.unwrap_err();
        let expected = format!("looking at log directory {}: timed out after", hung.file("logs"));
        ensure!(refused.message().contains(&expected), "{refused}");
        assert_eq!(refused.code(), Code::DeadlineExceeded);

        let refused = timeout(GIVEN_UP, volume).await??.unwrap_err();
        let expected = format!("looking at mount source {}: timed out after", hung.file("data"));
        ensure!(refused.message().contains(&expected), "{refused}");
        ensure!(refused.message().contains("the file system does not answer"), "{refused}");
        assert_eq!(refused.code(), Code::DeadlineExceeded);

        let id = node.run_container(&sandbox_id, &requests::idle("c"), &sandbox).await?;
        assert_eq!(node.output(&id, &["echo", "works"]).await?, "works");
        Ok(())
    })
    .await;
}

/// The process of a pod's monitor.
pub(crate) fn monitor(sandbox_id: &str) -> Result<u32> {
    let processes = std::fs::read_dir("/proc")?.flatten().filter_map(|entry| {
        let pid = entry.file_name().to_string_lossy().parse().ok()?;
        let command = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&command).into_owned()))
    });
    let is_its = |(_, command): &(u32, String)| {
        command.contains("linkspan-monitor\0") && command.contains(&format!("\0{sandbox_id}\0"))
    };
    let mut found = processes.filter(is_its).map(|(pid, _)| pid);
    found.next().with_context(|| format!("no monitor of {sandbox_id}"))
}

#[tokio::test]
async fn a_monitor_that_does_not_answer_costs_no_pod_its_life_and_the_start_a_moment() {
    need!();
    node::run(async |node| {
        let line = "trap 'exit 7' TERM; while :; do sleep 1000 & wait; done";
        let command = requests::container("c", &["sh", "-c", line]);
        let (sandbox_id, id) = node.run_pod(&requests::sandbox(node, "slow"), &command).await?;
        let (_, other) = node.run_pod(&requests::sandbox(node, "other"), &command).await?;
        let pid = node.trapped(&id).await?;
        let monitor = monitor(&sandbox_id)?;

        node.kill()?;
        signal(monitor, "STOP")?;
        let began = Instant::now();
        node.start_again().await?;
        ensure!(began.elapsed() < AT_ONCE, "the start took {:?}", began.elapsed());
        assert_eq!(node.output(&other, &["echo", "works"]).await?, "works");
        let refused = node.exec(&id, &["true"]).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        // Nobody sees its end before the monitor does; above all it is not taken for lost.
        signal(pid, "TERM")?;
        assert_eq!(node.container_status(&id).await?.state(), v1::ContainerState::ContainerRunning);
        assert_eq!(node.sandbox_status(&sandbox_id).await?.state(), v1::PodSandboxState::SandboxReady);

        signal(monitor, "CONT")?;
        let status = node.exited(&id).await?;
        assert_eq!((status.exit_code, status.reason.as_str()), (7, "Error"), "{}", status.message);
        let id = node
            .run_container(&sandbox_id, &requests::idle("next"), &requests::sandbox(node, "slow"))
            .await?;
        assert_eq!(node.output(&id, &["echo", "again"]).await?, "again");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_disk_of_logs_that_hangs_holds_back_who_talks_and_nobody_else() {
    need!();
    node::run(async |node| {
        let disk = FrozenDisk::new(&node.prefix().join("disk"))?;
        let mut sandbox = requests::sandbox(node, "logs");
        sandbox.log_directory = disk.path().join("logs").display().to_string();
        let line = "while [ ! -e /go ]; do usleep 10000; done; seq 1 100000; touch /done; exec sleep 1000";
        let (sandbox_id, talks) =
            node.run_pod(&sandbox, &requests::container("talks", &["sh", "-c", line])).await?;
        let line = "trap 'echo last; exit 7' TERM; while :; do sleep 1000 & wait; done";
        let silent = requests::container("silent", &["sh", "-c", line]);
        let silent = node.run_container(&sandbox_id, &silent, &sandbox).await?;

        disk.freeze()?;
        let while_frozen = async {
            node.output(&talks, &["touch", "/go"]).await?;
            let pid = node.container_info(&talks).await?["pid"].to_string();
            wait::until("its pipe is full", AT_ONCE, async || {
                let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
                let child = children.split_whitespace().next().context("no child")?;
                let at = std::fs::read_to_string(format!("/proc/{child}/wchan"))?;
                ensure!(at.contains("pipe_write"), "seq is at {at:?}");
                Ok(())
            })
            .await?;
            let done = "ls /done 2>/dev/null || echo waits";
            assert_eq!(node.shell(&talks, done).await?, "waits");
            assert_eq!(node.output(&silent, &["echo", "works"]).await?, "works");
            node.stop_container(&silent, 5).await?;
            assert_eq!(node.container_status(&silent).await?.exit_code, 7);
            let status = node.container_status(&talks).await?;
            assert_eq!(status.state(), v1::ContainerState::ContainerRunning);
            Ok::<_, anyhow::Error>(())
        };
        timeout(GIVEN_UP, while_frozen).await.context("somebody else waits for the disk, too")??;

        disk.thaw()?;
        let lines = node.log_lines(&talks, |lines| lines.len() >= 100_000).await?;
        ensure!(
            lines.iter().zip(1..).all(|(line, number)| line.text == number.to_string()),
            "a line is missing"
        );
        assert_eq!(node.output(&talks, &["ls", "/done"]).await?, "/done");
        let last = node.log_lines(&silent, |lines| !lines.is_empty()).await?;
        assert_eq!(last[0].text, "last");
        Ok(())
    })
    .await;
}
