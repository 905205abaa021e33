//! Images and artifacts as volumes (CRI `Mount.image`).

use anyhow::Result;
use linkspan_cri_api::v1;
use linkspan_tests::node::Node;
use linkspan_tests::tools::HeldRuntime;
use linkspan_tests::{need, node, requests};
use tonic::Code;

const HTTPD: &str = "registry.k8s.io/e2e-test-images/httpd:2.4.39-4";
const ODD: &str = "registry.linkspan.test/odd:gzip";
const FILES: &str = "registry.linkspan.test/files:latest";

fn volume(image: &str, container_path: &str, sub_path: &str) -> v1::Mount {
    v1::Mount {
        container_path: container_path.to_owned(),
        image: Some(requests::image(image)),
        image_sub_path: sub_path.to_owned(),
        readonly: true,
        ..Default::default()
    }
}

async fn remove(node: &mut Node, name: &str) -> Result<(), tonic::Status> {
    node.images.remove_image(v1::RemoveImageRequest { image: Some(requests::image(name)) }).await.map(drop)
}

/// Options of the mount at a path, as the container sees them.
async fn options(node: &mut Node, id: &str, path: &str) -> Result<Vec<String>> {
    let line = format!("awk '$2 == \"{path}\" {{ print $4 }}' /proc/mounts");
    Ok(node.shell(id, &line).await?.split(',').map(str::to_owned).collect())
}

#[tokio::test]
async fn an_image_is_a_volume_for_reading_alone() {
    need!(Runc);
    node::run(async |node| {
        for handler in ["crun", "runc"] {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let pulled = node.pull(HTTPD).await?;
            let mut config = requests::idle("c");
            // The kubelet sends what PullImage answered.
            config.mounts = vec![volume(&pulled, "/volume", ""), volume(HTTPD, "/etc-of-it", "etc")];
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            node.shell(&id, "test -d /volume/etc && cmp /volume/etc/passwd /etc-of-it/passwd").await?;
            for option in ["ro", "nosuid", "nodev", "noexec"] {
                for path in ["/volume", "/etc-of-it"] {
                    let options = options(node, &id, path).await?;
                    assert!(options.iter().any(|known| known == option), "{handler} {path}: {options:?}");
                }
            }
            assert_ne!(node.exec(&id, &["touch", "/volume/new"]).await?.exit_code, 0);
            assert_eq!(
                node.exec(&id, &["sh", "-c", "/volume/bin/busybox true"]).await?.exit_code,
                126,
                "noexec"
            );

            let mounts = node.container_status(&id).await?.mounts;
            let told = mounts.iter().find(|mount| mount.container_path == "/volume").unwrap();
            let spec = told.image.clone().unwrap();
            assert_eq!((spec.image, told.host_path.as_str(), told.readonly), (pulled, "", true));
            assert!(
                spec.image_ref.starts_with("registry.k8s.io/e2e-test-images/httpd@sha256:"),
                "{}",
                spec.image_ref
            );
            assert!(mounts.iter().any(|mount| mount.image_sub_path == "etc"));
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_sub_path_is_found_inside_the_image_whatever_its_links() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "paths");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(ODD).await?;
        let mut config = requests::idle("c");
        config.mounts = vec![
            // A link to /removed, and one that leads far upwards to /etc/passwd: both of the image.
            volume(ODD, "/folder", "types/folder-to-link"),
            volume(ODD, "/file", "links/upwards"),
        ];
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        assert_eq!(node.shell(&id, "ls /folder").await?, "folder\nstays");
        let passwd = node.output(&id, &["cat", "/file"]).await?;
        assert_eq!(passwd, node.output(&id, &["cat", "/etc/passwd"]).await?, "busybox is below both");

        for (name, path) in
            [("missing", "no/such"), ("dangling", "links/dangling"), ("device", "devices/null")]
        {
            let mut config = requests::idle(name);
            config.mounts = vec![volume(ODD, "/v", path)];
            let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
            // k8s.io/cri-api pkg/errors: the kubelet counts these.
            assert!(refused.message().starts_with("ImageVolumeMountFailed: "), "{refused:?}");
            assert!(refused.message().contains("config.mounts[0].image_sub_path"), "{refused:?}");
            assert_eq!(refused.code(), Code::InvalidArgument, "it is the request's fault: {refused:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_image_stays_while_it_is_a_volume_also_after_the_daemon_died() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "kept");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(HTTPD).await?;
        let mut config = requests::idle("c");
        config.mounts = vec![volume(HTTPD, "/volume", "")];
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        let refused = remove(node, HTTPD).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        node.kill()?;
        node.start_again().await?;
        node.shell(&id, "test -d /volume/etc").await?;
        assert!(remove(node, HTTPD).await.is_err());
        let spec = node.container_status(&id).await?.mounts[0].image.clone().unwrap();
        assert!(spec.image_ref.contains("@sha256:"), "{spec:?}");
        node.remove_container(&id).await?;
        remove(node, HTTPD).await?;
        let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        assert!(refused.message().starts_with("ImageVolumeMountFailed: "), "{refused:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_artifact_is_a_volume_of_its_files() {
    need!(Runc);
    node::run(async |node| {
        let pulled = node.pull(FILES).await?;
        let image = node.image(FILES).await?.unwrap();
        assert_eq!(image.id, pulled);
        assert_eq!(image.repo_tags, [FILES]);
        assert!(image.repo_digests[0].ends_with(&format!("@{pulled}")), "{image:?}");
        let listed = node.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
        assert!(listed.iter().any(|listed| listed.id == pulled));
        node.pull("registry.linkspan.test/files:none").await?;
        for handler in ["crun", "runc"] {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let mut config = requests::idle("c");
            config.mounts = vec![
                volume(FILES, "/files", ""),
                volume(&pulled, "/one", "model/weights.bin"),
                volume("registry.linkspan.test/files:none", "/nothing", ""),
            ];
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let found =
                node.shell(&id, "cd /files; find . -type f | sed 's/-[0-9a-f]*$/-HEX/' | sort").await?;
            assert_eq!(found, "./config.yaml\n./model/weights.bin\n./sha256-HEX");
            assert_eq!(
                node.shell(&id, "cat /files/config.yaml /one; ls /nothing").await?,
                "colour: blue\nweights"
            );
            assert_ne!(node.exec(&id, &["sh", "-c", "echo x > /files/config.yaml"]).await?.exit_code, 0);
            for path in ["/files", "/one", "/nothing"] {
                let options = options(node, &id, path).await?;
                assert!(
                    options.contains(&"ro".to_owned()) && options.contains(&"noexec".to_owned()),
                    "{options:?}"
                );
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_a_volume_is_refused_with_its_field() {
    need!();
    node::run(async |node| {
        let refused = node.pull("registry.linkspan.test/files:escaping").await.unwrap_err();
        assert!(refused.message().contains("title of a file"), "{refused:?}");

        let sandbox = requests::sandbox(node, "refused");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(FILES).await?;
        node.pull(requests::BUSYBOX).await?;
        let mut config = requests::idle("artifact");
        config.image = Some(requests::image(FILES));
        let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
        assert!(refused.message().contains("config.image.image: is an artifact"), "{refused:?}");

        type Change = fn(&mut v1::Mount);
        let cases: [(&str, Change); 6] = [
            ("host_path", |mount| mount.host_path = "/srv".into()),
            ("readonly", |mount| mount.readonly = false),
            ("propagation", |mount| {
                mount.propagation = v1::MountPropagation::PropagationBidirectional.into()
            }),
            ("image_sub_path", |mount| mount.image_sub_path = "../x".into()),
            ("mount_options", |mount| mount.mount_options = vec!["exec".into()]),
            ("image_sub_path", |mount| {
                mount.image = None;
                mount.host_path = "/srv".into();
                mount.image_sub_path = "x".into();
            }),
        ];
        for (index, (field, change)) in cases.into_iter().enumerate() {
            let mut config = requests::idle(&format!("c{index}"));
            let mut mount = volume(FILES, "/v", "");
            change(&mut mount);
            config.mounts = vec![mount];
            let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
            assert!(refused.message().contains(&format!("config.mounts[0].{field}")), "{refused:?}");
        }
        Ok(())
    })
    .await;
}

/// The kubelet's collection of images, for one.
#[tokio::test]
async fn an_image_stays_while_a_container_is_made_that_mounts_it() {
    need!();
    let held = HeldRuntime::new().expect("a script");
    let options = node::Options { runtimes: held.handler(), ..node::Options::default() };
    node::with(options, async |node| {
        let sandbox = requests::sandbox(node, "held");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(HTTPD).await?;
        node.pull(requests::BUSYBOX).await?;
        let mut config = requests::idle("c");
        config.mounts = vec![volume(HTTPD, "/volume", "")];
        let call = node.creating(&sandbox_id, &config, &sandbox);
        held.is_called().await?;
        let refused = remove(node, HTTPD).await;
        held.go_on()?;
        let id = call.await??;
        assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
        node.start_container(&id).await?;
        node.shell(&id, "test -d /volume/etc").await?;
        Ok(())
    })
    .await;
}
