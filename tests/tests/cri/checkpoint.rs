//! CheckpointContainer, CheckpointPod, RestorePod, and containers made of a checkpoint.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests, tools, wait};
use tokio::process::Command;
use tonic::{Code, Status};

const DEADLINE: Duration = Duration::from_secs(30);

/// runc with CRIU, crun without.
fn options(further: &str) -> Options {
    with_criu(&tools::criu(), further)
}

fn with_criu(criu: &Path, further: &str) -> Options {
    Options {
        runtimes: vec![("runc".to_owned(), tools::runc()), ("crun".to_owned(), tools::crun())],
        configuration: format!("[runtime]\ncriu = \"{}\"\n{further}\n", criu.display()),
        ..Options::default()
    }
}

/// Counts in its memory, and tells how far it has come in its log and in a file.
fn counting(name: &str) -> v1::ContainerConfig {
    let line = "rm /etc/group; n=0; while :; do n=$((n+1)); echo $n; echo $n >/next; mv /next /count; usleep 50000; done";
    requests::container(name, &["sh", "-c", line])
}

/// The last number in the container's log, once it is above `from`.
async fn count(node: &mut Node, id: &str, from: u64) -> Result<u64> {
    let lines = node
        .log_lines(id, |lines| {
            lines.last().is_some_and(|line| line.text.parse().is_ok_and(|n: u64| n > from))
        })
        .await?;
    Ok(lines.last().context("a line")?.text.parse()?)
}

async fn checkpoint(node: &mut Node, id: &str, location: &Path) -> Result<(), Status> {
    let request = v1::CheckpointContainerRequest {
        container_id: id.to_owned(),
        location: location.display().to_string(),
        timeout: 0,
    };
    node.runtime.checkpoint_container(request).await.map(drop)
}

async fn members(archive: &Path) -> Result<Vec<String>> {
    let output = Command::new("tar").arg("-tf").arg(archive).output().await?;
    ensure!(output.status.success(), "tar -tf: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

async fn member(archive: &Path, name: &str) -> Result<serde_json::Value> {
    let output = Command::new("tar").arg("-xOf").arg(archive).arg(name).output().await?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test]
async fn a_container_goes_on_after_its_checkpoint_and_another_is_made_of_it() {
    need!(Runc, Criu);
    node::with(options("restore_from_image = true"), async |node| {
        let sandbox = requests::sandbox(node, "first");
        let (_, id) = node.run_pod(&sandbox, &counting("c")).await?;
        count(node, &id, 3).await?;
        let archive = node.prefix().join("tmp/c.tar");
        checkpoint(node, &id, &archive).await?;

        let names = members(&archive).await?;
        for name in
            ["config.dump", "spec.dump", "rootfs-diff.tar", "deleted.files", "checkpoint/inventory.img"]
        {
            ensure!(names.iter().any(|found| found == name), "{name} is missing: {names:?}");
        }
        assert_eq!(fs::metadata(&archive)?.permissions().mode() & 0o777, 0o600);
        let config = member(&archive, "config.dump").await?;
        assert_eq!((&config["id"], &config["name"]), (&id.clone().into(), &"c".into()));
        assert_eq!(config["rootfsImageName"], requests::BUSYBOX);
        assert_eq!(config["runtime"], "runc");
        let spec = member(&archive, "spec.dump").await?;
        let annotations = &spec["annotations"];
        assert_eq!(annotations["io.kubernetes.cri.container-name"], "c");
        assert_eq!(annotations["io.kubernetes.cri-o.Metadata"], r#"{"attempt":0,"name":"c"}"#);
        assert_eq!(member(&archive, "deleted.files").await?, serde_json::json!(["etc/group"]));

        let then: u64 = node.output(&id, &["cat", "/count"]).await?.parse()?;
        count(node, &id, then).await?;
        node.stop_container(&id, 0).await?;

        let second = requests::sandbox(node, "second");
        let sandbox_id = node.run_sandbox(&second, "").await?;
        let mut config = counting("again");
        config.image = Some(requests::image(&archive.display().to_string()));
        let restored = node.create(&sandbox_id, &config, &second).await?;
        let status = node.container_status(&restored).await?;
        assert_eq!((status.state(), status.started_at), (v1::ContainerState::ContainerCreated, 0));
        let early = node.exec(&restored, &["true"]).await.unwrap_err();
        assert_eq!(early.code(), Code::NotFound, "nothing is there to exec into");
        node.start_container(&restored).await?;
        let status = node.container_status(&restored).await?;
        assert_eq!(status.state(), v1::ContainerState::ContainerRunning);
        let lines = node.log_lines(&restored, |lines| !lines.is_empty()).await?;
        let first: u64 = lines[0].text.parse()?;
        ensure!(first > 3, "it began anew: {first}");
        ensure!(node.shell(&restored, "test ! -e /etc/group && cat /count").await?.parse::<u64>()? >= first);
        let lower: u64 = first + 2;
        count(node, &restored, lower).await?;
        // It is in its own pod's network now, and known to a new daemon like any other.
        node.kill()?;
        node.start_again().await?;
        let address = node.address(&sandbox_id).await?;
        let shown = node.output(&restored, &["ip", "addr", "show", "eth0"]).await?;
        ensure!(shown.contains(&address), "{address} is not in {shown}");
        node.stop_container(&restored, 0).await?;
        assert_eq!(node.container_status(&restored).await?.exit_code, 137);

        // One that is never started can be stopped and removed.
        config.metadata.as_mut().unwrap().name = "never".to_owned();
        let never = node.create(&sandbox_id, &config, &second).await?;
        node.kill()?;
        node.start_again().await?;
        node.stop_container(&never, 5).await?;
        assert_eq!(node.container_status(&never).await?.state(), v1::ContainerState::ContainerExited);
        node.remove_container(&never).await?;
        fs::remove_file(&archive)?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_cannot_have_a_program_run_on_the_host_by_its_checkpoint() {
    need!(Runc, Criu);
    let dir = tempfile::tempdir().unwrap();
    let (ran, conf) = (dir.path().join("ran"), dir.path().join("criu.conf"));
    let script = tools::script(dir.path().join("script"), &format!("#!/bin/sh\ntouch {}\n", ran.display()));
    fs::write(&conf, format!("action-script {}\n", script.unwrap().display())).unwrap();
    let allowing = format!(
        "[runtime.handlers.allowing]\npath = \"{}\"\nallowed_annotations = [\"org.criu.config\"]",
        tools::runc().display()
    );
    let plain = format!("[runtime.handlers.plain]\npath = \"{}\"", tools::runc().display());
    let configuration = format!(
        "[runtime]\ndefault = \"plain\"\ncriu = \"{}\"\n{plain}\n{allowing}\n",
        tools::criu().display()
    );
    let options = Options { runtimes: Vec::new(), configuration, ..Options::default() };
    node::with(options, async |node| {
        for (handler, runs) in [("plain", false), ("allowing", true)] {
            let mut sandbox = requests::sandbox(node, handler);
            sandbox.annotations.insert("org.criu.config".into(), conf.display().to_string());
            let (_, id) = node.run_pod_on(handler, &sandbox, &counting("c")).await?;
            count(node, &id, 1).await?;
            checkpoint(node, &id, &node.prefix().join("tmp").join(handler)).await?;
            assert_eq!(ran.exists(), runs, "the script of the pod's choice, by handler {handler}");
            fs::remove_file(node.prefix().join("tmp").join(handler))?;
        }
        Ok(())
    })
    .await;
}

/// An image whose one layer is a container's archive, as `checkpointctl build` makes it; in the form of `docker save`.
async fn image_of(archive: &Path, dir: &Path) -> Result<PathBuf> {
    let sum = Command::new("sha256sum").arg(archive).output().await?;
    let digest = String::from_utf8(sum.stdout)?.split(' ').next().context("a digest")?.to_owned();
    let config = serde_json::json!({ "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] } });
    let manifest = serde_json::json!([{ "Config": "config.json", "Layers": ["layer.tar"],
        "RepoTags": ["registry.linkspan.test/checkpoint:1"] }]);
    fs::copy(archive, dir.join("layer.tar"))?;
    fs::write(dir.join("config.json"), config.to_string())?;
    fs::write(dir.join("manifest.json"), manifest.to_string())?;
    let image = dir.join("image.tar");
    let members = ["manifest.json", "config.json", "layer.tar"];
    let packed = Command::new("tar").arg("-cf").arg(&image).arg("-C").arg(dir).args(members).status().await?;
    ensure!(packed.success(), "tar: {packed}");
    Ok(image)
}

#[tokio::test]
async fn an_image_made_of_a_checkpoint_is_restored_where_that_is_allowed() {
    need!(Runc, Criu);
    for allowed in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        node::with(options(&format!("restore_from_image = {allowed}")), async |node| {
            let sandbox = requests::sandbox(node, "pod");
            let (sandbox_id, id) = node.run_pod(&sandbox, &counting("c")).await?;
            let reached = count(node, &id, 3).await?;
            let archive = dir.path().join("c.tar");
            checkpoint(node, &id, &archive).await?;
            node.remove_container(&id).await?;
            let image = image_of(&archive, dir.path()).await?;
            node.load(&image).await?;

            let mut config = counting("again");
            config.image = Some(requests::image("registry.linkspan.test/checkpoint:1"));
            let created = node.create(&sandbox_id, &config, &sandbox).await;
            if !allowed {
                let refused = created.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument);
                ensure!(refused.message().contains("runtime.restore_from_image"), "{}", refused.message());
                return Ok(());
            }
            let restored = created?;
            node.start_container(&restored).await?;
            count(node, &restored, reached).await?;
            let status = node.container_status(&restored).await?;
            let busybox = node.image(requests::BUSYBOX).await?.context("busybox")?.id;
            assert_eq!(status.image_id, busybox, "it runs in the image that it was made in");
            Ok(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_pod_is_checkpointed_as_a_whole_and_restored() {
    need!(Runc, Criu);
    node::with(options(""), async |node| {
        let sandbox = requests::sandbox(node, "pod");
        let (sandbox_id, one) = node.run_pod(&sandbox, &counting("one")).await?;
        let two = node.run_container(&sandbox_id, &counting("two"), &sandbox).await?;
        for id in [&one, &two] {
            count(node, id, 3).await?;
        }
        let output = node.prefix().join("logs/checkpoint");
        fs::create_dir(&output)?;
        let request = |ids: &[&String]| v1::CheckpointPodRequest {
            pod_sandbox_id: sandbox_id.clone(),
            output_path: output.display().to_string(),
            container_ids: ids.iter().map(|id| (*id).clone()).collect(),
            ..Default::default()
        };
        let refused = node.runtime.checkpoint_pod(request(&[&one])).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        ensure!(refused.message().contains(&two), "{}", refused.message());
        let mut odd = request(&[&one, &two]);
        odd.options.insert("fast".into(), "yes".into());
        let refused = node.runtime.checkpoint_pod(odd).await.unwrap_err();
        assert_eq!((refused.code(), refused.message().contains("fast")), (Code::InvalidArgument, true));
        assert_eq!(fs::read_dir(&output)?.count(), 0, "what is refused leaves nothing");

        node.runtime.checkpoint_pod(request(&[&one, &two])).await?;
        for id in [&one, &two] {
            let then: u64 = node.output(id, &["cat", "/count"]).await?.parse()?;
            count(node, id, then).await?;
        }
        let again = node.runtime.checkpoint_pod(request(&[&one, &two])).await.unwrap_err();
        ensure!(again.message().contains("is not empty"), "{}", again.message());
        node.remove_sandbox(&sandbox_id).await?;

        let mut config = requests::sandbox(node, "pod");
        config.metadata.as_mut().unwrap().attempt = 1;
        let request = v1::RestorePodRequest {
            checkpoint_path: output.display().to_string(),
            config: Some(config.clone()),
            container_configs: vec![counting("two"), counting("one")],
            ..Default::default()
        };
        let mut other = request.clone();
        other.container_configs[0].command = vec!["true".into()];
        let refused = node.runtime.restore_pod(other).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        ensure!(refused.message().starts_with("container_configs[0].command"), "{}", refused.message());

        let answer = node.runtime.restore_pod(request).await?.into_inner();
        assert_eq!(answer.restored_containers.len(), 2);
        for container in answer.restored_containers {
            let id = container.container_id;
            assert_eq!(node.container_status(&id).await?.state(), v1::ContainerState::ContainerCreated);
            node.start_container(&id).await?;
            let lines = node.log_lines(&id, |lines| !lines.is_empty()).await?;
            ensure!(lines[lines.len() - 1].text.parse::<u64>()? > 3, "{}: it began anew", container.name);
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_checkpointed_is_refused_with_the_reason() {
    need!(Runc, Criu);
    node::with(options(""), async |node| {
        let archive = node.prefix().join("tmp/c.tar");
        let sandbox = requests::sandbox(node, "crun");
        let (_, on_crun) = node.run_pod_on("crun", &sandbox, &requests::idle("c")).await?;
        let refused = checkpoint(node, &on_crun, &archive).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        ensure!(refused.message().contains("\"crun\""), "{}", refused.message());

        let sandbox = requests::sandbox(node, "runc");
        let (sandbox_id, id) = node.run_pod(&sandbox, &requests::idle("c")).await?;
        let refused = checkpoint(node, &id, Path::new("relative.tar")).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let created = node.create(&sandbox_id, &requests::idle("created"), &sandbox).await?;
        let refused = checkpoint(node, &created, &archive).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let unknown = checkpoint(node, &"0".repeat(64), &archive).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);

        let mut config = requests::idle("restored");
        config.image = Some(requests::image("/var/lib/kubelet/checkpoints/c.tar"));
        let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        ensure!(refused.message().contains("runtime.restore_from_image"), "{}", refused.message());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_host_without_criu_says_so() {
    need!(Runc);
    node::with(with_criu(Path::new("/nonexistent/criu"), ""), async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "pod"), &requests::idle("c")).await?;
        let archive = node.prefix().join("tmp/c.tar");
        let refused = checkpoint(node, &id, &archive).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        ensure!(refused.message().contains("criu"), "{}", refused.message());
        Ok(())
    })
    .await;
}

/// A `criu` that does nothing until a file goes, and fails then.
fn hanging_criu(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let hold = dir.join("hold");
    fs::write(&hold, "")?;
    let text = format!("#!/bin/sh\nwhile [ -e {} ]; do sleep 0.05; done\nexit 1\n", hold.display());
    Ok((tools::script(dir.join("criu"), &text)?, hold))
}

#[tokio::test]
async fn a_daemon_that_dies_over_a_checkpoint_leaves_nothing_frozen() {
    need!(Runc);
    let dir = tempfile::tempdir().unwrap();
    let (criu, hold) = hanging_criu(dir.path()).unwrap();
    node::with(with_criu(&criu, ""), async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "pod"), &counting("c")).await?;
        count(node, &id, 3).await?;
        let archive = node.prefix().join("tmp/c.tar");
        let (mut runtime, location) = (node.runtime.clone(), archive.display().to_string());
        let request = v1::CheckpointContainerRequest { container_id: id.clone(), location, timeout: 0 };
        let call = tokio::spawn(async move { runtime.checkpoint_container(request).await });
        let root = node.prefix().join("run/linkspan/runtimes/runc");
        wait::until("it is frozen", DEADLINE, async || {
            let state =
                Command::new(tools::runc()).arg("--root").arg(&root).args(["state", &id]).output().await?;
            ensure!(String::from_utf8_lossy(&state.stdout).contains("\"paused\""), "it is not");
            Ok(())
        })
        .await?;
        node.kill()?;
        call.await?.unwrap_err();
        fs::remove_file(&hold)?;
        node.start_again().await?;
        let last = node.log_lines(&id, |_| true).await?.len();
        node.log_lines(&id, |lines| lines.len() > last + 3).await?;
        let work = node.prefix().join("var/lib/linkspan/checkpoints");
        let left: Vec<_> = fs::read_dir(&work)?.flatten().map(|entry| entry.path()).collect();
        ensure!(left.is_empty() && !archive.exists(), "{left:?}");
        node.stop_container(&id, 0).await?;
        Ok(())
    })
    .await;
}
