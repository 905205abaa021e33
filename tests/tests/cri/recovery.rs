//! The daemon is killed, or stopped, and started again: pods do not notice.

use anyhow::Context;
use linkspan_cri_api::v1;
use linkspan_tests::node::signal;
use linkspan_tests::tools::HeldRuntime;
use linkspan_tests::{need, node, requests, wait};

const SOON: std::time::Duration = std::time::Duration::from_secs(10);

#[tokio::test]
async fn a_killed_daemon_finds_its_pods_as_they_were() {
    need!();
    node::run(async |node| {
        let mut sandbox = requests::sandbox(node, "kept");
        sandbox.labels.insert("app".into(), "kept".into());
        let line = "n=0; while :; do echo $((n+=1)); usleep 20000; done";
        let (sandbox_id, id) = node.run_pod(&sandbox, &requests::container("c", &["sh", "-c", line])).await?;
        let created = node.create(&sandbox_id, &requests::idle("created"), &sandbox).await?;
        let (sandbox_before, before) =
            (node.sandbox_status(&sandbox_id).await?, node.container_status(&id).await?);
        let pid = node.container_info(&id).await?["pid"].clone();

        node.kill()?;
        node.start_again().await?;
        assert_eq!(node.sandbox_status(&sandbox_id).await?, sandbox_before);
        assert_eq!(node.container_status(&id).await?, before);
        assert_eq!(node.container_info(&id).await?["pid"], pid, "the same process");
        assert_eq!(node.output(&id, &["echo", "hello"]).await?, "hello");
        let lines = node.log_lines(&id, |_| true).await?.len();
        node.log_lines(&id, |later| later.len() > lines + 5).await?;
        let logged = node.log_lines(&id, |_| true).await?;
        assert!(
            logged.iter().zip(1..).all(|(line, number)| line.text == number.to_string()),
            "a line is missing"
        );
        node.start_container(&created).await?;
        assert_eq!(node.container_status(&created).await?.state(), v1::ContainerState::ContainerRunning);
        node.stop_container(&id, 0).await?;
        assert_eq!(node.container_status(&id).await?.exit_code, 137);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_exit_while_the_daemon_was_away_is_known_with_its_code() {
    need!();
    node::run(async |node| {
        let line = "trap 'exit 9' TERM; while :; do sleep 1000 & wait; done";
        let (_, id) = node
            .run_pod(&requests::sandbox(node, "away"), &requests::container("c", &["sh", "-c", line]))
            .await?;
        let pid = node.trapped(&id).await?;
        node.kill()?;
        signal(pid, "TERM")?;
        wait::until("it ends", SOON, async || {
            anyhow::ensure!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
            Ok(())
        })
        .await?;
        node.start_again().await?;
        let status = node.exited(&id).await?;
        assert_eq!((status.exit_code, status.reason.as_str()), (9, "Error"));
        assert!(status.finished_at >= status.started_at);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_graceful_stop_leaves_pods_running_and_stopped_ones_stopped() {
    need!();
    node::run(async |node| {
        let (_, running) = node.run_pod(&requests::sandbox(node, "running"), &requests::idle("c")).await?;
        let (stopped_id, stopped) =
            node.run_pod(&requests::sandbox(node, "stopped"), &requests::idle("c")).await?;
        node.stop_sandbox(&stopped_id).await?;
        let before = node.container_status(&stopped).await?;
        node.stop().await?;
        node.start_again().await?;
        assert_eq!(node.container_status(&running).await?.state(), v1::ContainerState::ContainerRunning);
        assert_eq!(node.container_status(&stopped).await?, before);
        let status = node.sandbox_status(&stopped_id).await?;
        assert_eq!(status.state(), v1::PodSandboxState::SandboxNotready);
        let images = node.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
        assert_eq!(images.len(), 1, "images are still there");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_killed_monitor_ends_its_pod_and_no_other() {
    need!();
    node::run(async |node| {
        let (one_id, _) = node.run_pod(&requests::sandbox(node, "one"), &requests::idle("c")).await?;
        let (_, other) = node.run_pod(&requests::sandbox(node, "two"), &requests::idle("c")).await?;
        signal(node.monitor(&one_id)?, "KILL")?;
        node.stop_sandbox(&one_id).await?;
        node.remove_sandbox(&one_id).await?;
        assert_eq!(node.output(&other, &["echo", "hello"]).await?, "hello");
        Ok(())
    })
    .await;
}

/// A pod that StopPodSandbox is called for, and whose monitor is stopped, so that it takes its time.
struct Stopping {
    id: String,
    pause: serde_json::Value,
    monitor: u32,
    stop: tokio::task::JoinHandle<Result<tonic::Response<v1::StopPodSandboxResponse>, tonic::Status>>,
}

impl Stopping {
    async fn begin(node: &mut node::Node) -> anyhow::Result<Self> {
        let id = node.run_sandbox(&requests::sandbox(node, "stopping"), "").await?;
        let info = node.sandbox_info(&id).await?;
        let (pause, monitor) = (info["pid"].clone(), info["monitorPid"].to_string().parse()?);
        signal(monitor, "STOP")?;
        let mut runtime = node.runtime.clone();
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.clone() };
        let stop = tokio::spawn(async move { runtime.stop_pod_sandbox(request).await });
        Ok(Self { id, pause, monitor, stop })
    }
}

/// Found by tests/faults: the monitor is killed when it has been told to end its pod and has not begun to.
#[tokio::test]
async fn a_monitor_that_is_killed_over_the_stop_of_its_pod_leaves_no_pause() {
    need!();
    node::run(async |node| {
        let Stopping { id, pause, monitor, stop } = Stopping::begin(node).await?;
        let log = node.prefix().join("daemon.log");
        // The network goes before it; the bridge is the last of it.
        let is_last = |line: &str| line.contains(r#"plugin="bridge" verb="DEL""#) && line.contains(&id);
        wait::until("the stop comes to it", SOON, async || {
            anyhow::ensure!(
                std::fs::read_to_string(&log)?.lines().any(is_last),
                "the network is still there"
            );
            Ok(())
        })
        .await?;
        signal(monitor, "KILL")?;
        stop.await??;
        assert!(has_ended(&pause), "pause runs on");
        node.remove_sandbox(&id).await?;
        Ok(())
    })
    .await;
}

/// Whoever inherits a process may take its time to wait for it.
fn has_ended(pid: &serde_json::Value) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// Found by tests/faults: daemon and monitor are killed over the stop of a pod.
#[tokio::test]
async fn a_pod_that_was_being_stopped_and_lost_its_monitor_has_no_pause() {
    need!();
    node::run(async |node| {
        let Stopping { id, pause, monitor, stop } = Stopping::begin(node).await?;
        let runtime = node.runtime.clone();
        wait::until("the stop begins", SOON, async || {
            let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
            let answer = runtime.clone().pod_sandbox_status(request).await?.into_inner();
            let state = answer.status.context("a status")?.state();
            anyhow::ensure!(state == v1::PodSandboxState::SandboxNotready, "it is {state:?}");
            Ok(())
        })
        .await?;
        node.kill()?;
        signal(monitor, "KILL")?;
        assert!(stop.await?.is_err(), "the daemon is gone");
        node.start_again().await?;
        assert!(has_ended(&pause), "pause runs on");
        node.stop_sandbox(&id).await?;
        node.remove_sandbox(&id).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_create_that_was_cut_off_leaves_nothing_not_even_a_log() {
    need!();
    let held = HeldRuntime::new().expect("a script");
    let options = node::Options { runtimes: held.handler(), ..node::Options::default() };
    node::with(options, async |node| {
        let sandbox = requests::sandbox(node, "cut-off");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let mut container = requests::idle("c");
        // An image that is mounted as a volume by then goes too.
        container.mounts = vec![v1::Mount {
            container_path: "/volume".into(),
            image: container.image.clone(),
            readonly: true,
            ..Default::default()
        }];
        node.pull(&container.image.clone().unwrap_or_default().image).await?;
        let log = std::path::Path::new(&sandbox.log_directory).join(&container.log_path);
        let call = node.creating(&sandbox_id, &container, &sandbox);
        held.is_called().await?;
        appears(&log).await?;
        node.kill()?;
        assert!(call.await?.is_err(), "the daemon is gone");
        held.go_on()?;
        node.start_again().await?;
        let list = node.runtime.list_containers(v1::ListContainersRequest::default()).await?;
        assert_eq!(list.into_inner().containers, []);
        wait::until("it is undone", SOON, async || {
            // The kubelet would take it for the log of a first attempt, and count a restart.
            anyhow::ensure!(!log.exists(), "the log is left");
            let mounts = linkspan_tests::leftovers::mounts(node.prefix());
            anyhow::ensure!(!mounts.iter().any(|mount| mount.contains("/containers/")), "left: {mounts:?}");
            Ok(())
        })
        .await?;
        let id = node.create(&sandbox_id, &container, &sandbox).await?;
        node.start_container(&id).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn groups_of_a_pod_that_was_cut_off_go_with_it() {
    need!();
    // It waits for the network when the daemon is killed.
    let options = node::Options { network: false, ..node::Options::default() };
    node::with(options, async |node| {
        let outer = format!("{}/outer", node.cgroup());
        let mut config = requests::sandbox(node, "cut-off");
        config.linux.as_mut().context("linux")?.cgroup_parent = format!("/{outer}/inner");
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        let mut runtime = node.runtime.clone();
        let call = tokio::spawn(async move { runtime.run_pod_sandbox(request).await });
        wait::until("its group is made", SOON, async || {
            anyhow::ensure!(linkspan_tests::leftovers::cgroups(&outer).len() > 2);
            Ok(())
        })
        .await?;
        node.kill()?;
        assert!(call.await?.is_err(), "the daemon is gone");
        node.start_again().await?;
        wait::until("its groups are gone", SOON, async || {
            let groups = linkspan_tests::leftovers::cgroups(&outer);
            anyhow::ensure!(groups.is_empty(), "{groups:?}");
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_odd_file_among_the_records_is_set_aside_and_named_and_costs_no_other_pod() {
    need!();
    node::run(async |node| {
        let (kept, id) = node.run_pod(&requests::sandbox(node, "kept"), &requests::idle("c")).await?;
        let torn = node.run_sandbox(&requests::sandbox(node, "torn"), "").await?;
        node.kill()?;
        let state = node.prefix().join("var/lib/linkspan/state");
        let record = state.join("sandboxes").join(format!("{torn}.json"));
        std::fs::write(&record, &std::fs::read(&record)?[..200])?;
        std::fs::create_dir(state.join("containers/directory.json"))?;
        node.start_again().await?;
        assert_eq!(node.sandbox_status(&kept).await?.state(), v1::PodSandboxState::SandboxReady);
        assert_eq!(node.output(&id, &["echo", "hello"]).await?, "hello");
        assert_eq!(node.sandbox_status(&torn).await.unwrap_err().code(), tonic::Code::NotFound);
        wait::until("the torn pod is collected", SOON, async || {
            let addresses = node.network.addresses()?;
            anyhow::ensure!(
                addresses.len() == 2,
                "not those of the kept pod, one of each family: {addresses:?}"
            );
            Ok(())
        })
        .await?;
        let log = std::fs::read_to_string(node.prefix().join("daemon.log"))?;
        for name in [format!("sandboxes/{torn}.json.bad"), "containers/directory.json.bad".to_owned()] {
            let path = state.join(name);
            let said = log.lines().filter(|line| line.contains(&path.display().to_string())).count();
            assert!(path.exists() && said == 1, "{} is named {said} times", path.display());
        }
        std::fs::remove_file(record.with_extension("json.bad"))?;
        Ok(())
    })
    .await;
}

/// As a record of a version to come, which goes back again: the first line says which format it has.
fn set_format(record: &std::path::Path, format: u32) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(record)?;
    let (magic, rest) = text.split_once(' ').context("a record")?;
    let (_, rest) = rest.split_once(' ').context("a record")?;
    Ok(std::fs::write(record, format!("{magic} {format} {rest}"))?)
}

#[tokio::test]
async fn a_pod_of_another_version_runs_on_until_that_version_is_back() {
    need!();
    node::run(async |node| {
        let config = requests::sandbox(node, "theirs");
        let (sandbox_id, id) = node.run_pod(&config, &requests::idle("c")).await?;
        let (whole, one) = node.run_pod(&requests::sandbox(node, "half"), &requests::idle("one")).await?;
        let pids =
            [node.container_info(&id).await?["pid"].clone(), node.container_info(&one).await?["pid"].clone()];
        let state = node.prefix().join("var/lib/linkspan/state");
        let records = [format!("sandboxes/{sandbox_id}.json"), format!("containers/{one}.json")];
        node.kill()?;
        for record in &records {
            set_format(&state.join(record), 4711)?;
        }
        node.start_again().await?;

        let list = node.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.into_inner();
        let ids: Vec<&str> = list.items.iter().map(|sandbox| sandbox.id.as_str()).collect();
        assert_eq!(ids, [whole.as_str()]);
        let list = node.runtime.list_containers(v1::ListContainersRequest::default()).await?;
        assert_eq!(list.into_inner().containers, []);
        let log = std::fs::read_to_string(node.prefix().join("daemon.log"))?;
        for record in &records {
            let path = state.join(record).display().to_string();
            let said = log.lines().find(|line| line.contains(&path)).context("the record is named")?;
            assert!(said.contains("another version") && said.contains("written_by"), "{said}");
        }
        for pid in &pids {
            assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} was killed");
        }
        assert_eq!(node.network.addresses()?.len(), 4, "two pods, two families");

        node.kill()?;
        for record in &records {
            set_format(&state.join(record), 1)?;
        }
        node.start_again().await?;
        for (id, pid) in [&id, &one].into_iter().zip(pids) {
            assert_eq!(node.container_info(id).await?["pid"], pid, "the same process");
            assert_eq!(node.output(id, &["echo", "hello"]).await?, "hello");
        }
        assert_eq!(node.run_sandbox(&config, "").await?, sandbox_id);
        Ok(())
    })
    .await;
}

async fn appears(path: &std::path::Path) -> anyhow::Result<()> {
    wait::until("a file", SOON, async || {
        anyhow::ensure!(path.exists(), "no {}", path.display());
        Ok(())
    })
    .await
}
