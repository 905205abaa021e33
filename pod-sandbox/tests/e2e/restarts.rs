//! A daemon that goes away and comes back.

use std::fs;

use linkspan_pod_sandbox::model::{ContainerState, SandboxState};
use linkspan_runtime_oci::Process;

use crate::node::{PATIENCE, node};

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_goes_on_and_is_found_again() {
    let mut node = node!();
    let sandbox = node.sandbox("adopted").await;
    let id = node.running(&sandbox, "main", "while :; do echo tick; sleep 0.05; done").await;
    let before = node.status(&id);
    node.restart().await;
    assert_eq!(node.status(&id), before);
    assert_eq!(node.pods.sandbox_status(sandbox.as_str()).unwrap().state, SandboxState::Ready);
    assert_eq!(node.exec(&id, "echo answer").await, "answer");
    node.pods.stop_container(id.as_str(), std::time::Duration::ZERO).await.unwrap();
    assert_eq!(node.status(&id).exit_code, 137);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_without_a_daemon_is_not_lost() {
    let mut node = node!();
    let sandbox = node.sandbox("meanwhile").await;
    let gate = node.dir.path().join("gate");
    rustix::fs::mkfifoat(rustix::fs::CWD, &gate, 0o600.into()).unwrap();
    let mut config = node.container_config("main", "cat /gate; exit 42");
    config.mounts.push(linkspan_pod_sandbox::model::Mount {
        container_path: "/gate".to_owned(),
        host_path: gate.display().to_string(),
        ..Default::default()
    });
    let id = node.started(&sandbox, config).await;
    let pid = node.pods.container_info(id.as_str()).await.unwrap()["pid"].as_i64().unwrap();
    let process = Process::of(i32::try_from(pid).unwrap()).unwrap();
    node.without_daemon(async || {
        tokio::task::spawn_blocking(move || fs::write(gate, "go")).await.unwrap().unwrap();
        let gone = async {
            while process.is_alive() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.unwrap();
    })
    .await;
    assert_eq!(node.exited(&id).await.exit_code, 42);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_pod_stays_stopped() {
    let mut node = node!();
    let sandbox = node.sandbox("stopped").await;
    let id = node.running(&sandbox, "main", "exit 3").await;
    node.exited(&id).await;
    node.pods.stop_sandbox(sandbox.as_str(), None).await.unwrap();
    let before = node.status(&id);
    node.restart().await;
    assert_eq!(node.status(&id), before);
    assert_eq!(node.pods.sandbox_status(sandbox.as_str()).unwrap().state, SandboxState::NotReady);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_monitor_a_pod_is_killed_and_can_be_removed() {
    let mut node = node!();
    for while_running in [true, false] {
        let sandbox = node.sandbox(if while_running { "now" } else { "later" }).await;
        let id = node.running(&sandbox, if while_running { "n" } else { "l" }, "exec sleep 3600").await;
        let info = node.pods.sandbox_info(sandbox.as_str()).unwrap();
        let monitor = Process::of(i32::try_from(info["monitorPid"].as_i64().unwrap()).unwrap()).unwrap();
        if while_running {
            monitor.signal(9).unwrap();
        } else {
            node.without_daemon(async || monitor.signal(9).unwrap()).await;
        }
        let status = node.exited(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (255, "Error"));
        assert!(status.message.contains("monitor"), "{}", status.message);
        assert_eq!(node.pods.sandbox_status(sandbox.as_str()).unwrap().state, SandboxState::NotReady);
        node.pods.remove_sandbox(sandbox.as_str()).await.unwrap();
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_all_is_ended_and_can_be_removed() {
    let mut node = node!();
    let sandbox = node.sandbox("rebooted").await;
    let id = node.running(&sandbox, "main", "exec sleep 3600").await;
    // The pods end, as the machine does; the records are those of another boot.
    let info = node.pods.sandbox_info(sandbox.as_str()).unwrap();
    let monitor = Process::of(i32::try_from(info["monitorPid"].as_i64().unwrap()).unwrap()).unwrap();
    let pid = node.pods.container_info(id.as_str()).await.unwrap()["pid"].as_i64().unwrap();
    let pause = i32::try_from(info["pid"].as_i64().unwrap()).unwrap();
    let processes = [monitor, Process::of(i32::try_from(pid).unwrap()).unwrap(), Process::of(pause).unwrap()];
    let state = node.dir.path().join("root/state");
    node.without_daemon(async || {
        for process in &processes {
            process.signal(9).unwrap();
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        for dir in ["sandboxes", "containers"] {
            for entry in fs::read_dir(state.join(dir)).unwrap().flatten() {
                let text = fs::read_to_string(entry.path()).unwrap();
                fs::write(entry.path(), text.replace(boot.trim(), "another-boot")).unwrap();
            }
        }
    })
    .await;
    let status = node.status(&id);
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 255));
    assert_eq!(node.pods.sandbox_status(sandbox.as_str()).unwrap().state, SandboxState::NotReady);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_record_is_torn_is_collected() {
    let mut node = node!();
    let sandbox = node.sandbox("torn").await;
    node.running(&sandbox, "main", "exec sleep 3600").await;
    let record = node.dir.path().join(format!("root/state/sandboxes/{sandbox}.json"));
    node.without_daemon(async || fs::write(&record, "half a rec").unwrap()).await;
    assert!(node.pods.sandbox_status(sandbox.as_str()).is_err());
    node.collected("pod directory").await;
    // For whoever wants to know what happened.
    fs::remove_file(record.with_extension("json.bad")).unwrap();
    node.end().await;
}
