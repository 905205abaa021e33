//! The `Stream*` RPCs: the same as the lists beside them, in messages of a bounded size.

use anyhow::Result;
use linkspan_cri_api::v1;
use linkspan_tests::{need, node, requests};
use tonic::{Code, Streaming};

/// All messages of a stream.
async fn messages<T>(mut stream: Streaming<T>) -> Result<Vec<T>> {
    let mut found = Vec::new();
    while let Some(message) = stream.message().await? {
        found.push(message);
    }
    Ok(found)
}

#[tokio::test]
async fn streams_tell_what_lists_tell() {
    need!();
    node::run(async |node| {
        let mut wanted = requests::sandbox(node, "wanted");
        wanted.labels.insert("app".into(), "wanted".into());
        let mut container = requests::idle("c");
        container.labels.insert("app".into(), "wanted".into());
        let (sandbox_id, id) = node.run_pod(&wanted, &container).await?;
        node.run_pod(&requests::sandbox(node, "other"), &requests::idle("c")).await?;

        for label_selector in [Default::default(), wanted.labels.clone()] {
            let expected = if label_selector.is_empty() { 2 } else { 1 };
            let filter =
                Some(v1::PodSandboxFilter { label_selector: label_selector.clone(), ..Default::default() });
            let request = v1::ListPodSandboxRequest { filter: filter.clone() };
            let list = node.runtime.list_pod_sandbox(request).await?.into_inner().items;
            let request = v1::StreamPodSandboxesRequest { filter };
            let stream = messages(node.runtime.stream_pod_sandboxes(request).await?.into_inner()).await?;
            assert_eq!(stream.into_iter().flat_map(|m| m.pod_sandboxes).collect::<Vec<_>>(), list);
            assert_eq!(list.len(), expected);

            let filter =
                Some(v1::ContainerFilter { label_selector: label_selector.clone(), ..Default::default() });
            let request = v1::ListContainersRequest { filter: filter.clone() };
            let list = node.runtime.list_containers(request).await?.into_inner().containers;
            let request = v1::StreamContainersRequest { filter };
            let stream = messages(node.runtime.stream_containers(request).await?.into_inner()).await?;
            assert_eq!(stream.into_iter().flat_map(|m| m.containers).collect::<Vec<_>>(), list);
            assert_eq!(list.len(), expected);
        }

        let filter = Some(v1::ContainerStatsFilter { id: id.clone(), ..Default::default() });
        let request = v1::StreamContainerStatsRequest { filter };
        let stream = messages(node.runtime.stream_container_stats(request).await?.into_inner()).await?;
        let ids = stream.into_iter().flat_map(|m| m.container_stats).map(|s| s.attributes.unwrap().id);
        assert_eq!(ids.collect::<Vec<_>>(), [id]);
        let filter = Some(v1::PodSandboxStatsFilter { id: sandbox_id.clone(), ..Default::default() });
        let request = v1::StreamPodSandboxStatsRequest { filter };
        let stream = messages(node.runtime.stream_pod_sandbox_stats(request).await?.into_inner()).await?;
        let ids = stream.into_iter().flat_map(|m| m.pod_sandbox_stats).map(|s| s.attributes.unwrap().id);
        assert_eq!(ids.collect::<Vec<_>>(), [sandbox_id]);

        let list = node.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
        let stream =
            messages(node.images.stream_images(v1::StreamImagesRequest::default()).await?.into_inner());
        assert_eq!(stream.await?.into_iter().flat_map(|m| m.images).collect::<Vec<_>>(), list);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_long_list_comes_in_several_messages_and_an_empty_one_in_none() {
    need!();
    node::run(async |node| {
        let request = v1::StreamPodSandboxesRequest::default;
        let stream = node.runtime.stream_pod_sandboxes(request()).await?.into_inner();
        assert_eq!(messages(stream).await?, []);
        for number in 0..4 {
            let mut sandbox = requests::sandbox(node, &format!("large{number}"));
            sandbox.annotations.insert("large".into(), "x".repeat(400_000));
            node.run_sandbox(&sandbox, "").await?;
        }
        let stream = node.runtime.stream_pod_sandboxes(request()).await?.into_inner();
        let sizes: Vec<_> = messages(stream).await?.iter().map(|m| m.pod_sandboxes.len()).collect();
        assert_eq!(sizes, [2, 2]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_state_that_is_unknown_is_refused_before_the_stream() {
    need!();
    node::run(async |node| {
        let filter =
            v1::ContainerFilter { state: Some(v1::ContainerStateValue { state: 42 }), ..Default::default() };
        let request = v1::StreamContainersRequest { filter: Some(filter) };
        let refused = node.runtime.stream_containers(request).await.expect_err("no such state");
        assert_eq!(refused.code(), Code::InvalidArgument);
        Ok(())
    })
    .await;
}
