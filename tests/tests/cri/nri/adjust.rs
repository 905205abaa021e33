//! Every kind of adjustment, seen from inside the container.

use std::fs;

use anyhow::Context;
use linkspan_cri_api::v1;
use linkspan_tests::node::Node;
use linkspan_tests::nri::Plugin;
use linkspan_tests::{need, node, requests};
use serde_json::{Value, json};

const MIB: i64 = 1 << 20;

fn everything(node: &Node, volume: &str, hook: &str) -> Value {
    json!({
        "annotations": { "added": "by plugin", "-taken": "" },
        "mounts": [
            { "destination": "/data", "type": "bind", "source": volume, "options": ["rbind", "ro", "rprivate", "relabel"] },
            { "destination": "-/gone" },
        ],
        "env": [{ "key": "COLOUR", "value": "green" }, { "key": "-TAKEN" }, { "key": "NEW", "value": "1=2" }],
        "args": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1001 & wait; done"],
        "hooks": { "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat > {hook}")] }] },
        "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": "512", "soft": "256" }],
        "linux": {
            "devices": [{ "path": "/dev/blank", "type": "c", "major": "1", "minor": "5", "fileMode": { "value": 0o640 }, "gid": { "value": 7 } }],
            "resources": {
                "memory": { "limit": { "value": (96 * MIB).to_string() } },
                "cpu": { "shares": { "value": "333" }, "cpus": "0" },
                "pids": { "limit": "77" },
            },
            "cgroupsPath": format!("/{}/moved", node.cgroup()),
            "oomScoreAdj": { "value": "456" },
            "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 7 },
            "scheduler": { "policy": "SCHED_BATCH", "nice": 3 },
            "namespaces": [{ "type": "ipc" }],
            "sysctl": { "kernel.msgmax": "9000" },
            "seccompPolicy": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": { "value": 95 } }],
            },
        },
    })
}

fn container(name: &str) -> v1::ContainerConfig {
    let mut config = requests::idle(name);
    config.envs = [("COLOUR", "blue"), ("TAKEN", "x"), ("KEPT", "y")]
        .map(|(key, value)| v1::KeyValue { key: key.into(), value: value.into() })
        .to_vec();
    config.annotations.insert("taken".into(), "x".into());
    config.mounts = vec![v1::Mount {
        container_path: "/gone".into(),
        host_path: "/etc".into(),
        readonly: true,
        ..Default::default()
    }];
    config
}

#[tokio::test]
async fn every_kind_of_adjustment_arrives() {
    need!(NriPlugin);
    node::run(async |node| {
        let folder = tempfile::tempdir()?;
        let volume = folder.path().join("volume");
        fs::create_dir_all(&volume)?;
        fs::write(volume.join("file"), "content")?;
        let hook = folder.path().join("hook");
        let wanted = everything(node, &volume.display().to_string(), &hook.display().to_string());
        let plugin = Plugin::start(node, "10", "adjuster", &json!({ "adjust": { "main": wanted } })).await?;
        let sandbox = requests::sandbox(node, "adjusted");
        let (_, id) = node.run_pod(&sandbox, &container("main")).await?;

        assert_eq!(node.shell(&id, "echo $COLOUR/$TAKEN/$KEPT/$NEW").await?, "green//y/1=2");
        assert_eq!(node.output(&id, &["cat", "/data/file"]).await?, "content");
        assert!(node.exec(&id, &["touch", "/data/new"]).await?.stderr.contains("Read-only"));
        assert_ne!(node.exec(&id, &["ls", "/gone/passwd"]).await?.exit_code, 0);
        assert!(node.shell(&id, "tr '\\0' ' ' </proc/1/cmdline").await?.contains("1001"));
        assert!(fs::read_to_string(&hook)?.contains(&id), "the hook had the state");
        assert_eq!(node.shell(&id, "ulimit -Sn; ulimit -Hn").await?, "256\n512");
        assert_eq!(
            node.shell(&id, "stat -c '%t:%T %a %g' /dev/blank; head -c 3 /dev/blank | od -An -tx1").await?,
            "1:5 640 7\n 00 00 00"
        );
        assert_eq!(node.output(&id, &["cat", "/proc/1/oom_score_adj"]).await?, "456");
        assert_eq!(node.output(&id, &["cat", "/proc/sys/kernel/msgmax"]).await?, "9000");
        assert!(node.exec(&id, &["mkdir", "/tmp/x"]).await?.stderr.contains("not supported"));

        let pid = node.container_info(&id).await?["pid"].to_string();
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        assert!(groups.contains(&format!("/{}/moved", node.cgroup())), "{groups}");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat.rsplit(") ").next().context("fields")?.split(' ').collect();
        // proc(5): nice is field 19, policy is field 41; the first here is field 3.
        assert_eq!((fields[16], fields[38]), ("3", "3"), "nice, and SCHED_BATCH: {stat}");

        let status = node.container_status(&id).await?;
        let limits = status.resources.and_then(|resources| resources.linux).context("limits")?;
        assert_eq!((limits.memory_limit_in_bytes, limits.cpu_shares), (96 * MIB, 333));
        let spec = node.container_info(&id).await?["runtimeSpec"].clone();
        assert_eq!(spec["annotations"]["added"], "by plugin");
        assert!(spec["annotations"].get("taken").is_none());
        assert_eq!(spec["process"]["ioPriority"], json!({ "class": "IOPRIO_CLASS_BE", "priority": 7 }));
        assert_eq!(spec["linux"]["resources"]["pids"]["limit"], 77);
        let seen = plugin.event("PostCreateContainer", |_| true).await?;
        assert_eq!(seen["container"]["linux"]["oomScoreAdj"]["value"], "456", "as it came to be: {seen}");

        // An update keeps what the plugin set.
        let linux =
            v1::LinuxContainerResources { cpu_quota: 50_000, cpu_period: 100_000, ..Default::default() };
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(linux),
            ..Default::default()
        };
        node.runtime.update_container_resources(request).await?;
        let status = node.container_status(&id).await?;
        let limits = status.resources.and_then(|resources| resources.linux).context("limits")?;
        assert_eq!(
            (limits.memory_limit_in_bytes, limits.cpu_shares, limits.cpu_quota),
            (96 * MIB, 333, 50_000)
        );
        Ok(())
    })
    .await;
}

/// What the runtime or the host cannot do is refused in the plugin's name, and nothing is left.
#[tokio::test]
async fn what_cannot_be_had_is_refused_with_the_plugins_name() {
    need!(NriPlugin);
    node::run(async |node| {
        let cases = [
            (
                "kernel",
                json!({ "linux": { "resources": { "memory": { "kernel": { "value": "1" } } } } }),
                "memory.kernel",
            ),
            (
                "blockio",
                json!({ "linux": { "resources": { "blockioClass": { "value": "slow" } } } }),
                "blockio_class",
            ),
            ("rdt", json!({ "linux": { "resources": { "rdtClass": { "value": "slow" } } } }), "rdt_class"),
            ("cgroup", json!({ "linux": { "cgroupsPath": "../up" } }), "cgroups_path"),
            (
                "mount",
                json!({ "mounts": [{ "destination": "relative", "type": "bind", "source": "/etc" }] }),
                "mounts",
            ),
            ("netdev", json!({ "linux": { "netDevices": { "eth9": { "name": "eth1" } } } }), "net_devices"),
            (
                "mempol",
                json!({ "linux": { "memoryPolicy": { "mode": "MPOL_BIND", "nodes": "0" } } }),
                "memory_policy",
            ),
            ("cdi", json!({ "CDIDevices": [{ "name": "vendor.example/none=0" }] }), "vendor.example/none=0"),
        ];
        let adjust: serde_json::Map<String, Value> =
            cases.iter().map(|(name, wanted, _)| ((*name).to_owned(), wanted.clone())).collect();
        let _plugin = Plugin::start(node, "10", "dreamer", &json!({ "adjust": adjust })).await?;
        let sandbox = requests::sandbox(node, "dreams");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        for (name, _, field) in &cases {
            let refused = node.create(&sandbox_id, &requests::idle(name), &sandbox).await;
            let refused = refused.err().with_context(|| format!("{name} is not refused"))?;
            let message = refused.message();
            assert!(message.contains("10-dreamer") && message.contains(field), "{name}: {message}");
        }
        let list = node.runtime.list_containers(v1::ListContainersRequest::default()).await?.into_inner();
        assert_eq!(list.containers, []);
        Ok(())
    })
    .await;
}

/// Fields of the newest spec, with the runtime that knows them.
#[tokio::test]
async fn the_newest_fields_arrive_where_the_runtime_knows_them() {
    need!(NriPlugin, Runc);
    node::run(async |node| {
        let wanted = json!({ "linux": { "memoryPolicy": { "mode": "MPOL_PREFERRED", "nodes": "0" } } });
        let plugin = Plugin::start(node, "10", "modern", &json!({ "adjust": { "main": wanted } })).await?;
        let sandbox = requests::sandbox(node, "modern");
        let sandbox_id = node.run_sandbox(&sandbox, "runc").await?;
        let id = node.run_container(&sandbox_id, &requests::idle("main"), &sandbox).await?;
        let spec = node.container_info(&id).await?["runtimeSpec"].clone();
        assert_eq!(spec["linux"]["memoryPolicy"], json!({ "mode": "MPOL_PREFERRED", "nodes": "0" }));
        let pid = node.container_info(&id).await?["pid"].to_string();
        let maps = fs::read_to_string(format!("/proc/{pid}/numa_maps"))?;
        assert!(maps.contains("prefer"), "{maps}");
        drop(plugin);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_network_device_of_the_host_is_moved_into_the_pod() {
    need!(NriPlugin, Runc);
    node::run(async |node| {
        // Either end goes with the other, at the latest when the pod does.
        let (name, peer) = (format!("nri{}", std::process::id()), format!("peer{}", std::process::id()));
        let made = std::process::Command::new("ip")
            .args(["link", "add", &name, "type", "veth", "peer", "name", &peer])
            .status()?;
        anyhow::ensure!(made.success(), "ip link add: {made}");
        let wanted = json!({ "linux": { "netDevices": { name.clone(): { "name": "moved0" } } } });
        let _plugin = Plugin::start(node, "10", "mover", &json!({ "adjust": { "main": wanted } })).await?;
        let sandbox = requests::sandbox(node, "moved");
        let sandbox_id = node.run_sandbox(&sandbox, "runc").await?;
        let id = node.run_container(&sandbox_id, &requests::idle("main"), &sandbox).await?;
        assert!(node.output(&id, &["ls", "/sys/class/net"]).await?.contains("moved0"));
        assert!(!std::path::Path::new("/sys/class/net").join(&name).exists(), "it is gone from the host");
        node.stop_sandbox(&sandbox_id).await?;
        node.remove_sandbox(&sandbox_id).await?;
        linkspan_tests::wait::until("the other end goes", std::time::Duration::from_secs(10), async || {
            anyhow::ensure!(!std::path::Path::new("/sys/class/net").join(&peer).exists());
            Ok(())
        })
        .await
    })
    .await;
}
