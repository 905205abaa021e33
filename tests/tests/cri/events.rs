//! GetContainerEvents, and what else a kubelet's evented PLEG takes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_cri_api::v1::ContainerEventType::{
    ContainerCreatedEvent as Created, ContainerDeletedEvent as Deleted, ContainerStartedEvent as Started,
    ContainerStoppedEvent as Stopped,
};
use linkspan_cri_api::v1::ContainerState::{ContainerExited, ContainerRunning};
use linkspan_tests::node::{Node, signal};
use linkspan_tests::{need, node, requests};
use tonic::{Code, Streaming};

const DEADLINE: Duration = Duration::from_secs(30);

type Events = Streaming<v1::ContainerEventResponse>;

async fn subscribe(node: &mut Node) -> Result<Events> {
    Ok(node.runtime.get_container_events(v1::GetEventsRequest {}).await?.into_inner())
}

async fn next(events: &mut Events) -> Result<v1::ContainerEventResponse> {
    let event = tokio::time::timeout(DEADLINE, events.message()).await.context("no event comes")??;
    event.context("the stream has ended")
}

/// The events until `id` is deleted.
async fn until_deleted(events: &mut Events, id: &str) -> Result<Vec<v1::ContainerEventResponse>> {
    let mut seen = Vec::new();
    loop {
        let event = next(events).await?;
        let last = event.container_id == id && event.container_event_type() == Deleted;
        seen.push(event);
        if last {
            return Ok(seen);
        }
    }
}

fn told(events: &[v1::ContainerEventResponse]) -> Vec<(&str, v1::ContainerEventType)> {
    events.iter().map(|event| (event.container_id.as_str(), event.container_event_type())).collect()
}

#[tokio::test]
async fn a_pods_life_is_told_with_its_state_after_each_step() {
    need!();
    node::run(async |node| {
        let (mut events, mut others) = (subscribe(node).await?, subscribe(node).await?);
        let (sandbox_id, id) = node.run_pod(&requests::sandbox(node, "told"), &requests::idle("c")).await?;
        node.trapped(&id).await?;
        node.stop_container(&id, 5).await?;
        node.stop_sandbox(&sandbox_id).await?;
        node.remove_sandbox(&sandbox_id).await?;

        let seen = until_deleted(&mut events, &sandbox_id).await?;
        let (pod, container) = (sandbox_id.as_str(), id.as_str());
        let expected = [
            (pod, Created),
            (pod, Started),
            (container, Created),
            (container, Started),
            (container, Stopped),
            (pod, Stopped),
            (container, Deleted),
            (pod, Deleted),
        ];
        assert_eq!(told(&seen), expected);
        assert_eq!(until_deleted(&mut others, &sandbox_id).await?, seen, "everybody is told the same");
        assert!(seen.windows(2).all(|pair| pair[0].created_at < pair[1].created_at), "in order of time");
        for event in &seen {
            let status = event.pod_sandbox_status.as_ref().context("the kubelet skips one without")?;
            assert_eq!(status.id, sandbox_id);
            assert_eq!(status.metadata.as_ref().context("metadata")?.uid, "uid-told");
        }
        let state = |index: usize| seen[index].containers_statuses.first().map(|status| status.state());
        assert_eq!(
            (state(1), state(3), state(4), state(6)),
            (None, Some(ContainerRunning), Some(ContainerExited), None)
        );
        assert_eq!(seen[4].containers_statuses[0].exit_code, 0);
        let ready = |index: usize| seen[index].pod_sandbox_status.as_ref().map(|status| status.state());
        assert_eq!(ready(4), Some(v1::PodSandboxState::SandboxReady));
        assert_eq!(ready(5), Some(v1::PodSandboxState::SandboxNotready));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_exit_that_nobody_asked_for_is_told() {
    need!();
    node::run(async |node| {
        let line = "trap 'exit 3' TERM; while :; do sleep 1000 & wait; done";
        let container = requests::container("c", &["sh", "-c", line]);
        let (_, id) = node.run_pod(&requests::sandbox(node, "exits"), &container).await?;
        let mut events = subscribe(node).await?;
        signal(node.trapped(&id).await?, "TERM")?;
        let event = next(&mut events).await?;
        assert_eq!((event.container_id.as_str(), event.container_event_type()), (id.as_str(), Stopped));
        assert_eq!(event.containers_statuses[0].exit_code, 3);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_container_that_is_over_at_once_is_told_to_have_run() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "short");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let mut events = subscribe(node).await?;
        for number in 0..5 {
            let name = format!("c{number}");
            let id =
                node.run_container(&sandbox_id, &requests::container(&name, &["true"]), &sandbox).await?;
            node.exited(&id).await?;
            node.remove_container(&id).await?;
            let seen = until_deleted(&mut events, &id).await?;
            let (first, last) = (seen.first().context("an event")?, &seen[seen.len() - 2]);
            assert_eq!((first.container_event_type(), last.container_event_type()), (Created, Stopped));
            assert!(seen.iter().any(|event| event.container_event_type() == Started));
            assert!(last.containers_statuses[0].started_at > 0, "the last word on it is the whole truth");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_stream_does_not_hold_up_the_end_of_the_daemon() {
    need!();
    node::run(async |node| {
        let mut events = subscribe(node).await?;
        let started = std::time::Instant::now();
        node.stop().await?;
        ensure!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
        let end = tokio::time::timeout(DEADLINE, events.message()).await?;
        assert_eq!(end.expect_err("an error, so that the kubelet lists anew").code(), Code::Unavailable);
        node.start_again().await?;
        let mut events = subscribe(node).await?;
        let sandbox_id = node.run_sandbox(&requests::sandbox(node, "later"), "").await?;
        assert_eq!(next(&mut events).await?.container_id, sandbox_id);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_sandboxs_status_has_its_containers_and_their_moment() {
    need!();
    node::run(async |node| {
        let mut events = subscribe(node).await?;
        let (sandbox_id, id) = node.run_pod(&requests::sandbox(node, "whole"), &requests::idle("c")).await?;
        node.run_pod(&requests::sandbox(node, "other"), &requests::idle("c")).await?;
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: sandbox_id, verbose: false };
        let answer = node.runtime.pod_sandbox_status(request).await?.into_inner();
        assert_eq!(answer.containers_statuses, [node.container_status(&id).await?]);
        for _ in 0..8 {
            let event = next(&mut events).await?;
            assert!(event.created_at < answer.timestamp, "what has happened is older than the answer");
        }
        Ok(())
    })
    .await;
}
