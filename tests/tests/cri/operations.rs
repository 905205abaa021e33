//! What is under way, and why something is stuck: `linkspan status --operations`, `linkspan explain`, the verbose Status.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests, tools, wait};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

/// What our own command line prints.
fn cli(node: &Node, words: &[&str]) -> Result<String> {
    let output = Command::new(tools::daemon()).args(words).arg("--socket").arg(node.socket()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

fn operations(node: &Node) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&cli(node, &["status", "--operations", "--json"])?)?)
}

fn explained(node: &Node, id: &str) -> Result<Vec<String>> {
    Ok(cli(node, &["explain", id])?.lines().map(str::to_owned).collect())
}

/// Until there is one of this kind about a subject that ends so, in the stage.
async fn is_in(node: &Node, what: &str, subject: &str, stage: &str) -> Result<Value> {
    let mut found = Value::Null;
    wait::until("the operation is shown", SOON, async || {
        let all = operations(node)?;
        let is_it = |one: &&Value| {
            let stages = one["stages"].as_array().is_some_and(|stages| {
                stages.iter().any(|now| now["name"].as_str().is_some_and(|name| name.contains(stage)))
            });
            one["what"] == what && one["subject"].as_str().is_some_and(|it| it.contains(subject)) && stages
        };
        found = all.iter().find(is_it).cloned().unwrap_or_default();
        ensure!(!found.is_null(), "{what} of {subject} in {stage} is not among {all:#?}");
        Ok(())
    })
    .await?;
    Ok(found)
}

/// A plugin that answers as long as a file says what: `silent`, `failing`, or nothing.
async fn with_moody_network(test: impl AsyncFnOnce(&mut Node, &Path) -> Result<()>) {
    let folder = tempfile::tempdir().expect("a folder");
    let mood = folder.path().join("mood");
    fs::write(&mood, "").expect("a file");
    let script = format!(
        "#!/bin/sh\ncase $CNI_COMMAND in ADD|DEL)\nwhile grep -q silent {mood}; do sleep 0.05; done\n\
         ! grep -q failing {mood} || exit 1;;\nesac\necho '{{\"cniVersion\":\"1.0.0\"}}'\n",
        mood = mood.display()
    );
    let bin = tools::cni_plugins_and(folder.path(), "moody", &script).expect("plugins");
    node::with(Options { cni_bin_dir: Some(bin), ..Options::default() }, async |node| {
        let add = |list: &mut Value| {
            list["plugins"].as_array_mut().unwrap().insert(0, serde_json::json!({ "type": "moody" }));
        };
        node.change_network(add).await?;
        test(node, &mood).await
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_waits_for_its_network_says_so_and_what_its_undo_waits_for() {
    need!();
    with_moody_network(async |node, mood| {
        assert_eq!(cli(node, &["status", "--operations"])?, "nothing is under way\n");
        fs::write(mood, "silent")?;
        let config = requests::sandbox(node, "waits");
        let name = format!("{}/waits", config.metadata.clone().unwrap_or_default().namespace);
        let mut runtime = node.runtime.clone();
        let call = tokio::spawn(async move {
            let request = v1::RunPodSandboxRequest { config: Some(config), ..Default::default() };
            runtime.run_pod_sandbox(request).await
        });
        let shown = is_in(node, "RunPodSandbox", "", "network ADD").await?;
        let id = shown["subject"].as_str().unwrap_or_default().to_owned();
        assert_eq!(id.len(), 64, "its ID by now: {shown}");
        let facts = explained(node, &name)?.join("\n");
        for fact in [id.as_str(), "half made", "network ADD for", "net, uts, ipc"] {
            ensure!(facts.contains(fact), "{fact:?} is not in:\n{facts}");
        }
        let mut runtime = node.runtime.clone();
        let status = runtime.status(v1::StatusRequest { verbose: true }).await?.into_inner();
        ensure!(status.info["operations"].contains("network ADD"), "{}", status.info["operations"]);

        // Its DEL fails, too: what is left is shown until it is gone.
        fs::write(mood, "failing")?;
        ensure!(call.await?.is_err(), "ADD failed");
        wait::until("the failed undo is shown", SOON, async || {
            let all = operations(node)?;
            let undo = all.iter().find(|one| one["subject"] == id.as_str() && one["failures"] != 0);
            let words = undo.map(|undo| undo["last_error"].to_string()).unwrap_or_default();
            ensure!(words.contains("moody"), "{all:#?}");
            Ok(())
        })
        .await?;
        let facts = explained(node, &id)?.join("\n");
        ensure!(facts.contains("undo of what was half made") && facts.contains("moody"), "{facts}");
        fs::write(mood, "")?;
        wait::until("nothing is under way", SOON, async || {
            let all = operations(node)?;
            ensure!(all.is_empty(), "{all:#?}");
            Ok(())
        })
        .await?;
        ensure!(explained(node, &id).is_err(), "it is gone");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_container_that_is_being_stopped_is_explained() {
    need!();
    node::run(async |node| {
        let line = "trap 'echo caught' TERM; while :; do sleep 1000 & wait; done";
        let (_, id) = node
            .run_pod(&requests::sandbox(node, "stops"), &requests::container("c", &["sh", "-c", line]))
            .await?;
        node.trapped(&id).await?;
        let facts = explained(node, &id[..12])?.join("\n");
        for fact in [id.as_str(), "running", "(sh)", "under way", "nothing"] {
            ensure!(facts.contains(fact), "{fact:?} is not in:\n{facts}");
        }
        let mut runtime = node.runtime.clone();
        let request = v1::StopContainerRequest { container_id: id.clone(), timeout: 600 };
        let stop = tokio::spawn(async move { runtime.stop_container(request).await });
        is_in(node, "stop", &id, "grace").await?;
        node.stop_container(&id, 0).await?;
        stop.await??;
        ensure!(explained(node, &id)?.join("\n").contains("exited with 137"), "{:?}", explained(node, &id)?);
        Ok(())
    })
    .await;
}
