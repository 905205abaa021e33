//! The ImageService, against a real registry.

use linkspan_cri_api::v1;
use linkspan_tests::{need, node, requests};
use tonic::Code;

async fn listed(node: &mut node::Node) -> anyhow::Result<Vec<v1::Image>> {
    Ok(node.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images)
}

async fn remove(node: &mut node::Node, name: &str) -> Result<(), tonic::Status> {
    node.images.remove_image(v1::RemoveImageRequest { image: Some(requests::image(name)) }).await.map(drop)
}

#[tokio::test]
async fn an_image_is_found_by_every_name_it_has() {
    need!();
    node::run(async |node| {
        assert!(node.image(requests::BUSYBOX).await?.is_none());
        let id = node.pull("busybox").await?;
        let image = node.image(requests::BUSYBOX).await?.unwrap();
        assert_eq!(image.id, id);
        assert_eq!(image.repo_tags, [requests::BUSYBOX]);
        assert!(image.size > 500_000);
        let digest = image.repo_digests.first().unwrap().clone();
        assert!(digest.starts_with("docker.io/library/busybox@sha256:"), "{digest}");
        let hex = id.trim_start_matches("sha256:").to_owned();
        for name in
            ["busybox", "library/busybox", "docker.io/busybox", &digest, &id, &hex, &hex[..12], &hex[..3]]
        {
            let found = node.image(name).await?.unwrap_or_else(|| panic!("not found by {name}"));
            assert_eq!(found, image, "{name}");
        }
        for name in ["abcdef", "sha256:", "docker.io/library/busybox:other", "nothing"] {
            if let Ok(found) = node.image(name).await {
                assert!(found.is_none() || hex.starts_with(name), "{name}: {found:?}");
            }
        }
        node.pull(&digest).await?;
        assert_eq!(listed(node).await?.len(), 1);
        Ok(())
    })
    .await;
}

/// A minimal host has no package of CA certificates, and needs none for a registry in its own network.
#[tokio::test]
async fn a_host_without_ca_certificates_pulls_by_plain_http() {
    need!();
    let environment = vec![("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/nonexistent")];
    node::with(node::Options { environment, ..node::Options::default() }, async |node| {
        // By hosts.toml, and by an insecure registry of registries.conf.
        node.pull("registry.linkspan.test/probe").await?;
        node.pull("busybox").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn several_tags_are_one_image_and_go_one_by_one() {
    need!();
    node::run(async |node| {
        let name = |tag: &str| format!("gcr.io/k8s-staging-cri-tools/test-image-tags:{tag}");
        let mut ids = Vec::new();
        for tag in ["1", "2", "3"] {
            ids.push(node.pull(&name(tag)).await?);
        }
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let mut images = listed(node).await?;
        assert_eq!(images.len(), 1);
        images[0].repo_tags.sort();
        assert_eq!(images[0].repo_tags, [name("1"), name("2"), name("3")]);
        remove(node, &name("2")).await?;
        remove(node, &name("2")).await?;
        let mut image = node.image(&name("1")).await?.unwrap();
        image.repo_tags.sort();
        assert_eq!(image.repo_tags, [name("1"), name("3")]);
        assert!(node.image(&name("2")).await?.is_none());
        remove(node, &ids[0]).await?;
        assert!(listed(node).await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn layers_of_every_compression_make_the_same_files() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "odd");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let line = "cd / && find attributes links names opaque removed sparse types written -type f -print0 \
                    | sort -z | xargs -0 sha256sum";
        let mut sums = Vec::new();
        for tag in ["gzip", "zstd", "plain"] {
            let mut config = requests::idle(tag);
            config.image = Some(requests::image(&format!("registry.linkspan.test/odd:{tag}")));
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            sums.push(node.shell(&id, line).await?);
        }
        assert!(sums[0].lines().count() > 20, "{}", sums[0]);
        assert!(sums.iter().all(|sum| *sum == sums[0]));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn sparse_files_in_gnu_tars_older_form_are_whole() {
    need!();
    node::run(async |node| {
        let mut config = requests::idle("c");
        config.image = Some(requests::image("registry.linkspan.test/sparse:old"));
        let (_, id) = node.run_pod(&requests::sandbox(node, "sparse"), &config).await?;
        assert_eq!(node.output(&id, &["stat", "-c", "%s", "/sparse/old"]).await?, "4000000");
        assert_eq!(node.shell(&id, "head -c 5 /sparse/old").await?, "begin");
        assert_eq!(node.shell(&id, "tail -c +3000001 /sparse/old | head -c 3").await?, "end");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn many_callers_of_one_pull_get_one_image() {
    need!();
    node::run(async |node| {
        let pulls = (0..20).map(|_| {
            let mut images = node.images.clone();
            let request =
                v1::PullImageRequest { image: Some(requests::image(requests::NGINX)), ..Default::default() };
            async move { images.pull_image(request).await.map(|answer| answer.into_inner().image_ref) }
        });
        let answers: Vec<String> =
            futures_util::future::join_all(pulls).await.into_iter().collect::<Result<_, _>>()?;
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        assert_eq!(listed(node).await?.len(), 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_image_in_use_stays_until_its_container_goes() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "used"), &requests::idle("c")).await?;
        let image_id = node.container_status(&id).await?.image_id;
        let outcome = remove(node, &image_id).await;
        // The container goes on in either case; the name may be gone, the files may not.
        assert_eq!(node.output(&id, &["echo", "still", "here"]).await?, "still here");
        if let Err(refused) = outcome {
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        }
        node.stop_container(&id, 5).await?;
        node.remove_container(&id).await?;
        remove(node, &image_id).await?;
        assert!(listed(node).await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_the_registry_lacks_is_said_by_name() {
    need!();
    node::run(async |node| {
        for name in ["registry.linkspan.test/no/such/image", "docker.io/library/busybox:no-such-tag"] {
            let refused = node.pull(name).await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound, "{refused}");
            assert!(refused.message().contains(name.split(':').next().unwrap()), "{refused}");
        }
        remove(node, "registry.linkspan.test/no/such/image").await?;
        assert!(listed(node).await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_users_of_images_are_told_apart_by_kind() {
    need!();
    node::run(async |node| {
        for (image, uid, username) in [
            ("test-image-user-uid", Some(1002), ""),
            ("test-image-user-username", None, "www-data"),
            ("test-image-user-uid-group", Some(1003), ""),
            ("test-image-user-username-group", None, "www-data"),
        ] {
            let name = format!("gcr.io/k8s-staging-cri-tools/{image}");
            node.pull(&name).await?;
            let found = node.image(&name).await?.unwrap();
            assert_eq!((found.uid.map(|uid| uid.value), found.username.as_str()), (uid, username), "{image}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn all_images_of_the_suites_can_be_pulled() {
    need!();
    node::run(async |node| {
        for name in [
            "registry.k8s.io/pause:3.9",
            "registry.k8s.io/pause:3.10.1",
            "k8s.gcr.io/pause:3.9",
            "registry.k8s.io/e2e-test-images/busybox:1.29-2",
            "registry.k8s.io/e2e-test-images/nginx:1.14-2",
            "registry.k8s.io/e2e-test-images/nonewprivs:1.3",
            "gcr.io/k8s-staging-cri-tools/test-image-latest",
            "registry.linkspan.test/configured",
        ] {
            let id = node.pull(name).await?;
            let image = node.image(name).await?.unwrap();
            assert_eq!(image.id, id);
            assert!(!image.repo_digests.is_empty(), "{name} has a digest");
        }
        Ok(())
    })
    .await;
}
