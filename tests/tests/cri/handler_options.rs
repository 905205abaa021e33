//! Options of runtime handlers, OCI hooks directories, and what the configuration gives every container.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use linkspan_cri_api::v1;
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests, tools};
use serde_json::{Value, json};
use tonic::Code;

/// A node with one handler, `plain` beside `special`, the second with `options`.
fn with_handler(options: &str, more: &str) -> Options {
    let configuration = format!(
        "[runtime]\ndefault = \"plain\"\n[runtime.handlers.plain]\npath = \"{0}\"\n\
         [runtime.handlers.special]\npath = \"{0}\"\n{options}\n{more}",
        tools::crun().display()
    );
    Options { runtimes: Vec::new(), configuration, ..Options::default() }
}

/// The OCI spec that the container runs with.
async fn spec(node: &mut Node, id: &str) -> Result<Value> {
    Ok(node.container_info(id).await?["runtimeSpec"].clone())
}

#[tokio::test]
async fn annotations_of_a_handler_and_those_it_allows_reach_the_runtime() {
    need!();
    let options = with_handler(
        "default_annotations = { \"example.com/from\" = \"handler\", \"example.com/zone\" = \"a\" }\n\
         allowed_annotations = [\"run.oci.keep_*\"]",
        "",
    );
    node::with(options, async |node| {
        for (handler, from, kept) in
            [("plain", json!("pod"), Value::Null), ("special", json!("pod"), json!("1"))]
        {
            let mut sandbox = requests::sandbox(node, handler);
            sandbox.annotations = [
                ("example.com/from".to_owned(), "pod".to_owned()),
                ("run.oci.keep_original_groups".to_owned(), "1".to_owned()),
                ("run.oci.handler".to_owned(), "wasm".to_owned()),
            ]
            .into();
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let id = node.run_container(&sandbox_id, &requests::idle("c"), &sandbox).await?;
            let annotations = spec(node, &id).await?["annotations"].clone();
            assert_eq!(annotations["example.com/from"], from, "the pod goes before the handler");
            assert_eq!(annotations["run.oci.keep_original_groups"], kept);
            assert_eq!(annotations.get("run.oci.handler"), None, "nobody allowed it");
            let zone = annotations.get("example.com/zone").is_some();
            assert_eq!(zone, handler == "special");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_base_spec_lies_under_each_container() {
    need!();
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.json");
    let text = json!({
        "process": {
            "args": ["never"], "env": ["FROM_BASE=yes", "MODE=base"],
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 77, "hard": 99 }],
        },
        "mounts": [{ "destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"] }],
    });
    fs::write(&base, text.to_string()).unwrap();
    let options = with_handler(&format!("base_spec = \"{}\"", base.display()), "");
    node::with(options, async |node| {
        let sandbox = requests::sandbox(node, "based");
        let sandbox_id = node.run_sandbox(&sandbox, "special").await?;
        let mut config = requests::idle("c");
        config.envs = vec![v1::KeyValue { key: "MODE".into(), value: b"pod".to_vec() }];
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        assert_eq!(node.shell(&id, "echo $FROM_BASE $MODE").await?, "yes pod");
        assert_eq!(node.shell(&id, "ulimit -Sn; ulimit -Hn").await?, "77\n99");
        assert_eq!(node.shell(&id, "awk '$2 == \"/scratch\" { print $3 }' /proc/mounts").await?, "tmpfs");

        let sandbox = requests::sandbox(node, "plain");
        let (_, id) = node.run_pod(&sandbox, &requests::idle("c")).await?;
        assert_eq!(node.shell(&id, "echo \"<$FROM_BASE>\"").await?, "<>");
        Ok(())
    })
    .await;
}

#[test]
fn a_bad_base_spec_is_named_by_the_check_and_refuses_the_start() {
    need!();
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.json");
    fs::write(&base, r#"{ "process": { "rlimit": [] }, "linux": { "sysctls": { "a": "b" } } }"#).unwrap();
    let configuration = format!(
        "[runtime]\ndefault = \"x\"\n[runtime.handlers.x]\npath = \"{}\"\nbase_spec = \"{}\"\n",
        tools::crun().display(),
        base.display()
    );
    let file = folder.path().join("config.toml");
    fs::write(&file, configuration).unwrap();
    for command in [&["config", "check"][..], &["serve"][..]] {
        let output = Command::new(tools::daemon())
            .args(command)
            .arg("--prefix")
            .arg(folder.path())
            .arg("--config")
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{command:?}: {said}");
        let expected = format!("base_spec {}: linux.sysctls is not a field", base.display());
        assert!(said.contains(&expected), "{command:?}: {said}");
    }
}

#[tokio::test]
async fn writable_cgroups_are_refused_on_cgroup_v1() {
    need!();
    node::with(with_handler("cgroup_writable = true", ""), async |node| {
        let sandbox = requests::sandbox(node, "writable");
        let sandbox_id = node.run_sandbox(&sandbox, "special").await?;
        node.pull(requests::BUSYBOX).await?;
        let created = node.create(&sandbox_id, &requests::idle("c"), &sandbox).await;
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            let id = created?;
            node.start_container(&id).await?;
            node.shell(&id, "mkdir /sys/fs/cgroup/own").await?;
            return Ok(());
        }
        let status = created.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("cgroup_writable needs cgroup v2"), "{}", status.message());
        Ok(())
    })
    .await;
}

/// A hook that writes the container's state into `file`.
fn hook(file: &Path, when: Value, stage: &str) -> String {
    let line = format!("cat >> {}", file.display());
    let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", line] });
    json!({ "version": "1.0.0", "hook": hook, "when": when, "stages": [stage] }).to_string()
}

#[tokio::test]
async fn hooks_of_the_directories_run_for_the_containers_they_are_for() {
    need!(Runc);
    node::run(async |node| {
        let prefix = node.prefix().to_owned();
        let dirs =
            [prefix.join("usr/share/containers/oci/hooks.d"), prefix.join("etc/containers/oci/hooks.d")];
        for dir in &dirs {
            fs::create_dir_all(dir)?;
        }
        let wanted = json!({ "annotations": { "^example\\.com/hook$": "^on$" } });
        fs::write(
            dirs[0].join("one.json"),
            hook(&prefix.join("early"), json!({ "always": true }), "poststop"),
        )?;
        fs::write(dirs[1].join("one.json"), hook(&prefix.join("hooked"), wanted, "createRuntime"))?;
        for handler in ["crun", "runc"] {
            let mut sandbox = requests::sandbox(node, &format!("hooks-{handler}"));
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let left_alone = node.run_container(&sandbox_id, &requests::idle("other"), &sandbox).await?;
            let mut config = requests::idle("hooked");
            config.annotations = [("example.com/hook".to_owned(), "on".to_owned())].into();
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let state = fs::read_to_string(prefix.join("hooked"))?;
            assert!(state.contains(&id) && !state.contains(&left_alone), "{handler}: {state}");
            for id in [&id, &left_alone] {
                node.stop_container(id, 0).await?;
                node.remove_container(id).await?;
            }
            assert!(!prefix.join("early").exists(), "its namesake in the later directory replaces it");
            sandbox.annotations.clear();
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_broken_hook_file_refuses_containers_until_it_is_mended() {
    need!();
    node::run(async |node| {
        let dir = node.prefix().join("etc/containers/oci/hooks.d");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("broken.json"), r#"{ "version": "1.0.0" }"#)?;
        let sandbox = requests::sandbox(node, "broken");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let status = node.create(&sandbox_id, &requests::idle("c"), &sandbox).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("broken.json"), "{}", status.message());
        fs::remove_file(dir.join("broken.json"))?;
        node.run_container(&sandbox_id, &requests::idle("c"), &sandbox).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn containers_get_the_configured_limits_variables_and_mounts() {
    need!();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("note"), "from the node\n").unwrap();
    let configuration = format!(
        "[container]\ndefault_ulimits = [\"nofile=123:456\", \"core=0\"]\n\
         default_env = [\"PROXY=http://proxy:3128\", \"MODE=node\"]\n\
         default_mounts = [\"{0}:/opt/node:ro\", \"{0}:/opt/taken\"]\n",
        folder.path().display()
    );
    node::with(Options { configuration, ..Options::default() }, async |node| {
        let mut config = requests::idle("c");
        config.envs = vec![v1::KeyValue { key: "MODE".into(), value: b"pod".to_vec() }];
        let own = node.prefix().join("own");
        config.mounts = vec![v1::Mount {
            container_path: "/opt/taken".into(),
            host_path: own.display().to_string(),
            ..Default::default()
        }];
        let (_, id) = node.run_pod(&requests::sandbox(node, "defaults"), &config).await?;
        assert_eq!(node.shell(&id, "ulimit -Sn; ulimit -Hn; ulimit -c").await?, "123\n456\n0");
        assert_eq!(node.shell(&id, "echo $PROXY $MODE").await?, "http://proxy:3128 pod");
        assert_eq!(node.shell(&id, "cat /opt/node/note").await?, "from the node");
        assert_ne!(node.exec(&id, &["touch", "/opt/node/x"]).await?.exit_code, 0);
        assert_eq!(node.shell(&id, "ls /opt/taken").await?, "", "the request goes before the configuration");
        Ok(())
    })
    .await;
}

/// Capabilities are a set: a spec has them in any order.
fn unordered(part: Option<&Value>) -> Option<Value> {
    let mut part = part.cloned()?;
    for list in part.as_object_mut().into_iter().flatten().filter_map(|(_, value)| value.as_array_mut()) {
        list.sort_by_key(ToString::to_string);
    }
    Some(part)
}

/// What a runtime writes as a start is what people take for a base.
#[tokio::test]
async fn a_whole_spec_of_a_runtime_is_a_base_that_decides_nothing_of_what_was_asked() {
    need!(Runc);
    for runtime in [tools::crun(), tools::runc()] {
        let folder = tempfile::tempdir().unwrap();
        let written = Command::new(&runtime).arg("spec").current_dir(&folder).status().unwrap();
        assert!(written.success());
        let base = folder.path().join("config.json");
        let options = with_handler(&format!("base_spec = \"{}\"", base.display()), "");
        node::with(options, async |node| {
            let sandbox = requests::sandbox(node, "whole");
            let sandbox_id = node.run_sandbox(&sandbox, "special").await?;
            let mut config = requests::idle("c");
            requests::security(&mut config).run_as_user = Some(v1::Int64Value { value: 1000 });
            config.devices = vec![v1::Device {
                host_path: "/dev/loop-control".into(),
                container_path: "/dev/control".into(),
                permissions: "w".into(),
            }];
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let theirs = spec(node, &id).await?;
            let sandbox = requests::sandbox(node, "plain");
            let sandbox_id = node.run_sandbox(&sandbox, "plain").await?;
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let ours = spec(node, &id).await?;
            for part in ["/process/args", "/process/user", "/process/cwd", "/linux/seccomp"] {
                assert_eq!(unordered(theirs.pointer(part)), unordered(ours.pointer(part)), "{part}");
            }
            for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
                let names = |spec: &Value| {
                    let names = spec["process"]["capabilities"][set].as_array().cloned().unwrap_or_default();
                    names.iter().map(ToString::to_string).collect::<BTreeSet<_>>()
                };
                assert_eq!(names(&theirs), names(&ours), "{set}");
            }
            let allowed = |spec: &Value| spec["linux"]["resources"]["devices"].as_array().map(Vec::len);
            assert_eq!(allowed(&theirs), allowed(&ours), "its denial of everything takes nothing away");
            Ok(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_configured_and_not_there_refuses_containers_by_its_name() {
    need!();
    for (option, entry, path) in [
        ("default_devices", "/dev/not-there", "/dev/not-there"),
        ("default_mounts", "/srv/not-there:/x", "/srv/not-there"),
    ] {
        let configuration = format!("[container]\n{option} = [\"{entry}\"]\n");
        node::with(Options { configuration, ..Options::default() }, async |node| {
            let sandbox = requests::sandbox(node, "missing");
            let sandbox_id = node.run_sandbox(&sandbox, "").await?;
            node.pull(requests::BUSYBOX).await?;
            let status = node.create(&sandbox_id, &requests::idle("c"), &sandbox).await.unwrap_err();
            assert_eq!(status.code(), Code::Internal, "nothing is wrong with the request");
            let message = status.message();
            assert!(message.contains(&format!("container.{option} {path}")), "{message}");
            Ok(())
        })
        .await;
    }
}
