//! Plugins that fail, each in its own way: no pod waits for them longer than their deadline.

use std::time::{Duration, Instant};

use linkspan_cri_api::v1;
use linkspan_tests::node::Node;
use linkspan_tests::nri::{Plugin, socket};
use linkspan_tests::{need, node, requests, wait};
use serde_json::json;
use tonic::Code;

const SHORT: &str = "plugin_request_timeout = \"400ms\"\nplugin_registration_timeout = \"400ms\"\n";
/// Ample for a container on a loaded machine, and less than a plugin that hangs.
const NOT_LONG: Duration = Duration::from_secs(20);

/// How often the daemon's log says that the plugin was disconnected.
fn disconnections(node: &Node, plugin: &str) -> Vec<String> {
    let log = std::fs::read_to_string(node.prefix().join("daemon.log")).unwrap_or_default();
    let is_it = |line: &&str| line.contains("NRI plugin disconnected") && line.contains(plugin);
    log.lines().filter(is_it).map(str::to_owned).collect()
}

/// A plugin that misbehaves when a container is created is disconnected, once and aloud, and containers are made.
async fn check(kind: &str, words: &str) {
    node::with(super::options(SHORT), async |node| {
        let script = json!({ "misbehave": { format!("CreateContainer/{kind}"): kind } });
        let _plugin = Plugin::start(node, "10", "bad", &script).await?;
        let good = Plugin::start(node, "20", "good", &json!({})).await?;
        let started = Instant::now();
        let sandbox = requests::sandbox(node, kind);
        let (sandbox_id, _) = node.run_pod(&sandbox, &requests::idle(kind)).await?;
        assert!(started.elapsed() < NOT_LONG, "{:?}", started.elapsed());
        node.run_container(&sandbox_id, &requests::idle("next"), &sandbox).await?;
        let created = good.names()?.iter().filter(|name| *name == "CreateContainer").count();
        assert_eq!(created, 2, "the others hear of all of it");
        let said = wait::until("it is said", Duration::from_secs(5), async || {
            let said = disconnections(node, "10-bad");
            anyhow::ensure!(!said.is_empty());
            Ok(said)
        })
        .await?;
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(words), "{said:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn one_that_hangs_costs_its_deadline_once() {
    need!(NriPlugin);
    check("hang", "did not answer CreateContainer within 400ms").await;
}

#[tokio::test]
async fn one_that_dies_is_forgotten() {
    need!(NriPlugin);
    check("die", "closed the connection").await;
}

#[tokio::test]
async fn one_that_talks_nonsense_is_disconnected() {
    need!(NriPlugin);
    check("nonsense", "a frame of 4294967295 bytes").await;
}

#[tokio::test]
async fn one_that_answers_what_nobody_asked_is_disconnected() {
    need!(NriPlugin);
    check("garbage", "an answer to stream 99, on which nothing was asked").await;
}

#[tokio::test]
async fn one_that_does_not_register_or_speaks_something_else_is_disconnected() {
    need!();
    node::with(super::options(SHORT), async |node| {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut silent = tokio::net::UnixStream::connect(socket(node)).await?;
        let mut loud = tokio::net::UnixStream::connect(socket(node)).await?;
        loud.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        for connection in [&mut silent, &mut loud] {
            let end = tokio::time::timeout(NOT_LONG, connection.read_to_end(&mut Vec::new())).await;
            assert!(end.is_ok(), "it is still connected");
        }
        node.run_pod(&requests::sandbox(node, "pod"), &requests::idle("main")).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_says_no_is_heard() {
    need!(NriPlugin);
    node::run(async |node| {
        let script = json!({ "misbehave": {
            "CreateContainer/main": "error", "StartContainer/start": "error", "RunPodSandbox/unwanted": "error",
        } });
        let plugin = Plugin::start(node, "10", "strict", &script).await?;
        let refused = node.run_sandbox(&requests::sandbox(node, "unwanted"), "").await.expect_err("it minds");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(plugin.names()?.ends_with(&["StopPodSandbox".to_owned(), "RemovePodSandbox".to_owned()]));
        let sandbox = requests::sandbox(node, "wanted");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let refused = node.create(&sandbox_id, &requests::idle("main"), &sandbox).await.expect_err("it minds");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let words = "NRI plugin 10-strict: CreateContainer: the plugin does not want this";
        assert!(refused.message().contains(words), "{}", refused.message());
        let id = node.create(&sandbox_id, &requests::idle("start"), &sandbox).await?;
        let refused = node.start_container(&id).await.expect_err("it minds");
        assert!(refused.message().contains("10-strict: StartContainer"), "{}", refused.message());
        let list = node.runtime.list_containers(v1::ListContainersRequest::default()).await?.into_inner();
        assert_eq!(list.containers, [], "what is not started is removed");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn two_that_want_the_same_are_told_apart_by_name() {
    need!(NriPlugin);
    node::run(async |node| {
        let set = |value: &str| {
            json!({ "adjust": {
                "both": { "env": [{ "key": "COLOUR", "value": value }] },
                "apart": { "env": [{ "key": format!("COLOUR_{value}"), "value": value }] },
                "again": { "env": [{ "key": "-COLOUR" }, { "key": "COLOUR", "value": value }] },
            } })
        };
        let _first = Plugin::start(node, "10", "first", &set("red")).await?;
        let second = Plugin::start(node, "20", "second", &set("blue")).await?;
        let sandbox = requests::sandbox(node, "contested");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let refused =
            node.create(&sandbox_id, &requests::idle("both"), &sandbox).await.expect_err("a conflict");
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let words = "NRI plugins 10-first and 20-second both set Env COLOUR";
        assert!(refused.message().contains(words), "{}", refused.message());

        let apart = node.run_container(&sandbox_id, &requests::idle("apart"), &sandbox).await?;
        assert_eq!(node.shell(&apart, "echo $COLOUR_red $COLOUR_blue").await?, "red blue");
        let seen = second.event("CreateContainer", |event| event["container"]["name"] == "apart").await?;
        assert!(
            seen["container"]["env"].to_string().contains("COLOUR_red=red"),
            "the later one sees it: {seen}"
        );
        let again = node.run_container(&sandbox_id, &requests::idle("again"), &sandbox).await?;
        assert_eq!(node.shell(&again, "echo $COLOUR").await?, "blue", "taken away and set anew");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_validator_has_the_last_word() {
    need!(NriPlugin);
    node::run(async |node| {
        let adjust = json!({ "adjust": { "bad": { "args": ["sleep", "1000"] } } });
        let _adjuster = Plugin::start(node, "10", "adjuster", &adjust).await?;
        let script = json!({
            "events": "ValidateContainerAdjustment", "reject": { "bad": "no other program" },
        });
        let validator = Plugin::start(node, "90", "validator", &script).await?;
        let sandbox = requests::sandbox(node, "valid");
        let (sandbox_id, _) = node.run_pod(&sandbox, &requests::idle("good")).await?;
        let refused = node.create(&sandbox_id, &requests::idle("bad"), &sandbox).await.expect_err("rejected");
        assert!(refused.message().contains("90-validator"), "{}", refused.message());
        assert!(refused.message().contains("no other program"), "{}", refused.message());
        let asked = validator
            .event("ValidateContainerAdjustment", |event| event["container"]["name"] == "bad")
            .await?;
        assert_eq!(asked["container"]["args"][0], "sh", "as it was asked for");
        assert_eq!(asked["extra"]["adjust"]["args"][0], "sleep");
        assert!(asked["extra"]["owners"].to_string().contains("10-adjuster"), "{asked}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn without_a_required_plugin_no_container_is_created() {
    need!(NriPlugin);
    let lines = "required_plugins = [\"needed\"]\ntolerate_missing_plugins_annotation = \"tolerate\"\nplugin_request_timeout = \"400ms\"\n";
    node::with(super::options(lines), async |node| {
        let sandbox = requests::sandbox(node, "waits");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let refused =
            node.create(&sandbox_id, &requests::idle("a"), &sandbox).await.expect_err("it is missing");
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("needed"), "{}", refused.message());

        let mut tolerant = requests::sandbox(node, "tolerant");
        tolerant.annotations.insert("tolerate".into(), "true".into());
        node.run_pod(&tolerant, &requests::idle("b")).await?;

        let script = json!({ "misbehave": { "CreateContainer/hangs": "hang" } });
        let _needed = Plugin::start(node, "10", "needed", &script).await?;
        node.run_container(&sandbox_id, &requests::idle("a"), &sandbox).await?;
        let refused =
            node.create(&sandbox_id, &requests::idle("hangs"), &sandbox).await.expect_err("lost over it");
        assert_eq!(refused.code(), Code::Unavailable);

        let mut asking = requests::sandbox(node, "asking");
        asking.annotations.insert("required-plugins.noderesource.dev".into(), "[other]".into());
        asking.annotations.insert("tolerate".into(), "false".into());
        let _needed = Plugin::start(node, "10", "needed", &json!({})).await?;
        let asking_id = node.run_sandbox(&asking, "").await?;
        let refused =
            node.create(&asking_id, &requests::idle("c"), &asking).await.expect_err("it is missing");
        assert!(refused.message().contains("other"), "{}", refused.message());
        Ok(())
    })
    .await;
}
