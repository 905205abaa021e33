//! Which events plugins hear of, in which order, with what in them.

use anyhow::{Context, Result};
use linkspan_cri_api::v1;
use linkspan_tests::node::Node;
use linkspan_tests::nri::{Plugin, event, events};
use linkspan_tests::{need, node, requests, tools};
use serde_json::{Value, json};

const MIB: i64 = 1 << 20;

async fn update_container(node: &mut Node, id: &str, memory: i64) -> Result<()> {
    let linux = v1::LinuxContainerResources { memory_limit_in_bytes: memory, ..Default::default() };
    let request = v1::UpdateContainerResourcesRequest {
        container_id: id.to_owned(),
        linux: Some(linux),
        ..Default::default()
    };
    node.runtime.update_container_resources(request).await?;
    Ok(())
}

async fn update_pod(node: &mut Node, id: &str, memory: i64) -> Result<()> {
    let resources = v1::LinuxContainerResources { memory_limit_in_bytes: memory, ..Default::default() };
    let request = v1::UpdatePodSandboxResourcesRequest {
        pod_sandbox_id: id.to_owned(),
        resources: Some(resources),
        ..Default::default()
    };
    node.runtime.update_pod_sandbox_resources(request).await?;
    Ok(())
}

/// The event of this name; there is exactly one.
fn one<'a>(events: &'a [Value], name: &str) -> Result<&'a Value> {
    let mut found = events.iter().filter(|event| event["event"] == name);
    let first = found.next().with_context(|| format!("no {name}"))?;
    anyhow::ensure!(found.next().is_none(), "more than one {name}");
    Ok(first)
}

/// What a plugin has seen of one pod with one container, and what it should have.
struct Seen {
    events: Vec<Value>,
    sandbox_id: String,
    id: String,
    address: String,
    pid: Value,
}

impl Seen {
    fn one(&self, name: &str) -> Result<&Value> {
        one(&self.events, name)
    }

    fn check_pod(&self) -> Result<()> {
        assert_eq!(self.one("Configure")?["extra"]["runtime"], "linkspan");
        assert_eq!(self.one("Synchronize")?["extra"], json!({ "pods": 0, "containers": 0 }));
        let pod = &self.one("RunPodSandbox")?["pod"];
        assert_eq!(
            (&pod["id"], &pod["name"], &pod["namespace"]),
            (&json!(self.sandbox_id), &json!("told"), &json!("tests"))
        );
        assert_eq!((&pod["labels"]["app"], &pod["annotations"]["note"]), (&json!("told"), &json!("pod")));
        assert_eq!(pod["ips"][0], json!(self.address));
        assert!(pod["pid"].as_u64().is_some_and(|pid| pid > 1), "{pod}");
        assert!(pod["linux"]["namespaces"].to_string().contains("network"), "{pod}");
        assert_eq!(
            self.one("UpdatePodSandbox")?["extra"]["memory"]["limit"]["value"],
            json!((256 * MIB).to_string())
        );
        Ok(())
    }

    fn check_container(&self) -> Result<()> {
        let created = &self.one("CreateContainer")?["container"];
        assert_eq!(
            (&created["id"], &created["name"], &created["podSandboxId"]),
            (&json!(self.id), &json!("main"), &json!(self.sandbox_id))
        );
        assert_eq!(
            (&created["labels"]["part"], &created["annotations"]["note"]),
            (&json!("main"), &json!("container"))
        );
        assert_eq!(created["args"][0], "sh");
        assert!(created["env"].to_string().contains("COLOUR=blue"), "{created}");
        assert!(created["mounts"].to_string().contains("/etc/resolv.conf"), "{created}");
        assert_eq!(created["linux"]["resources"]["memory"]["limit"]["value"], json!((64 * MIB).to_string()));
        assert!(
            created["linux"]["cgroupsPath"].as_str().is_some_and(|path| path.ends_with(&self.id)),
            "{created}"
        );
        assert!(created["linux"]["namespaces"].to_string().contains("\"network\""), "{created}");
        assert!(created.get("pid").is_none(), "it does not run yet: {created}");

        let states = [
            "PostCreateContainer",
            "StartContainer",
            "PostStartContainer",
            "StopContainer",
            "RemoveContainer",
        ]
        .map(|name| self.one(name).map(|event| event["container"]["state"].clone()).unwrap_or_default());
        let (waits, runs, ended) = ("CONTAINER_CREATED", "CONTAINER_RUNNING", "CONTAINER_STOPPED");
        assert_eq!(states, [waits, waits, runs, ended, ended].map(Value::from));
        let started = &self.one("PostStartContainer")?["container"];
        assert_eq!(started["pid"], self.pid);
        assert!(started["startedAt"].as_str() > started["createdAt"].as_str());
        assert_eq!(
            self.one("UpdateContainer")?["extra"]["memory"]["limit"]["value"],
            json!((128 * MIB).to_string())
        );
        Ok(())
    }
}

#[tokio::test]
async fn every_event_is_told_in_order_and_says_what_is_true() {
    need!(NriPlugin);
    node::run(async |node| {
        let plugin = Plugin::start(node, "10", "logger", &json!({})).await?;
        let mut sandbox = requests::sandbox(node, "told");
        sandbox.labels.insert("app".into(), "told".into());
        sandbox.annotations.insert("note".into(), "pod".into());
        let mut config = requests::idle("main");
        config.labels.insert("part".into(), "main".into());
        config.annotations.insert("note".into(), "container".into());
        config.envs = vec![v1::KeyValue { key: "COLOUR".into(), value: "blue".into() }];
        requests::resources(&mut config).memory_limit_in_bytes = 64 * MIB;

        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        update_pod(node, &sandbox_id, 256 * MIB).await?;
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        let pid = node.container_info(&id).await?["pid"].clone();
        update_container(node, &id, 128 * MIB).await?;
        node.stop_container(&id, 5).await?;
        node.remove_container(&id).await?;
        let address = node.address(&sandbox_id).await?;
        node.stop_sandbox(&sandbox_id).await?;
        node.remove_sandbox(&sandbox_id).await?;

        let names = plugin.names()?;
        let expected = [
            "Configure",
            "Synchronize",
            "RunPodSandbox",
            "UpdatePodSandbox",
            "PostUpdatePodSandbox",
            "CreateContainer",
            "PostCreateContainer",
            "StartContainer",
            "PostStartContainer",
            "UpdateContainer",
            "PostUpdateContainer",
            "StopContainer",
            "RemoveContainer",
            "StopPodSandbox",
            "RemovePodSandbox",
        ];
        assert_eq!(names, expected);
        let seen = Seen { events: plugin.events()?, sandbox_id, id, address, pid };
        seen.check_pod()?;
        seen.check_container()
    })
    .await;
}

#[tokio::test]
async fn an_exit_that_nobody_asked_for_is_told_once_and_before_the_removal() {
    need!(NriPlugin);
    node::run(async |node| {
        let plugin = Plugin::start(node, "10", "logger", &json!({})).await?;
        let sandbox = requests::sandbox(node, "short");
        let (sandbox_id, id) =
            node.run_pod(&sandbox, &requests::container("short", &["sh", "-c", "exit 7"])).await?;
        node.exited(&id).await?;
        let stopped = plugin.event("StopContainer", |_| true).await?;
        assert_eq!((&stopped["container"]["id"], &stopped["container"]["exitCode"]), (&json!(id), &json!(7)));
        node.stop_container(&id, 0).await?;
        node.stop_sandbox(&sandbox_id).await?;
        node.remove_sandbox(&sandbox_id).await?;
        let names = plugin.names()?;
        let end: Vec<&str> = names.iter().rev().take(4).map(String::as_str).collect();
        assert_eq!(end, ["RemovePodSandbox", "RemoveContainer", "StopPodSandbox", "StopContainer"]);
        assert_eq!(names.iter().filter(|name| *name == "StopContainer").count(), 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_plugin_hears_only_of_what_it_asked_for_and_of_failed_creations_their_end() {
    need!(NriPlugin);
    node::run(async |node| {
        let script = json!({ "events": "CreateContainer,StopContainer,RemoveContainer" });
        let plugin = Plugin::start(node, "10", "picky", &script).await?;
        let sandbox = requests::sandbox(node, "picky");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let failed =
            node.create(&sandbox_id, &requests::container("bad", &["/no/such/program"]), &sandbox).await;
        assert!(failed.is_err());
        assert_eq!(plugin.names()?[2..], ["CreateContainer", "StopContainer", "RemoveContainer"]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn who_comes_late_or_back_is_told_what_there_is() {
    need!(NriPlugin);
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "there");
        let (sandbox_id, id) = node.run_pod(&sandbox, &requests::idle("main")).await?;
        let plugin = Plugin::spawn(node, "10", "late", &json!({}), &["-reconnect"])?;
        let there = async |nth: usize| -> Result<()> {
            linkspan_tests::wait::until(
                "it is synchronized",
                std::time::Duration::from_secs(20),
                async || {
                    let events = plugin.events()?;
                    let times = events.iter().filter(|event| event["event"] == "Synchronize").count();
                    anyhow::ensure!(times == nth, "{times} times");
                    let pods: Vec<_> =
                        events.iter().filter(|event| event["event"] == "SynchronizePod").collect();
                    let containers: Vec<_> =
                        events.iter().filter(|event| event["event"] == "SynchronizeContainer").collect();
                    anyhow::ensure!((pods.len(), containers.len()) == (nth, nth));
                    let (pod, container) = (&pods[nth - 1]["pod"], &containers[nth - 1]["container"]);
                    anyhow::ensure!(pod["id"] == json!(sandbox_id) && container["id"] == json!(id));
                    anyhow::ensure!(container["state"] == "CONTAINER_RUNNING", "{container}");
                    anyhow::ensure!(container["args"][0] == "sh", "{container}");
                    Ok(())
                },
            )
            .await
        };
        there(1).await?;
        node.kill()?;
        node.start_again().await?;
        there(2).await?;
        node.stop().await?;
        assert!(plugin.names()?.contains(&"Shutdown".to_owned()), "in good order it is told so");
        node.start_again().await?;
        there(3).await?;
        node.stop_container(&id, 5).await?;
        assert!(plugin.names()?.contains(&"StopContainer".to_owned()));
        drop(plugin);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_preinstalled_plugin_is_started_with_its_configuration_and_ended_with_the_daemon() {
    need!(NriPlugin);
    let folder = tempfile::tempdir().expect("a folder");
    let (plugins, configs) = (folder.path().join("plugins"), folder.path().join("conf.d"));
    std::fs::create_dir_all(&plugins).expect("a folder");
    std::fs::create_dir_all(&configs).expect("a folder");
    let log = folder.path().join("log");
    std::fs::copy(tools::nri_plugin(), plugins.join("05-installed")).expect("a plugin");
    std::fs::write(configs.join("installed.conf"), format!("log={}", log.display()))
        .expect("a configuration");
    let lines = format!(
        "disable_connections = true\nplugin_dir = {plugins:?}\nplugin_config_dir = {configs:?}\nrequired_plugins = [\"05-installed\"]\n"
    );
    node::with(super::options(&lines), async |node| {
        event(&log, "Synchronize", |_| true).await?;
        assert!(!linkspan_tests::nri::socket(node).exists(), "no connections: no socket");
        node.run_pod(&requests::sandbox(node, "pod"), &requests::idle("main")).await?;
        event(&log, "PostStartContainer", |_| true).await?;
        let own = plugins.join("05-installed");
        assert_eq!(linkspan_tests::leftovers::processes(&own, &[]).len(), 1);
        node.stop().await?;
        assert_eq!(linkspan_tests::leftovers::processes(&own, &[]), Vec::<String>::new());
        assert!(events(&log)?.iter().any(|event| event["event"] == "Shutdown"));
        Ok(())
    })
    .await;
}
