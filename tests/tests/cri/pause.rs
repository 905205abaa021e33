//! What a container finds at pause, which is PID 1 of a pod that shares its processes: nothing, whatever it may do.

use std::fs;

use anyhow::{Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::node::Node;
use linkspan_tests::{need, node, requests};

use crate::userns;

const HANDLERS: [&str; 2] = ["crun", "runc"];

/// What each says of `/proc/1`, whoever asks: nothing, or not even that (permission denied).
const LOOKS: [(&str, &str); 8] = [
    ("its root", "ls -A /proc/1/root/"),
    ("a file of the host", "cat /proc/1/root/etc/passwd"),
    ("the host's root above it", "ls -A /proc/1/root/../etc"),
    ("its working directory", "ls -A /proc/1/cwd/"),
    ("its environment", "cat /proc/1/environ"),
    ("its descriptors", "ls -A /proc/1/fd/"),
    ("its memory", "cat /proc/1/maps"),
    ("a new file in its root", "echo x >/proc/1/root/x && echo written"),
];

/// A sandbox whose containers share their processes.
fn sharing(mut config: v1::PodSandboxConfig) -> v1::PodSandboxConfig {
    userns::options(&mut config).pid = v1::NamespaceMode::Pod.into();
    config
}

/// A container of such a pod, as `kubectl debug --profile=general` adds one, or without the capability.
fn looking(name: &str, sandbox: &v1::PodSandboxConfig, capabilities: &[&str]) -> v1::ContainerConfig {
    let mut config = requests::idle(name);
    let security = requests::security(&mut config);
    let linux = sandbox.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    security.namespace_options = linux.and_then(|context| context.namespace_options.clone());
    security.capabilities = Some(v1::Capability {
        add_capabilities: capabilities.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    });
    config
}

async fn finds_nothing(node: &mut Node, id: &str, who: &str) -> Result<()> {
    assert_eq!(node.output(id, &["cat", "/proc/1/comm"]).await?.trim(), "pause", "{who}");
    for (what, look) in LOOKS {
        let said = node.exec(id, &["sh", "-c", look]).await?;
        // Of a program that may be traced, its memory is its own; nothing of the host is in there.
        if what == "its memory" {
            let foreign =
                said.stdout.lines().find(|line| line.contains('/') && !line.contains("memfd:pause"));
            ensure!(foreign.is_none(), "{who}: {what}: {}", said.stdout);
            continue;
        }
        ensure!(said.stdout.trim().is_empty(), "{who}: {what}: {}", said.stdout);
    }
    for table in ["mountinfo", "mounts"] {
        let mounts = node.output(id, &["cat", &format!("/proc/1/{table}")]).await?;
        ensure!(mounts.lines().count() == 1 && mounts.contains(" / "), "{who}: {table}: {mounts}");
    }
    let status = node.output(id, &["cat", "/proc/1/status"]).await?;
    let line =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        ensure!(line(set) == "0000000000000000", "{who}: {set} {}", line(set));
    }
    ensure!(line("NoNewPrivs:") == "1" && line("Seccomp:") == "2", "{who}: {status}");
    Ok(())
}

#[tokio::test]
async fn a_container_that_may_trace_pause_finds_nothing_of_the_host() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let plain = sharing(requests::sandbox(node, &format!("plain-{handler}")));
            let own_users = sharing(userns::sandbox(node, &format!("users-{handler}"), userns::HOST_ID));
            for sandbox in [plain, own_users] {
                let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
                for (name, capabilities) in [
                    ("plain", &[][..]),
                    ("debug", &["SYS_PTRACE"]),
                    ("admin", &["SYS_PTRACE", "SYS_ADMIN", "DAC_OVERRIDE"]),
                ] {
                    let container = looking(name, &sandbox, capabilities);
                    let id = node.run_container(&sandbox_id, &container, &sandbox).await?;
                    finds_nothing(node, &id, &format!("{}: {name}", sandbox.hostname)).await?;
                }
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn pause_is_no_user_of_the_host_and_in_no_directory_of_it() {
    need!();
    node::run(async |node| {
        for (sandbox, owner) in [
            (requests::sandbox(node, "plain"), 65535),
            (userns::sandbox(node, "users", userns::HOST_ID), userns::HOST_ID),
        ] {
            let id = node.run_sandbox(&sandbox, "").await?;
            let info = node.sandbox_info(&id).await?;
            let pid = info["pid"].to_string();
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            for kind in ["Uid:", "Gid:"] {
                let ids = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default();
                let ids: Vec<&str> = ids.split_whitespace().collect();
                assert_eq!(ids, [owner.to_string().as_str(); 4], "{kind}");
            }
            for (kind, own) in [("mnt", true), ("cgroup", true), ("user", owner != 65535)] {
                let theirs = fs::read_link(format!("/proc/{pid}/ns/{kind}"))?;
                let apart = theirs != fs::read_link(format!("/proc/self/ns/{kind}"))?;
                assert_eq!(apart, own, "{kind}");
            }
            assert_eq!(fs::read_dir(format!("/proc/{pid}/root/"))?.count(), 0);
            assert_eq!(fs::read_dir(format!("/proc/{pid}/fd"))?.count(), 0);
        }
        Ok(())
    })
    .await;
}
