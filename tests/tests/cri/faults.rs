//! Pulls from a registry that misbehaves: the right answer comes, or the right error, and nothing half is kept.

use std::time::Duration;

use linkspan_cri_api::v1;
use linkspan_tests::faults::FaultRegistry;
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests};
use tonic::{Code, Status};

async fn with(test: impl AsyncFnOnce(&mut Node, &FaultRegistry) -> anyhow::Result<()>) {
    let registry = FaultRegistry::start().await.unwrap();
    let options = Options {
        configuration: "[image]\nprogress_timeout = \"3s\"\n".into(),
        registries: registry.configuration("faults.test"),
        ..Options::default()
    };
    node::with(options, async |node| test(node, &registry).await).await;
}

async fn pull(node: &mut Node, repository: &str, auth: Option<v1::AuthConfig>) -> Result<String, Status> {
    let request = v1::PullImageRequest {
        image: Some(requests::image(&format!("faults.test/{repository}/x:latest"))),
        auth,
        ..Default::default()
    };
    let answer = tokio::time::timeout(Duration::from_secs(60), node.images.pull_image(request)).await;
    let answer = answer.map_err(|_| Status::deadline_exceeded("the pull did not end within a minute"))?;
    Ok(answer?.into_inner().image_ref)
}

fn user(password: &str) -> Option<v1::AuthConfig> {
    Some(v1::AuthConfig { username: "user".into(), password: password.into(), ..Default::default() })
}

#[tokio::test]
async fn a_pull_gets_through_what_passes() {
    need!();
    with(async |node, registry| {
        for fault in ["fine", "redirect", "recovers", "throttled", "hiccup", "slow", "anonymous"] {
            let id = pull(node, fault, None).await.map_err(|error| anyhow::anyhow!("{fault}: {error}"))?;
            let name = format!("faults.test/{fault}/x:latest");
            assert_eq!(node.image(&name).await?.map(|image| image.id), Some(id), "{fault}");
            // The layer is fetched anew for each, so that each fault is met.
            node.images.remove_image(v1::RemoveImageRequest { image: Some(requests::image(&name)) }).await?;
        }
        assert!(registry.layer_requests("hiccup/x") >= 2);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pull_that_cannot_succeed_says_why_and_keeps_nothing() {
    need!();
    with(async |node, _| {
        let mut complaints = Vec::new();
        for (fault, codes) in [
            ("missing", &[Code::NotFound][..]),
            (
                "gone",
                &[
                    Code::NotFound,
                    Code::Unavailable,
                    Code::DataLoss,
                    Code::Internal,
                    Code::FailedPrecondition,
                ],
            ),
            ("forbidden", &[Code::PermissionDenied, Code::Unauthenticated]),
            ("broken", &[Code::Unavailable]),
            ("garbage", &[Code::DataLoss, Code::Internal, Code::FailedPrecondition, Code::InvalidArgument]),
            ("wrong", &[Code::DataLoss, Code::Internal, Code::FailedPrecondition]),
            ("longer", &[Code::DataLoss, Code::Internal, Code::FailedPrecondition]),
            ("truncated", &[Code::Unavailable, Code::DataLoss, Code::Internal]),
            ("circle", &[Code::Unavailable, Code::Internal, Code::DataLoss]),
            ("stalls", &[Code::Unavailable, Code::DeadlineExceeded]),
            ("basic", &[Code::Unauthenticated, Code::PermissionDenied]),
            ("bearer", &[Code::Unauthenticated, Code::PermissionDenied]),
        ] {
            match pull(node, fault, None).await {
                Ok(id) => complaints.push(format!("{fault}: was pulled as {id}")),
                Err(refused) if !codes.contains(&refused.code()) => {
                    complaints.push(format!("{fault}: {refused}"))
                }
                Err(refused) if !refused.message().contains("faults.test") => {
                    complaints.push(format!("{fault}: names no image: {refused}"));
                }
                Err(_) => {}
            }
        }
        let images = node.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
        assert!(images.is_empty(), "{images:?}");
        let layers = node.prefix().join("var/lib/linkspan/images/layers");
        let left: Vec<_> = std::fs::read_dir(layers)?.flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{left:?}");
        anyhow::ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
        // And the node goes on.
        pull(node, "fine", None).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn credentials_are_used_where_they_are_asked_for() {
    need!();
    with(async |node, _| {
        pull(node, "basic", user("secret")).await?;
        pull(node, "bearer", user("secret")).await?;
        let refused = pull(node, "basic/other", user("wrong")).await.unwrap_err();
        assert!(matches!(refused.code(), Code::Unauthenticated | Code::PermissionDenied), "{refused}");
        assert!(!refused.message().contains("wrong"), "no password in a message: {refused}");
        let encoded = v1::AuthConfig { auth: "dXNlcjpzZWNyZXQ=".into(), ..Default::default() };
        pull(node, "basic/encoded", Some(encoded)).await?;
        let log = std::fs::read_to_string(node.prefix().join("daemon.log"))?;
        for secret in ["dXNlcjpzZWNyZXQ=", "secret-token", "password: \"secret\""] {
            assert!(!log.contains(secret), "{secret} is in the log");
        }
        Ok(())
    })
    .await;
}
