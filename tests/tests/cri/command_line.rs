//! `linkspan status` and `linkspan image` beside a running daemon.

use anyhow::{Context, ensure};
use linkspan_tests::{need, node, requests, tools};
use serde_json::Value;

/// Runs `linkspan` against the node's socket: whether it ended well, its output, its errors.
async fn linkspan(node: &node::Node, arguments: &[&str]) -> anyhow::Result<(bool, String, String)> {
    let output = tokio::process::Command::new(tools::daemon())
        .args(arguments)
        .arg("--socket")
        .arg(node.socket())
        .output()
        .await
        .context("starting linkspan")?;
    Ok((output.status.success(), String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

#[tokio::test]
async fn images_are_pulled_listed_inspected_and_removed_by_hand() {
    need!();
    node::run(async |node| {
        let (ok, id, progress) = linkspan(node, &["image", "pull", requests::BUSYBOX]).await?;
        ensure!(ok, "{progress}");
        assert!(id.starts_with("sha256:") && id.trim().len() == 71, "{id:?}");
        assert!(progress.contains("busybox:latest: done"), "{progress}");
        let (_, list, _) = linkspan(node, &["image", "ls"]).await?;
        assert!(list.contains(&id[7..19]), "{list}");
        let (_, quiet, _) = linkspan(node, &["image", "ls", "-q"]).await?;
        assert_eq!(quiet, id);
        let (_, json, _) = linkspan(node, &["image", "inspect", requests::BUSYBOX]).await?;
        let image: Value = serde_json::from_str(&json)?;
        assert_eq!(image["id"], id.trim());
        assert_eq!(image["info"]["imageSpec"]["os"], "linux");
        assert!(linkspan(node, &["image", "rm", requests::BUSYBOX]).await?.0);
        assert_eq!(linkspan(node, &["image", "ls", "-q"]).await?.1, "");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_goes_wrong_is_told_on_one_line() {
    need!();
    node::run(async |node| {
        for (arguments, expected) in [
            (&["image", "inspect", "no/such"][..], "linkspan: no such image: no/such\n"),
            (&["image", "pull", "a//b"][..], "linkspan: image reference \"a//b\": "),
            (&["image", "load", "/no/such.tar"][..], "/no/such.tar"),
        ] {
            let (ok, _, errors) = linkspan(node, arguments).await?;
            let last = errors.lines().last().unwrap_or("").to_owned() + "\n";
            assert!(!ok && last.starts_with("linkspan: ") && last.contains(expected), "{errors}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn status_counts_what_runs() {
    need!();
    node::run(async |node| {
        node.run_pod(&requests::sandbox(node, "counted"), &requests::idle("c")).await?;
        let (ok, text, errors) = linkspan(node, &["status", "--json"]).await?;
        ensure!(ok, "{errors}");
        let status: Value = serde_json::from_str(&text)?;
        assert_eq!(status["pods"]["ready"], 1);
        assert_eq!(status["containers"]["running"], 1);
        assert_eq!(status["images"], 1);
        assert_eq!(status["pid"].as_u64(), node.daemon_pid().map(u64::from));
        assert_eq!(status["socket"].as_str(), node.socket().to_str());
        let (_, table, _) = linkspan(node, &["status"]).await?;
        assert!(table.contains("1 running of 1"), "{table}");
        Ok(())
    })
    .await;
}
