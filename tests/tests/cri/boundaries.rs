//! What a container must not be able to do: one test per boundary, with the profile that the kubelet asks for by
//! default, and with each runtime. `tests/fixtures/probe.c` makes the attempts.

use std::process::{Child, Command};

use anyhow::{Context, Result};
use linkspan_cri_api::v1;
use linkspan_cri_api::v1::security_profile::ProfileType;
use linkspan_tests::host_mount::HostMount;
use linkspan_tests::node::Node;
use linkspan_tests::{need, node, requests};

/// As the kubelet sends them for `procMount: Default`.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const HANDLERS: [&str; 2] = ["crun", "runc"];

/// A container that idles, guarded like those of an ordinary pod, but for AppArmor: it would stand before all other
/// barriers, and they are to hold by themselves.
fn guarded(name: &str) -> v1::ContainerConfig {
    let mut config = requests::idle(name);
    config.image = Some(requests::image("registry.linkspan.test/probe"));
    let strings = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    let security = requests::security(&mut config);
    security.masked_paths = strings(&MASKED);
    security.readonly_paths = strings(&READ_ONLY);
    security.seccomp = requests::profile(ProfileType::RuntimeDefault, "");
    security.apparmor = requests::profile(ProfileType::Unconfined, "");
    config
}

/// What each attempt comes to: `done`, or an error's name.
async fn attempt(node: &mut Node, id: &str, attempts: &[(&str, &str)]) -> Result<Vec<String>> {
    let words = attempts.iter().flat_map(|(what, on)| [*what, *on]);
    let command: Vec<&str> = std::iter::once("probe").chain(words).collect();
    Ok(node.output(id, &command).await?.lines().map(str::to_owned).collect())
}

/// PID of a container's first process, as the host sees it.
async fn host_pid(node: &mut Node, id: &str) -> Result<String> {
    let info = node.container_info(id).await?;
    Ok(info["pid"].as_i64().context("a PID in the verbose status")?.to_string())
}

/// A process of the host's, until it is dropped.
struct Victim(Child);

impl Victim {
    fn start() -> Result<Victim> {
        Ok(Victim(Command::new("sleep").arg("1000").spawn()?))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn masked_paths_show_nothing_and_cannot_be_uncovered() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let id = node.run_container(&sandbox_id, &guarded("c"), &sandbox).await?;
            let mut covered = 0;
            for path in MASKED {
                let line = format!("if [ -d {path} ]; then ls -A {path} | wc -l; elif [ -e {path} ]; then echo x > {path} 2>&1; cat {path} | wc -c; fi");
                let shown = node.shell(&id, &line).await?;
                assert!(shown.is_empty() || shown == "0", "{handler} {path}: {shown}");
                if shown.is_empty() {
                    continue;
                }
                covered += 1;
                let tried = attempt(node, &id, &[("unmount", path), ("remount", path), ("mount", path)]).await?;
                assert_eq!(tried, ["EPERM"; 3], "{handler} {path}");
            }
            assert!(covered > 1, "this kernel has nothing to mask");
            assert_ne!(node.exec(&id, &["sh", "-c", "echo x > /sys/firmware/x"]).await?.exit_code, 0);
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn read_only_paths_cannot_be_written_to() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let id = node.run_container(&sandbox_id, &guarded("c"), &sandbox).await?;
            let writes = [("write", "/proc/sys/vm/swappiness"), ("write", "/proc/irq/default_smp_affinity")];
            assert_eq!(attempt(node, &id, &writes).await?, ["EROFS"; 2], "{handler}");
            let ways_out = [("remount", "/proc/sys"), ("unmount", "/proc/sys"), ("unmount", "/proc/irq")];
            assert_eq!(attempt(node, &id, &ways_out).await?, ["EPERM"; 3], "{handler}");
            // It is the list that does it: without it, the same opens.
            let mut open = guarded("open");
            requests::security(&mut open).readonly_paths.clear();
            let id = node.run_container(&sandbox_id, &open, &sandbox).await?;
            assert_eq!(attempt(node, &id, &writes[..1]).await?, ["done"], "{handler}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_hosts_sysfs_and_control_groups_cannot_be_written_to() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let id = node.run_container(&sandbox_id, &guarded("c"), &sandbox).await?;
            let find =
                "find /sys/fs/cgroup -name cgroup.procs | head -n 1; find /sys/kernel -type f | head -n 1";
            let found = node.shell(&id, find).await?;
            let writes: Vec<(&str, &str)> = found.lines().map(|path| ("write", path)).collect();
            assert_eq!(writes.len(), 2, "{found}");
            assert_eq!(attempt(node, &id, &writes).await?, ["EROFS"; 2], "{handler} {found}");
            let ways_out = [("remount", "/sys"), ("remount", "/sys/fs/cgroup"), ("unmount", "/sys")];
            assert_eq!(attempt(node, &id, &ways_out).await?, ["EPERM"; 3], "{handler}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_read_only_mount_cannot_be_written_through() {
    need!(Runc);
    node::run(async |node| {
        let host = node.prefix().join("host");
        std::fs::create_dir_all(&host)?;
        std::fs::write(host.join("file"), "x")?;
        for handler in HANDLERS {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let mut config = guarded("c");
            config.mounts = vec![v1::Mount {
                container_path: "/ro".into(),
                host_path: host.display().to_string(),
                readonly: true,
                ..Default::default()
            }];
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            assert_eq!(attempt(node, &id, &[("write", "/ro/file")]).await?, ["EROFS"], "{handler}");
            assert_ne!(node.exec(&id, &["rm", "/ro/file"]).await?.exit_code, 0);
            assert_eq!(attempt(node, &id, &[("remount", "/ro"), ("unmount", "/ro")]).await?, ["EPERM"; 2]);
        }
        assert!(host.join("file").exists());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_recursive_read_only_mount_cannot_be_written_through_anywhere() {
    need!(Runc);
    node::run(async |node| {
        let host = node.prefix().join("host");
        let below = HostMount::tmpfs(&host.join("below"))?;
        std::fs::write(below.path().join("file"), "x")?;
        for handler in HANDLERS {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let mount = |path: &str, recursive_read_only| v1::Mount {
                container_path: path.into(),
                host_path: host.display().to_string(),
                readonly: true,
                recursive_read_only,
                ..Default::default()
            };
            let mut config = guarded("c");
            config.mounts = vec![mount("/ro", false), mount("/rro", true)];
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let writes = [("write", "/rro/below/file"), ("write", "/ro/below/file")];
            assert_eq!(attempt(node, &id, &writes).await?, ["EROFS", "done"], "{handler}");
            let ways_out = [("remount", "/rro/below"), ("unmount", "/rro/below")];
            assert_eq!(attempt(node, &id, &ways_out).await?, ["EPERM"; 2], "{handler}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_read_only_root_cannot_be_written_to() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let mut config = guarded("c");
            requests::security(&mut config).readonly_rootfs = true;
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let tries = [("write", "/etc/passwd"), ("write", "/etc/resolv.conf"), ("write", "/etc/hostname")];
            assert_eq!(attempt(node, &id, &tries).await?, ["EROFS"; 3], "{handler}");
            assert_eq!(attempt(node, &id, &[("remount", "/")]).await?, ["EPERM"], "{handler}");
            node.shell(&id, "echo x > /dev/shm/x").await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn no_module_is_loaded() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let id = node.run_container(&sandbox_id, &guarded("c"), &sandbox).await?;
            // Not ENOSYS, which a kernel without modules would answer itself.
            assert_eq!(attempt(node, &id, &[("module", "/etc/passwd")]).await?, ["EPERM"], "{handler}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_mounted_and_no_namespace_made_for_it() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let id = node.run_container(&sandbox_id, &guarded("c"), &sandbox).await?;
            let tries = [
                ("mount", "/tmp"),
                ("namespace", ""),
                ("device", "/tmp/disk"),
                ("unmount", "/etc/resolv.conf"),
            ];
            assert_eq!(attempt(node, &id, &tries).await?, ["EPERM"; 4], "{handler}");
            // Without the filter, the capabilities alone are enough.
            let mut config = guarded("unfiltered");
            requests::security(&mut config).seccomp = None;
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            assert_eq!(attempt(node, &id, &tries[..1]).await?, ["EPERM"], "{handler}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn no_neighbour_is_traced_or_read() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            // Each with a process namespace of its own.
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let neighbour = node.run_container(&sandbox_id, &guarded("neighbour"), &sandbox).await?;
            let id = node.run_container(&sandbox_id, &guarded("c"), &sandbox).await?;
            let pid = host_pid(node, &neighbour).await?;
            let tries = [("attach", pid.as_str()), ("memory", &pid), ("signal", &pid)];
            assert_eq!(attempt(node, &id, &tries).await?, ["ESRCH"; 3], "{handler}");

            // In one namespace: seen, and still out of reach of another user.
            let mut sandbox = requests::sandbox(node, &format!("{handler}-shared"));
            let shared = v1::NamespaceOption::default();
            let linux = sandbox.linux.as_mut().unwrap();
            linux.security_context.as_mut().unwrap().namespace_options = Some(shared.clone());
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let member = |name: &str, user| {
                let mut config = guarded(name);
                let security = requests::security(&mut config);
                security.namespace_options = Some(shared.clone());
                security.run_as_user = Some(v1::Int64Value { value: user });
                config.envs = vec![v1::KeyValue { key: "MEMBER".into(), value: name.into() }];
                config
            };
            node.run_container(&sandbox_id, &member("neighbour", 2000), &sandbox).await?;
            let id = node.run_container(&sandbox_id, &member("c", 1000), &sandbox).await?;
            let pid = node.shell(&id, "ps -o pid,user,args | awk '$2 == 2000 { print $1; exit }'").await?;
            assert!(!pid.is_empty(), "the neighbour is not seen");
            let tries = [("attach", pid.as_str()), ("memory", &pid), ("signal", &pid)];
            assert_eq!(attempt(node, &id, &tries).await?, ["EPERM"; 3], "{handler}");
            for file in ["environ", "mem", "root/etc/passwd"] {
                assert_ne!(
                    node.exec(&id, &["cat", &format!("/proc/{pid}/{file}")]).await?.exit_code,
                    0,
                    "{file}"
                );
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_hosts_processes_are_not_seen_and_not_traced_where_they_are() {
    need!(Runc);
    node::run(async |node| {
        let victim = Victim::start()?;
        let pid = victim.pid();
        let tries = [("attach", pid.as_str()), ("memory", &pid)];
        for handler in HANDLERS {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let id = node.run_container(&sandbox_id, &guarded("c"), &sandbox).await?;
            let seen =
                node.shell(&id, "ps -o args | grep -c 'sleep 1000'; tr '\\0' ' ' < /proc/1/cmdline").await?;
            let (sleeping, first) = seen.split_once('\n').context("two lines")?;
            // Its own, the shell that has the words in its command, and this look.
            assert!(sleeping.parse::<u32>()? <= 4 && first.starts_with("sh -c trap"), "{handler}: {seen}");
            assert_eq!(attempt(node, &id, &tries).await?, ["ESRCH"; 2], "{handler}");
            assert_eq!(attempt(node, &id, &[("signal", &pid)]).await?, ["ESRCH"], "{handler}");

            // With the host's process namespace they are there, and root of the container has less than they have.
            let mut sandbox = requests::sandbox(node, &format!("{handler}-host"));
            let host = v1::NamespaceOption { pid: v1::NamespaceMode::Node.into(), ..Default::default() };
            let linux = sandbox.linux.as_mut().unwrap();
            linux.security_context.as_mut().unwrap().namespace_options = Some(host.clone());
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let mut config = guarded("c");
            requests::security(&mut config).namespace_options = Some(host);
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            assert_eq!(attempt(node, &id, &tries).await?, ["EPERM"; 2], "{handler}");
            let command = format!("cat /proc/{pid}/root/etc/passwd");
            assert_ne!(node.exec(&id, &["sh", "-c", &command]).await?.exit_code, 0, "{handler}");
        }
        Ok(())
    })
    .await;
}
