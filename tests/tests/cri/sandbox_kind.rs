//! Handlers with `sandbox = "oci"`: the sandbox itself is a container of the runtime.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::node::{Node, Options, signal};
use linkspan_tests::streaming::Forwarding;
use linkspan_tests::{http, need, node, requests, tools, wait};
use serde_json::Value;
use tonic::Code;

const DEADLINE: Duration = Duration::from_secs(20);

/// A node whose only handlers are these, of kind `oci`.
fn oci(runtimes: &[(&str, PathBuf)]) -> Options {
    oci_with(runtimes, "")
}

fn oci_with(runtimes: &[(&str, PathBuf)], options: &str) -> Options {
    let mut configuration = format!("[runtime]\ndefault = \"{}\"\n", runtimes[0].0);
    for (name, path) in runtimes {
        configuration += &format!(
            "[runtime.handlers.{name}]\npath = \"{}\"\nsandbox = \"oci\"\n{options}",
            path.display()
        );
    }
    Options { runtimes: Vec::new(), configuration, ..Options::default() }
}

fn pod_dir(node: &Node, sandbox_id: &str) -> PathBuf {
    node.prefix().join("run/linkspan/pods").join(sandbox_id)
}

fn spec(bundle: &Path) -> Result<Value> {
    let path = bundle.join("config.json");
    Ok(serde_json::from_slice(&fs::read(&path).with_context(|| path.display().to_string())?)?)
}

async fn sandbox_pid(node: &mut Node, id: &str) -> Result<u32> {
    let info = node.sandbox_info(id).await?;
    Ok(u32::try_from(info["pid"].as_u64().context("a pid")?)?)
}

fn namespace(pid: u32, kind: &str) -> Result<PathBuf> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/{kind}"))?)
}

#[tokio::test]
async fn sandbox_and_containers_bear_the_annotations_that_sandboxed_runtimes_read() {
    need!(Runc, Youki);
    let runtimes = [("crun", tools::crun()), ("runc", tools::runc()), ("youki", tools::youki())];
    let options = "allowed_annotations = [\"dev.gvisor.spec.*\"]\n";
    node::with(oci_with(&runtimes, options), async |node| {
        for (name, _) in &runtimes {
            let mut sandbox = requests::sandbox(node, name);
            sandbox.annotations.insert("dev.gvisor.spec.mount".into(), "kept".into());
            let (sandbox_id, id) = node.run_pod_on(name, &sandbox, &requests::idle("c")).await?;
            let dir = pod_dir(node, &sandbox_id);
            let own = spec(&dir.join("sandbox"))?;
            let of_container = spec(&dir.join("containers").join(&id))?;
            for (found, kind, container) in
                [(&own, "sandbox", &sandbox_id), (&of_container, "container", &id)]
            {
                let annotations = &found["annotations"];
                let expected = [
                    ("io.kubernetes.cri.container-type", kind),
                    ("io.kubernetes.cri.sandbox-id", &sandbox_id),
                    ("io.kubernetes.cri.sandbox-name", name),
                    ("io.kubernetes.cri.sandbox-namespace", "tests"),
                    ("io.kubernetes.cri-o.ContainerType", kind),
                    ("io.kubernetes.cri-o.SandboxID", &sandbox_id),
                    ("io.kubernetes.cri-o.ContainerID", container),
                    ("dev.gvisor.spec.mount", "kept"),
                ];
                for (key, value) in expected {
                    assert_eq!(annotations[key], value, "{name} {kind} {key}");
                }
            }
            assert_eq!(own["process"]["args"][0], "/pause");
            assert_eq!(own["root"]["readonly"], true);
            let network = own["linux"]["namespaces"].as_array().context("namespaces")?.iter();
            let network = network.clone().find(|namespace| namespace["type"] == "network").context("one")?;
            assert_eq!(network["path"], dir.join("ns/net").display().to_string());
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn its_containers_share_its_namespaces_and_all_that_is_asked_of_them_works() {
    need!(Crictl, Runc, Youki);
    let runtimes = [("crun", tools::crun()), ("runc", tools::runc()), ("youki", tools::youki())];
    node::with(oci(&runtimes), async |node| {
        for (name, _) in &runtimes {
            let mut sandbox = requests::sandbox(node, name);
            let pod = v1::NamespaceOption { pid: v1::NamespaceMode::Pod.into(), ..Default::default() };
            sandbox.linux.as_mut().unwrap().security_context.as_mut().unwrap().namespace_options =
                Some(pod.clone());
            let line = "mkdir /www; echo page >/www/index.html; httpd -h /www -p 127.0.0.1:8080; \
                 trap 'exit 3' TERM; while :; do sleep 1000 & wait; done";
            let mut container = requests::container("c", &["sh", "-c", line]);
            requests::security(&mut container).namespace_options = Some(pod);
            let (sandbox_id, id) = node.run_pod_on(name, &sandbox, &container).await?;
            let (holder, pid) = (
                sandbox_pid(node, &sandbox_id).await?,
                u32::try_from(node.container_info(&id).await?["pid"].as_u64().context("a pid")?)?,
            );
            for kind in ["net", "ipc", "uts", "pid"] {
                assert_eq!(namespace(holder, kind)?, namespace(pid, kind)?, "{name} {kind}");
                assert_ne!(namespace(holder, kind)?, namespace(std::process::id(), kind)?, "{name} {kind}");
            }
            assert_eq!(node.output(&id, &["cat", "/proc/1/comm"]).await?, "pause", "{name}");
            assert_eq!(node.output(&id, &["hostname"]).await?, *name);
            let forwarding = Forwarding::start(node.crictl(), "spdy", &sandbox_id, 8080).await?;
            assert!(http::get(&forwarding.address).await?.contains("page"), "{name}");
            let request = v1::PodSandboxStatsRequest { pod_sandbox_id: sandbox_id.clone() };
            let stats = node.runtime.pod_sandbox_stats(request).await?.into_inner().stats;
            let processes = stats.context("stats")?.linux.context("linux")?.process.context("processes")?;
            assert!(processes.process_count.context("a count")?.value >= 2, "{name}");
            node.trapped(&id).await?;
            node.stop_container(&id, 5).await?;
            assert_eq!(node.container_status(&id).await?.exit_code, 3, "{name}");
            node.stop_sandbox(&sandbox_id).await?;
            ensure!(
                !Path::new(&format!("/proc/{holder}")).exists(),
                "{name}: the sandbox's process is there"
            );
            node.remove_sandbox(&sandbox_id).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_killed_daemon_finds_it_again_and_one_whose_process_dies_is_not_ready() {
    need!();
    node::with(oci(&[("crun", tools::crun())]), async |node| {
        let sandbox = requests::sandbox(node, "kept");
        let (sandbox_id, id) = node.run_pod(&sandbox, &requests::idle("c")).await?;
        let holder = sandbox_pid(node, &sandbox_id).await?;
        node.kill()?;
        node.start_again().await?;
        assert_eq!(node.sandbox_status(&sandbox_id).await?.state(), v1::PodSandboxState::SandboxReady);
        assert_eq!(sandbox_pid(node, &sandbox_id).await?, holder, "the same process");
        assert_eq!(node.output(&id, &["echo", "again"]).await?, "again");
        let (second, _) = node.run_pod(&requests::sandbox(node, "second"), &requests::idle("c")).await?;

        signal(holder, "KILL")?;
        wait::until("it is not ready", DEADLINE, async || {
            let state = node.sandbox_status(&sandbox_id).await?.state();
            ensure!(state == v1::PodSandboxState::SandboxNotready, "it is {state:?}");
            Ok(())
        })
        .await?;
        let late = node.create(&sandbox_id, &requests::idle("late"), &sandbox).await.unwrap_err();
        assert_eq!(late.code(), Code::FailedPrecondition);

        // One that dies while no daemon looks.
        let holder = sandbox_pid(node, &second).await?;
        node.kill()?;
        signal(holder, "KILL")?;
        node.start_again().await?;
        assert_eq!(node.sandbox_status(&second).await?.state(), v1::PodSandboxState::SandboxNotready);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_sandbox_that_the_runtime_cannot_make_leaves_nothing() {
    need!();
    node::with(oci(&[("crun", tools::crun()), ("none", "/bin/false".into())]), async |node| {
        let refused = node.run_sandbox(&requests::sandbox(node, "no"), "none").await.unwrap_err();
        assert_eq!(refused.code(), Code::Internal);
        ensure!(refused.message().contains("false create"), "{}", refused.message());
        let left = node.leftovers();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await;
}
