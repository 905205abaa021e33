//! Runtime handlers: any number of them, each with a binary of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests, tools, wait};
use tokio::process::Command;
use tonic::Code;

fn three() -> Vec<(String, PathBuf)> {
    [("crun", tools::crun()), ("runc", tools::runc()), ("youki", tools::youki())]
        .map(|(name, path)| (name.to_owned(), path))
        .to_vec()
}

async fn status(node: &mut Node) -> Result<v1::StatusResponse> {
    Ok(node.runtime.status(v1::StatusRequest { verbose: true }).await?.into_inner())
}

/// Whether the runtime at `path` says that it runs the container.
async fn runs(path: &Path, root: &Path, id: &str) -> Result<bool> {
    let output = Command::new(path).arg("--root").arg(root).args(["state", id]).output().await?;
    if !output.status.success() {
        return Ok(false);
    }
    let state: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(state["status"] == "running" && state["id"] == id)
}

#[tokio::test]
async fn crun_runc_and_youki_run_side_by_side_each_its_own_pods() {
    need!(Runc, Youki);
    let options = Options { runtimes: three(), ..Options::default() };
    node::with(options, async |node| {
        let mut pods = Vec::new();
        for (name, _) in three() {
            let sandbox = requests::sandbox(node, &name);
            let mut container = requests::idle("c");
            requests::security(&mut container).seccomp = Some(v1::SecurityProfile::default());
            let (sandbox_id, id) = node.run_pod_on(&name, &sandbox, &container).await?;
            let status = node.output(&id, &["cat", "/proc/1/status"]).await?;
            ensure!(status.contains("Seccomp:\t2"), "{name}: RuntimeDefault without a filter: {status}");
            assert_eq!(node.sandbox_status(&sandbox_id).await?.runtime_handler, name);
            pods.push((name, sandbox_id, id));
        }
        for (name, _, id) in &pods {
            for (other, path) in three() {
                let root = node.prefix().join("run/linkspan/runtimes").join(&other);
                let known = runs(&path, &root, id).await?;
                assert_eq!(known, other == *name, "a container of {name}, asked of {other}");
            }
            assert_eq!(node.output(id, &["cat", "/proc/1/comm"]).await?, "sh", "{name}");
        }
        node.kill()?;
        node.start_again().await?;
        for (name, sandbox_id, id) in &pods {
            assert_eq!(node.output(id, &["echo", "again"]).await?, "again", "{name}");
            node.stop_container(id, 5).await?;
            assert_eq!(node.container_status(id).await?.exit_code, 0, "{name}");
            node.remove_sandbox(sandbox_id).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn status_has_every_handler_with_what_its_runtime_says_it_can_do() {
    need!(Runc, Youki);
    let options = Options { runtimes: three(), ..Options::default() };
    node::with(options, async |node| {
        let found = status(node).await?.runtime_handlers;
        let names: Vec<&str> = found.iter().map(|handler| handler.name.as_str()).collect();
        assert_eq!(names, ["", "crun", "runc", "youki"], "the default handler under the empty name too");
        for (name, path) in three() {
            let output = Command::new(&path).arg("features").output().await?;
            let says: serde_json::Value = serde_json::from_slice(&output.stdout)?;
            let rro = says["mountOptions"].as_array().context("mount options")?.iter().any(|o| o == "rro");
            let handler = found.iter().find(|handler| handler.name == name).context("a handler")?;
            let features = handler.features.as_ref().context("features")?;
            assert_eq!(features.recursive_read_only_mounts, rro, "{name}");
        }
        assert_eq!(found[0].features, found[1].features);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_handler_whose_binary_is_missing_is_named_and_keeps_nothing_else_from_working() {
    need!();
    let gone = PathBuf::from("/nonexistent/kata");
    let runtimes = vec![("crun".to_owned(), tools::crun()), ("kata".to_owned(), gone)];
    node::with(Options { runtimes, ..Options::default() }, async |node| {
        let answer = status(node).await?;
        let features = answer.runtime_handlers.iter().find(|handler| handler.name == "kata");
        assert_eq!(features.context("kata")?.features, Some(v1::RuntimeHandlerFeatures::default()));
        let info: serde_json::Value = serde_json::from_str(&answer.info["handlers"])?;
        let kata = info.as_array().context("a list")?.iter().find(|handler| handler["name"] == "kata");
        let error = kata.context("kata")?["error"].as_str().unwrap_or_default().to_owned();
        ensure!(error.contains("/nonexistent/kata"), "{error}");

        let refused = node.run_sandbox(&requests::sandbox(node, "no"), "kata").await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        ensure!(refused.message().contains("/nonexistent/kata"), "{}", refused.message());
        let unknown = node.run_sandbox(&requests::sandbox(node, "no"), "gvisor").await.unwrap_err();
        assert_eq!(unknown.code(), Code::InvalidArgument);
        ensure!(unknown.message().contains("crun, kata"), "{}", unknown.message());

        let (_, id) = node.run_pod(&requests::sandbox(node, "yes"), &requests::idle("c")).await?;
        assert_eq!(node.output(&id, &["echo", "works"]).await?, "works");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn pods_outlive_their_handlers_configuration_and_are_removed_without_their_runtime() {
    need!();
    let folder = tempfile::tempdir().unwrap();
    let text = format!("#!/bin/sh\nexec {} \"$@\"\n", tools::crun().display());
    let runtime = tools::script(folder.path().join("runtime"), &text).unwrap();
    let mut configuration = "[runtime]\ndefault = \"crun\"\n".to_owned();
    for (name, path, kind) in
        [("crun", &tools::crun(), "native"), ("former", &runtime, "native"), ("boxed", &runtime, "oci")]
    {
        let path = path.display();
        configuration += &format!("[runtime.handlers.{name}]\npath = \"{path}\"\nsandbox = \"{kind}\"\n");
    }
    let options = Options { runtimes: Vec::new(), configuration, ..Options::default() };
    node::with(options, async |node| {
        let mut pods = Vec::new();
        for handler in ["former", "boxed"] {
            for what in ["there", "gone"] {
                let sandbox = requests::sandbox(node, &format!("{handler}-{what}"));
                let (sandbox_id, id) = node.run_pod_on(handler, &sandbox, &requests::idle("c")).await?;
                pods.push((what, sandbox, sandbox_id, id));
            }
        }
        node.stop().await?;
        let path = node.prefix().join("etc/linkspan/config.toml");
        let text = fs::read_to_string(&path)?;
        let (before, rest) = text.split_once("[runtime.handlers.former]").context("the handler")?;
        let (_, after) = rest.split_once("[cgroup]").context("the rest")?;
        fs::write(&path, format!("{before}[cgroup]{after}"))?;
        node.start_again().await?;

        for (_, sandbox, sandbox_id, id) in pods.iter().filter(|(what, ..)| *what == "there") {
            assert_eq!(node.output(id, &["echo", "works"]).await?, "works");
            let refused = node.create(sandbox_id, &requests::idle("new"), sandbox).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition);
            ensure!(refused.message().contains("not configured any more"), "{}", refused.message());
            node.remove_sandbox(sandbox_id).await?;
        }
        fs::remove_file(&runtime)?;
        for (_, _, sandbox_id, id) in pods.iter().filter(|(what, ..)| *what == "gone") {
            node.remove_container(id).await?;
            node.stop_sandbox(sandbox_id).await?;
            node.remove_sandbox(sandbox_id).await?;
        }
        let left = node.leftovers();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_handler_whose_binary_hangs_costs_its_own_pods_and_no_status() {
    need!();
    let folder = tempfile::tempdir().unwrap();
    let text = |first: &str| format!("#!/bin/sh\n{first}\nexec {} \"$@\"\n", tools::crun().display());
    let hangs = text("[ \"$1\" = features ] && exec sleep 1000");
    let stuck = tools::script(folder.path().join("stuck"), &hangs).unwrap();
    let runtimes = vec![("crun".to_owned(), tools::crun()), ("stuck".to_owned(), stuck.clone())];
    node::with(Options { runtimes, ..Options::default() }, async |node| {
        for _ in 0..3 {
            let started = Instant::now();
            let answer = status(node).await?;
            let took = started.elapsed();
            ensure!(took < Duration::from_secs(2), "Status took {took:?}");
            let ready = answer.status.context("a status")?.conditions;
            ensure!(ready.iter().all(|condition| condition.status), "{ready:?}");
            let info: serde_json::Value = serde_json::from_str(&answer.info["handlers"])?;
            let handlers = info.as_array().context("a list")?;
            for handler in handlers {
                let error = handler["error"].as_str().unwrap_or_default();
                assert_eq!(error.contains("\"stuck\""), handler["name"] == "stuck", "{handler}");
            }
            let refused = node.run_sandbox(&requests::sandbox(node, "no"), "stuck").await.unwrap_err();
            assert_eq!(refused.code(), Code::Unavailable);
            ensure!(refused.message().contains("runtime handler \"stuck\""), "{}", refused.message());
        }
        let (_, id) = node.run_pod(&requests::sandbox(node, "yes"), &requests::idle("c")).await?;
        assert_eq!(node.output(&id, &["echo", "works"]).await?, "works");

        let mended = tools::script(folder.path().join("mended"), &text(""))?;
        fs::rename(mended, &stuck)?;
        wait::until("Status tells of the mended handler", Duration::from_secs(30), async || {
            let answer = status(node).await?;
            let found = answer.runtime_handlers.iter().find(|handler| handler.name == "stuck");
            let features = found.and_then(|handler| handler.features).context("features")?;
            ensure!(features.recursive_read_only_mounts, "{}", answer.info["handlers"]);
            Ok(())
        })
        .await?;
        let sandbox = requests::sandbox(node, "mended");
        let (_, id) = node.run_pod_on("stuck", &sandbox, &requests::idle("c")).await?;
        assert_eq!(node.output(&id, &["echo", "works"]).await?, "works");
        Ok(())
    })
    .await;
}

/// The annotations in the OCI spec of a bundle.
fn annotations(bundle: &Path) -> Result<serde_json::Value> {
    let path = bundle.join("config.json");
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_slice::<serde_json::Value>(&text)?["annotations"].clone())
}

#[tokio::test]
async fn what_a_pod_says_to_its_runtime_is_kept_from_it_unless_the_handler_allows_it() {
    need!(Runc, Youki);
    let mut configuration = "[runtime]\ndefault = \"crun\"\n".to_owned();
    for (name, path) in three() {
        let path = path.display();
        configuration += &format!("[runtime.handlers.{name}]\npath = \"{path}\"\n");
        for sandbox in ["native", "oci"] {
            configuration += &format!(
                "[runtime.handlers.{name}-{sandbox}]\npath = \"{path}\"\nsandbox = \"{sandbox}\"\n\
                 allowed_annotations = [\"org.criu.*\"]\n"
            );
        }
        configuration +=
            &format!("[runtime.handlers.{name}-sandbox]\npath = \"{path}\"\nsandbox = \"oci\"\n");
    }
    let options = Options { runtimes: Vec::new(), configuration, ..Options::default() };
    node::with(options, async |node| {
        let pods = node.prefix().join("run/linkspan/pods");
        for (name, _) in three() {
            for (handler, allowed) in [("", false), ("-sandbox", false), ("-native", true), ("-oci", true)] {
                let handler = format!("{name}{handler}");
                let steering = [
                    ("bundle".to_owned(), "/".to_owned()),
                    ("krun.libkrun.path".to_owned(), "/tmp/x.so".to_owned()),
                    ("note".to_owned(), "kept".to_owned()),
                    ("org.criu.config".to_owned(), "/tmp/x.conf".to_owned()),
                ];
                let mut sandbox = requests::sandbox(node, &handler);
                sandbox.annotations = steering.clone().into();
                let mut container = requests::idle("c");
                container.annotations = steering.clone().into();
                let (sandbox_id, id) = node.run_pod_on(&handler, &sandbox, &container).await?;
                let mut bundles = vec![pods.join(&sandbox_id).join("containers").join(&id)];
                bundles.extend(Some(pods.join(&sandbox_id).join("sandbox")).filter(|bundle| bundle.exists()));
                for bundle in bundles {
                    let found = annotations(&bundle)?;
                    assert_eq!(found["note"], "kept", "{handler}");
                    assert_eq!(found.get("org.criu.config").is_some(), allowed, "{handler}: {found}");
                    for never in ["bundle", "krun.libkrun.path"] {
                        assert_eq!(found.get(never), None, "{handler} {never}");
                    }
                }
                // The kubelet compares what it asked for with what it is answered.
                assert_eq!(node.sandbox_status(&sandbox_id).await?.annotations, sandbox.annotations);
                assert_eq!(node.container_status(&id).await?.annotations, container.annotations);
                node.remove_sandbox(&sandbox_id).await?;
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_is_the_requests_fault_is_told_with_its_field_whichever_runtime_says_it() {
    need!(Runc, Youki);
    let options = Options { runtimes: three(), ..Options::default() };
    node::with(options, async |node| {
        for (handler, _) in three() {
            node.pull(requests::BUSYBOX).await?;
            let sandbox = requests::sandbox(node, &format!("fault-{handler}"));
            let sandbox_id = node.run_sandbox(&sandbox, &handler).await?;
            let mut in_a_file = requests::idle("in-a-file");
            in_a_file.working_dir = "/etc/passwd".into();
            for (config, field) in [
                (requests::container("missing", &["/no/such/program"]), "config.command"),
                (requests::container("unknown", &["no-such-program"]), "config.command"),
                (requests::container("no-program", &["/etc/passwd"]), "config.command"),
                (in_a_file, "config.working_dir"),
            ] {
                let refused = match node.create(&sandbox_id, &config, &sandbox).await {
                    Ok(id) => node.start_container(&id).await.unwrap_err(),
                    Err(refused) => refused,
                };
                assert_eq!(refused.code(), Code::InvalidArgument, "{handler}: {refused}");
                assert!(refused.message().starts_with(field), "{handler}: {refused}");
            }
        }
        Ok(())
    })
    .await;
}
