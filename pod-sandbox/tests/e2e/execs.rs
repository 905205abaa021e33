//! ExecSync.

use std::time::Duration;

use linkspan_pod_sandbox::Error;

use crate::node::{PATIENCE, node};

fn sh(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn output_and_code_come_back() {
    let node = node!();
    let sandbox = node.sandbox("exec").await;
    let id = node.running(&sandbox, "main", "exec sleep 3600").await;
    let output = node.pods.exec_sync(id.as_str(), sh("echo out; echo err >&2; exit 5"), None).await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(output.exit_code, 5);
    assert_eq!(node.exec(&id, "echo $FROM").await, "image");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_leaves_no_process() {
    let node = node!();
    let sandbox = node.sandbox("timeout").await;
    let id = node.running(&sandbox, "main", "exec sleep 3600").await;
    let slow =
        node.pods.exec_sync(id.as_str(), sh("sleep 1234 & sleep 1234"), Some(Duration::from_secs(1))).await;
    assert!(matches!(slow, Err(Error::TimedOut { .. })), "{slow:?}");
    assert!(!node.exec(&id, "ps").await.contains("1234"));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_executed_says_why() {
    let node = node!();
    let sandbox = node.sandbox("wrong").await;
    let id = node.running(&sandbox, "main", "exec sleep 3600").await;
    let missing = node.pods.exec_sync(id.as_str(), vec!["/no/such".to_owned()], Some(PATIENCE)).await;
    match missing {
        Err(error) => assert!(error.to_string().contains("/no/such"), "{error}"),
        Ok(output) => assert_ne!(output.exit_code, 0),
    }
    assert!(matches!(node.pods.exec_sync(id.as_str(), Vec::new(), None).await, Err(Error::BadConfig { .. })));
    assert!(matches!(node.pods.exec_sync("f00d", sh("true"), None).await, Err(Error::NoSuchContainer(_))));
    node.pods.stop_container(id.as_str(), Duration::ZERO).await.unwrap();
    assert!(matches!(
        node.pods.exec_sync(id.as_str(), sh("true"), None).await,
        Err(Error::NotRunning { .. })
    ));
    node.end().await;
}
