//! StopContainer: signals, grace, and several callers.

use std::time::Duration;

use linkspan_pod_sandbox::model::ContainerState;

use crate::node::{PATIENCE, node};

/// Waits until the script has set its traps: PID 1 ignores what it does not handle.
const READY: &str = "until test -e /tmp/ready; do sleep 0.01; done";

#[tokio::test(flavor = "multi_thread")]
async fn a_container_may_end_by_itself_when_asked() {
    let node = node!();
    let sandbox = node.sandbox("polite").await;
    let id = node
        .running(&sandbox, "main", "trap 'exit 7' TERM; touch /tmp/ready; while :; do sleep 0.1; done")
        .await;
    node.exec(&id, READY).await;
    node.pods.stop_container(id.as_str(), PATIENCE).await.unwrap();
    assert_eq!(node.status(&id).exit_code, 7);
    // Stopped is stopped.
    node.pods.stop_container(id.as_str(), PATIENCE).await.unwrap();
    node.pods.stop_container("cafe", PATIENCE).await.unwrap();
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_does_not_listen_is_killed() {
    let node = node!();
    let sandbox = node.sandbox("deaf").await;
    let id =
        node.running(&sandbox, "main", "trap '' TERM; touch /tmp/ready; while :; do sleep 0.1; done").await;
    node.exec(&id, READY).await;
    node.pods.stop_container(id.as_str(), Duration::from_millis(300)).await.unwrap();
    assert_eq!(node.status(&id).exit_code, 137);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signal_is_the_one_asked_for() {
    let node = node!();
    let sandbox = node.sandbox("signal").await;
    let mut config =
        node.container_config("main", "trap 'exit 9' USR1; touch /tmp/ready; while :; do sleep 0.1; done");
    config.stop_signal = Some("SIGUSR1".parse().unwrap());
    let id = node.started(&sandbox, config).await;
    node.exec(&id, READY).await;
    assert_eq!(node.status(&id).stop_signal.to_string(), "SIGUSR1");
    node.pods.stop_container(id.as_str(), PATIENCE).await.unwrap();
    assert_eq!(node.status(&id).exit_code, 9);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_impatient_caller_decides() {
    let node = node!();
    let sandbox = node.sandbox("impatient").await;
    let id =
        node.running(&sandbox, "main", "trap '' TERM; touch /tmp/ready; while :; do sleep 0.1; done").await;
    node.exec(&id, READY).await;
    let long = node.pods.stop_container(id.as_str(), Duration::from_secs(3000));
    let short = node.pods.stop_container(id.as_str(), Duration::from_millis(200));
    let both = async { tokio::join!(long, short) };
    let (long, short) = tokio::time::timeout(PATIENCE, both).await.expect("the short grace counts");
    long.unwrap();
    short.unwrap();
    assert_eq!(node.status(&id).state, ContainerState::Exited);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_callers_leave_the_container_lives() {
    let node = node!();
    let sandbox = node.sandbox("reprieve").await;
    let id = node
        .running(&sandbox, "main", "trap 'echo asked' TERM; touch /tmp/ready; while :; do sleep 0.1; done")
        .await;
    node.exec(&id, READY).await;
    let stop = node.pods.stop_container(id.as_str(), Duration::from_millis(600));
    let left = tokio::time::timeout(Duration::from_millis(200), stop).await;
    assert!(left.is_err());
    // Longer than the grace would have been.
    assert_eq!(node.exec(&id, "sleep 1; echo alive").await, "alive");
    assert!(node.log("main").contains("asked"), "the signal is not taken back");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_container_is_removed_by_force() {
    let node = node!();
    let sandbox = node.sandbox("force").await;
    let id =
        node.running(&sandbox, "main", "trap '' TERM; touch /tmp/ready; while :; do sleep 0.1; done").await;
    node.exec(&id, READY).await;
    node.pods.remove_container(id.as_str()).await.unwrap();
    node.pods.remove_container(id.as_str()).await.unwrap();
    assert!(node.pods.container_status(id.as_str()).is_err());
    node.end().await;
}
