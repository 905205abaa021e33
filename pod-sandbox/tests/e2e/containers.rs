//! Containers from create to remove.

use std::time::Duration;

use linkspan_pod_sandbox::Error;
use linkspan_pod_sandbox::model::{
    ContainerFilter, ContainerState, ContainerStatsFilter, Resources, Timestamp,
};

use crate::node::node;

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_is_told_with_its_code_reason_and_times() {
    let node = node!();
    let sandbox = node.sandbox("exits").await;
    for (name, script, code, reason) in [("good", "exit 0", 0, "Completed"), ("bad", "exit 7", 7, "Error")] {
        let id = node.running(&sandbox, name, script).await;
        let status = node.exited(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (code, reason));
        assert!(Timestamp(0) < status.created_at && status.created_at <= status.started_at);
        assert!(status.started_at <= status.finished_at);
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_of_what_has_not_happened() {
    let node = node!();
    let sandbox = node.sandbox("fresh").await;
    let config = node.container_config("main", "exec sleep 3600");
    let id = node.pods.create_container(sandbox.as_str(), config).await.unwrap();
    let status = node.status(&id);
    assert_eq!(status.state, ContainerState::Created);
    assert_eq!((status.started_at, status.finished_at, status.exit_code), (Timestamp(0), Timestamp(0), 0));
    assert_eq!(status.reason, "");
    assert!(node.log_dir().join("main.log").exists(), "the log is there as soon as the container is");
    // Exec into a created container is allowed.
    assert_eq!(node.exec(&id, "echo early").await, "early");
    node.pods.stop_container(id.as_str(), Duration::ZERO).await.unwrap();
    let status = node.status(&id);
    assert_eq!((status.state, status.started_at), (ContainerState::Exited, Timestamp(0)));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_fails_leaves_nothing_and_its_name_free() {
    let node = node!();
    let sandbox = node.sandbox("failing").await;
    let mut config = node.container_config("main", "");
    config.command = vec!["/no/such/command".to_owned()];
    let error = match node.pods.create_container(sandbox.as_str(), config.clone()).await {
        Err(error) => error,
        // Some runtimes notice only at start.
        Ok(id) => node.pods.start_container(id.as_str()).await.unwrap_err(),
    };
    assert!(error.to_string().contains("/no/such/command"), "{error}");
    assert_eq!(node.pods.list_containers(&ContainerFilter::default()), []);
    config.image.image = "no/such/image".to_owned();
    assert!(matches!(
        node.pods.create_container(sandbox.as_str(), config).await,
        Err(Error::Joined(error)) if matches!(*error, Error::NoSuchImage(_))
    ));
    node.running(&sandbox, "main", "exec sleep 3600").await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_metadata_is_the_same_container() {
    let node = node!();
    let sandbox = node.sandbox("twice").await;
    let config = node.container_config("main", "exec sleep 3600");
    let create = || node.pods.create_container(sandbox.as_str(), config.clone());
    let (first, second) = tokio::join!(create(), create());
    let first = first.unwrap();
    assert_eq!(second.unwrap(), first);
    assert_eq!(create().await.unwrap(), first);
    node.pods.remove_container(first.as_str()).await.unwrap();
    assert_ne!(create().await.unwrap(), first);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn start_is_for_once() {
    let node = node!();
    let sandbox = node.sandbox("once").await;
    let id = node.running(&sandbox, "main", "exec sleep 3600").await;
    assert!(matches!(node.pods.start_container(id.as_str()).await, Err(Error::Refused(_))));
    node.pods.stop_container(id.as_str(), Duration::ZERO).await.unwrap();
    assert!(matches!(node.pods.start_container(id.as_str()).await, Err(Error::Refused(_))));
    assert!(matches!(node.pods.start_container("beef").await, Err(Error::NoSuchContainer(_))));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_narrowed_by_all_that_is_given() {
    let node = node!();
    let (one, other) = (node.sandbox("one").await, node.sandbox("other").await);
    let running = node.running(&one, "main", "exec sleep 3600").await;
    let exited = node.running(&other, "main", "true").await;
    node.exited(&exited).await;
    let list = |id: &str, sandbox_id: &str, state| {
        let filter = ContainerFilter {
            id: id.to_owned(),
            sandbox_id: sandbox_id.to_owned(),
            state,
            ..Default::default()
        };
        node.pods.list_containers(&filter).into_iter().map(|status| status.id).collect::<Vec<_>>()
    };
    assert_eq!(list("", "", None).len(), 2);
    assert_eq!(list("", one.as_str(), None), std::slice::from_ref(&running));
    assert_eq!(list("", "", Some(ContainerState::Exited)), std::slice::from_ref(&exited));
    assert_eq!(list(&exited.as_str()[..10], other.as_str(), None), std::slice::from_ref(&exited));
    assert_eq!(list(exited.as_str(), one.as_str(), None), []);
    assert!(node.pods.container_status(&running.as_str()[..12]).is_ok(), "IDs may be shortened");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_shown_and_changed() {
    let node = node!();
    let sandbox = node.sandbox("limits").await;
    let mut config = node.container_config("main", "exec sleep 3600");
    config.linux.resources.memory_limit_bytes = 64 << 20;
    config.linux.resources.cpu_shares = 512;
    let id = node.started(&sandbox, config).await;
    assert_eq!(node.status(&id).resources.memory_limit_bytes, 64 << 20);
    let wanted = Resources { memory_limit_bytes: 128 << 20, ..Resources::default() };
    node.pods.update_container_resources(id.as_str(), wanted).await.unwrap();
    let shown = node.status(&id).resources;
    assert_eq!((shown.memory_limit_bytes, shown.cpu_shares), (128 << 20, 512));
    let cgroups = linkspan_runtime_oci::Cgroups::detect(&node.config.cgroup).unwrap();
    let path = format!("/{}/{sandbox}/{id}", node.config.cgroup.name);
    assert_eq!(cgroups.limits(&path).unwrap().memory_limit_bytes, 128 << 20);
    let negative = Resources { cpu_shares: -1, ..Resources::default() };
    let refused = node.pods.update_container_resources(id.as_str(), negative).await;
    assert!(matches!(refused, Err(Error::BadConfig { field, .. }) if field == "linux.cpu_shares"));
    node.pods.stop_container(id.as_str(), Duration::ZERO).await.unwrap();
    let refused = node.pods.update_container_resources(id.as_str(), Resources::default()).await;
    assert!(matches!(refused, Err(Error::Refused(_))));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_beyond_the_limit_is_told_as_such() {
    let node = node!();
    let sandbox = node.sandbox("oom").await;
    let mut config = node.container_config("main", "dd if=/dev/zero of=/dev/null bs=200M count=1");
    config.linux.resources.memory_limit_bytes = 16 << 20;
    config.linux.resources.memory_swap_limit_bytes = 16 << 20;
    let id = node.started(&sandbox, config).await;
    let status = node.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_of_those_that_run() {
    let node = node!();
    let sandbox = node.sandbox("stats").await;
    let id = node.running(&sandbox, "main", "head -c 100000 /dev/zero > /tmp/file; exec sleep 3600").await;
    let gone = node.running(&sandbox, "gone", "true").await;
    node.exited(&gone).await;
    let stats = node.pods.container_stats(id.as_str()).await.unwrap();
    assert!(stats.cgroup.memory_usage_bytes > 0 && stats.cgroup.cpu_usage_ns > 0);
    assert!(stats.writable_layer.is_some());
    let listed = node.pods.list_container_stats(&ContainerStatsFilter::default()).await;
    assert_eq!(listed.iter().map(|stats| &stats.attributes.id).collect::<Vec<_>>(), [&id]);
    let pod = node.pods.sandbox_stats(sandbox.as_str()).await.unwrap();
    assert_eq!(pod.containers.len(), 1);
    assert!(pod.process_count >= 2, "pause and sleep, but {}", pod.process_count);
    assert!(pod.cgroup.memory_usage_bytes >= pod.containers[0].cgroup.memory_usage_bytes / 2);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_log_gets_no_more_lines() {
    let node = node!();
    let sandbox = node.sandbox("rotate").await;
    let id = node.running(&sandbox, "main", "echo before; exec sleep 3600").await;
    let (log, rotated) = (node.log_dir().join("main.log"), node.log_dir().join("main.log.1"));
    std::fs::rename(&log, &rotated).unwrap();
    node.pods.reopen_container_log(id.as_str()).await.unwrap();
    assert!(log.exists());
    node.pods.stop_container(id.as_str(), Duration::ZERO).await.unwrap();
    assert!(matches!(node.pods.reopen_container_log(id.as_str()).await, Err(Error::Refused(_))));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_one() {
    let node = node!();
    let sandbox = node.sandbox("tty").await;
    let mut config = node.container_config("main", "test -t 1 && echo terminal; exec sleep 3600");
    config.tty = true;
    let id = node.started(&sandbox, config).await;
    assert_eq!(node.exec(&id, "test -t 1 && echo $TERM").await, "xterm");
    node.pods.stop_container(id.as_str(), Duration::ZERO).await.unwrap();
    assert!(node.log("main").contains("terminal"), "{}", node.log("main"));
    node.end().await;
}
