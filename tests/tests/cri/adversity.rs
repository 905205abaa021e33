//! A second thing goes wrong: the disk of the records is full when a container exits, the connection to a monitor breaks. What has
//! happened is known all the same, and what is not needed for it goes on.

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::host_mount::HostMount;
use linkspan_tests::hung::FrozenDisk;
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests, tools, wait};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

const SOON: Duration = Duration::from_secs(30);

/// Another disk for the records, as small as can be.
fn small_disk(node: &Node) -> Result<HostMount> {
    let records = node.prefix().join("var/lib/linkspan/state");
    let disk = HostMount::tmpfs(&records)?;
    rustix::mount::mount_remount(&records, rustix::mount::MountFlags::empty(), c"size=512k")?;
    Ok(disk)
}

fn fill(disk: &Path) -> Result<()> {
    let mut filler = fs::File::create(disk.join("filler"))?;
    while filler.write_all(&[0; 4096]).is_ok() {}
    Ok(())
}

async fn is_logged(node: &Node, text: &str) -> Result<()> {
    let log = node.prefix().join("daemon.log");
    wait::until("the daemon says so", SOON, async || {
        ensure!(fs::read_to_string(&log)?.contains(text), "{text:?} is not in its log");
        Ok(())
    })
    .await
}

/// What a pod that fills the node's disk leads to: the kubelet evicts it, and its space comes back.
#[tokio::test]
async fn pods_end_on_a_full_disk_and_are_recorded_when_there_is_room() {
    need!();
    node::run(async |node| {
        let disk = small_disk(node)?;
        let sandbox = requests::sandbox(node, "evicted");
        let line = "trap 'exit 9' TERM; while :; do sleep 1000 & wait; done";
        let (evicted, stopped) =
            node.run_pod(&sandbox, &requests::container("c", &["sh", "-c", line])).await?;
        node.trapped(&stopped).await?;
        let kept = requests::sandbox(node, "kept");
        let (kept_id, exits) = node
            .run_pod(
                &kept,
                &requests::container("c", &["sh", "-c", "mkfifo /x; echo ready; read x < /x; exit 7"]),
            )
            .await?;
        node.log_lines(&exits, |lines| !lines.is_empty()).await?;
        let starts = node.create(&kept_id, &requests::idle("starts"), &kept).await?;
        fill(disk.path())?;

        node.stop_container(&stopped, 10).await?;
        assert_eq!(node.container_status(&stopped).await?.exit_code, 9);
        node.stop_sandbox(&evicted).await?;
        node.remove_sandbox(&evicted).await?;
        // With the pod its records went, and left room.
        fs::remove_file(disk.path().join("filler"))?;
        fill(disk.path())?;
        let refused = node.create(&kept_id, &requests::idle("new"), &kept).await.unwrap_err();
        assert!(refused.message().contains("No space left"), "{}", refused.message());
        node.start_container(&starts).await?;
        assert_eq!(node.container_status(&starts).await?.state(), v1::ContainerState::ContainerRunning);
        node.shell(&exits, "echo go > /x").await?;
        assert_eq!(node.exited(&exits).await?.exit_code, 7);

        fs::remove_file(disk.path().join("filler"))?;
        is_logged(node, "all records are written again").await?;
        node.kill()?;
        node.start_again().await?;
        assert_eq!(node.container_status(&exits).await?.exit_code, 7);
        assert_eq!(node.container_status(&starts).await?.state(), v1::ContainerState::ContainerRunning);
        node.remove_pods().await
    })
    .await;
}

/// A disk that is not full, and answers nobody: a journal that waits, a network's storage.
#[tokio::test]
async fn pods_end_though_the_disk_of_their_records_does_not_answer() {
    need!();
    node::run(async |node| {
        let disk = FrozenDisk::new(&node.prefix().join("var/lib/linkspan/state"))?;
        let sandbox = requests::sandbox(node, "ends");
        let waits = requests::container("waits", &["sh", "-c", "mkfifo /x; echo ready; read x < /x; exit 7"]);
        let (sandbox_id, exits) = node.run_pod(&sandbox, &waits).await?;
        node.log_lines(&exits, |lines| !lines.is_empty()).await?;
        let stopped = node.run_container(&sandbox_id, &requests::idle("stopped"), &sandbox).await?;
        let (_, kept) = node.run_pod(&requests::sandbox(node, "kept"), &requests::idle("c")).await?;
        disk.freeze()?;
        // One whose record cannot be written: nobody waits for it but who asked.
        let create = node.creating(&sandbox_id, &requests::idle("new"), &sandbox);
        node.shell(&exits, "echo go > /x").await?;
        assert_eq!(node.exited(&exits).await?.exit_code, 7);
        node.stop_container(&stopped, 0).await?;
        // By the signal or by itself, whichever came first.
        let end = node.container_status(&stopped).await?;
        assert_eq!(end.state(), v1::ContainerState::ContainerExited);
        assert_eq!(node.output(&kept, &["echo", "works"]).await?, "works");
        disk.thaw()?;
        create.await??;
        node.kill()?;
        node.start_again().await?;
        assert_eq!(node.container_status(&exits).await?.exit_code, 7);
        assert_eq!(node.container_status(&stopped).await?, end);
        node.remove_pods().await
    })
    .await;
}

/// As whoever takes the daemon's place at a monitor.
fn hello(pod_dir: &Path) -> Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let dir = rustix::fs::open(
        pod_dir,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    use std::os::fd::AsRawFd as _;
    let short = format!("/proc/self/fd/{}/monitor.sock", dir.as_raw_fd());
    rustix::net::connect(&socket, &SocketAddrUnix::new(short)?)?;
    rustix::net::send(
        &socket,
        br#"J{"id":1,"call":{"hello":{"version":1,"oldest_version":1}}}"#,
        SendFlags::empty(),
    )?;
    Ok(socket)
}

#[tokio::test]
async fn a_pod_outlives_the_connection_to_its_monitor() {
    need!();
    node::run(async |node| {
        let (sandbox_id, id) = node.run_pod(&requests::sandbox(node, "cut"), &requests::idle("c")).await?;
        let stranger = hello(&node.prefix().join("run/linkspan/pods").join(&sandbox_id))?;
        is_logged(node, "connection to the pod's monitor is lost").await?;
        let runtime = node.runtime.clone();
        wait::until("the monitor is asked again", SOON, async || {
            let request =
                v1::ExecSyncRequest { container_id: id.clone(), cmd: vec!["true".to_owned()], timeout: 5 };
            ensure!(runtime.clone().exec_sync(request).await?.into_inner().exit_code == 0);
            Ok(())
        })
        .await?;
        drop(stranger);
        assert_eq!(node.sandbox_status(&sandbox_id).await?.state(), v1::PodSandboxState::SandboxReady);
        node.stop_container(&id, 0).await?;
        assert_eq!(node.container_status(&id).await?.state(), v1::ContainerState::ContainerExited);
        Ok(())
    })
    .await;
}

/// SIGKILL does not reach a process that waits for a disk.
#[tokio::test]
async fn of_a_dead_monitors_containers_one_that_does_not_die_holds_up_none() {
    need!();
    node::run(async |node| {
        let frozen = FrozenDisk::new(&node.prefix().join("disk"))?;
        let sandbox = requests::sandbox(node, "stuck");
        let mut config =
            requests::container("writes", &["sh", "-c", "while :; do echo line >>/disk/file; done"]);
        config.mounts = vec![v1::Mount {
            container_path: "/disk".into(),
            host_path: node.prefix().join("disk").display().to_string(),
            ..Default::default()
        }];
        let (sandbox_id, stuck) = node.run_pod(&sandbox, &config).await?;
        let mut others = Vec::new();
        for name in ["a", "b", "c"] {
            others.push(node.run_container(&sandbox_id, &requests::idle(name), &sandbox).await?);
        }
        frozen.freeze()?;
        let pid: u32 = node.container_info(&stuck).await?["pid"].to_string().parse()?;
        wait::until("it waits for the disk", SOON, async || {
            ensure!(fs::read_to_string(format!("/proc/{pid}/status"))?.contains("State:\tD"));
            Ok(())
        })
        .await?;
        node::signal(node.monitor(&sandbox_id)?, "KILL")?;
        for id in &others {
            assert_eq!(node.exited(id).await?.exit_code, 255);
            node.stop_container(id, 0).await?;
        }
        let state = node.container_status(&stuck).await?.state();
        assert_eq!(state, v1::ContainerState::ContainerUnknown);
        frozen.thaw()?;
        assert_eq!(node.exited(&stuck).await?.exit_code, 255);
        node.stop_sandbox(&sandbox_id).await?;
        node.remove_sandbox(&sandbox_id).await?;
        Ok(())
    })
    .await;
}

/// What a network does whose controller is away: ADD fails, and so does the DEL after it.
#[tokio::test]
async fn what_a_failed_pod_left_in_its_network_goes_when_the_network_is_well_again() {
    need!();
    let folder = tempfile::tempdir().expect("a folder");
    let hold = folder.path().join("hold");
    let script = format!(
        "#!/bin/sh\ncase $CNI_COMMAND in ADD|DEL) [ ! -e {} ] || exit 1;; esac\n[ $CNI_COMMAND != ADD ] || cat\n",
        hold.display()
    );
    let bin = tools::cni_plugins_and(folder.path(), "failing", &script).expect("plugins");
    node::with(Options { cni_bin_dir: Some(bin), ..Options::default() }, async |node| {
        let add = |list: &mut serde_json::Value| {
            list["plugins"].as_array_mut().unwrap().push(serde_json::json!({ "type": "failing" }));
        };
        node.change_network(add).await?;
        fs::write(&hold, "")?;
        let failed = node.run_sandbox(&requests::sandbox(node, "fails"), "").await.unwrap_err();
        assert!(failed.to_string().contains("failing"), "{failed:#}");
        let records = node.prefix().join("var/lib/linkspan/state/sandboxes");
        let recorded = || anyhow::Ok(fs::read_dir(&records)?.count());
        assert_eq!(recorded()?, 1, "what its network holds is not forgotten");
        fs::remove_file(&hold)?;
        wait::until("the plugins have let go of it", SOON, async || {
            ensure!(recorded()? == 0, "its record is there");
            Ok(())
        })
        .await
    })
    .await;
}

/// What a cluster's network does while the cluster's API is away: no ADD and no DEL is answered.
#[tokio::test]
async fn a_daemon_serves_at_once_though_pods_are_stuck_in_their_network() {
    need!();
    let folder = tempfile::tempdir().expect("a folder");
    let hold = folder.path().join("hold");
    let script = format!(
        "#!/bin/sh\ncase $CNI_COMMAND in ADD|DEL) while [ -e {} ]; do sleep 0.1; done;; esac\necho '{{\"cniVersion\":\"1.0.0\"}}'\n",
        hold.display()
    );
    let bin = tools::cni_plugins_and(folder.path(), "silent", &script).expect("plugins");
    node::with(Options { cni_bin_dir: Some(bin), ..Options::default() }, async |node| {
        let add = |list: &mut serde_json::Value| {
            list["plugins"].as_array_mut().unwrap().insert(0, serde_json::json!({ "type": "silent" }));
        };
        node.change_network(add).await?;
        let (sandbox_id, id) = node.run_pod(&requests::sandbox(node, "works"), &requests::idle("c")).await?;
        fs::write(&hold, "")?;
        let records = node.prefix().join("var/lib/linkspan/state/sandboxes");
        let recorded = || anyhow::Ok(fs::read_dir(&records)?.count());
        let mut stuck = Vec::new();
        for number in 0..10 {
            let (mut runtime, config) =
                (node.runtime.clone(), requests::sandbox(node, &format!("stuck-{number}")));
            stuck.push(tokio::spawn(async move {
                let request = v1::RunPodSandboxRequest { config: Some(config), ..Default::default() };
                runtime.run_pod_sandbox(request).await
            }));
        }
        let attached = node.prefix().join("var/lib/cni/results");
        wait::until("they are in ADD", SOON, async || {
            let count = fs::read_dir(&attached)?.count();
            ensure!(count == 11, "{count} attachments are begun");
            Ok(())
        })
        .await?;
        node.kill()?;
        for create in stuck {
            ensure!(create.await?.is_err(), "the daemon is dead");
        }
        let begun = Instant::now();
        node.start_again().await?;
        let after = begun.elapsed();
        // Far less than one DEL may take.
        ensure!(after < Duration::from_secs(10), "it serves after {after:?}");
        assert_eq!(node.output(&id, &["echo", "works"]).await?, "works");
        assert_eq!(node.sandbox_status(&sandbox_id).await?.state(), v1::PodSandboxState::SandboxReady);
        let listed = node.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.into_inner();
        assert_eq!(listed.items.len(), 1, "what is half made is not shown");
        assert_eq!(recorded()?, 11, "what it holds is not forgotten");

        fs::remove_file(&hold)?;
        wait::until("what was half made is gone", Duration::from_secs(90), async || {
            let (records, attachments) = (recorded()?, fs::read_dir(&attached)?.count());
            ensure!((records, attachments) == (1, 1), "{records} records, {attachments} attachments");
            Ok(())
        })
        .await?;
        assert_eq!(node.output(&id, &["echo", "works"]).await?, "works");
        let log = fs::read_to_string(node.prefix().join("daemon.log"))?;
        ensure!(!log.contains("collected what nobody owned"), "all had an owner");
        Ok(())
    })
    .await;
}
