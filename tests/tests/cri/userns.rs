//! Pods with users of their own (Kubernetes `hostUsers: false`).

mod boundaries;
mod sessions;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::images::layout::Layout;
use linkspan_tests::images::tar::Entry;
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests, tools};
use serde_json::json;
use tonic::Code;

/// The first of the host's users that are a pod's.
pub(crate) const HOST_ID: u32 = 200_000;
const LENGTH: u32 = 65_536;

fn mapping(host_id: u32) -> Vec<v1::IdMapping> {
    vec![v1::IdMapping { host_id, container_id: 0, length: LENGTH }]
}

fn users(host_id: u32) -> v1::UserNamespace {
    v1::UserNamespace { mode: v1::NamespaceMode::Pod.into(), uids: mapping(host_id), gids: mapping(host_id) }
}

pub(crate) fn sandbox(node: &Node, name: &str, host_id: u32) -> v1::PodSandboxConfig {
    let mut config = requests::sandbox(node, name);
    options(&mut config).userns_options = Some(users(host_id));
    config
}

pub(crate) fn options(config: &mut v1::PodSandboxConfig) -> &mut v1::NamespaceOption {
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default()
}

/// Runs the pod with this handler; the container idles.
async fn run_pod(node: &mut Node, handler: &str, config: &v1::PodSandboxConfig) -> Result<(String, String)> {
    let sandbox_id = node.run_sandbox(config, handler).await.context("RunPodSandbox")?;
    let id = node.run_container(&sandbox_id, &requests::idle("c"), config).await?;
    Ok((sandbox_id, id))
}

async fn pid(node: &mut Node, id: &str) -> Result<String> {
    Ok(node.container_info(id).await?["pid"].to_string())
}

/// The user and group that own a process on the host.
fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let metadata = fs::symlink_metadata(path.as_ref()).unwrap();
    (metadata.uid(), metadata.gid())
}

/// Every file of the layers with its owner, mode and time: nothing of a pod may change them. What the store notes beside
/// them, it notes anew once they are durable.
fn layers(node: &Node) -> Vec<(PathBuf, u32, u32, u32, i64)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, u32, u32, u32, i64)>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let metadata = fs::symlink_metadata(entry.path()).unwrap();
            let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode());
            found.push((entry.path(), uid, gid, mode, metadata.ctime()));
            if metadata.is_dir() {
                walk(&entry.path(), found);
            }
        }
    }
    let mut found = Vec::new();
    walk(&node.prefix().join("var/lib/linkspan/images/layers"), &mut found);
    found.sort();
    found.retain(|(path, ..)| path.components().any(|part| part.as_os_str() == "diff"));
    assert!(!found.is_empty());
    found
}

const HANDLERS: [&str; 2] = ["crun", "runc"];

#[tokio::test]
async fn root_inside_is_nobody_outside() {
    need!(Runc);
    node::run(async |node| {
        node.pull(requests::BUSYBOX).await?;
        let before = layers(node);
        for handler in HANDLERS {
            let mut config = sandbox(node, handler, HOST_ID);
            options(&mut config).pid = v1::NamespaceMode::Pod.into();
            let sandbox_id = node.run_sandbox(&config, handler).await.context("RunPodSandbox")?;
            let mut container = requests::idle("c");
            container.working_dir = "/new/place".to_owned();
            requests::security(&mut container).namespace_options = config
                .linux
                .as_ref()
                .and_then(|linux| linux.security_context.as_ref()?.namespace_options.clone());
            let id = node.run_container(&sandbox_id, &container, &config).await?;
            assert_eq!(node.shell(&id, "tr -s ' ' </proc/self/uid_map").await?.trim(), "0 200000 65536");
            assert_eq!(node.shell(&id, "tr -s ' ' </proc/self/gid_map").await?.trim(), "0 200000 65536");
            assert_eq!(node.shell(&id, "id -u; id -g").await?, "0\n0");
            let pid = pid(node, &id).await?;
            assert_eq!(owner(format!("/proc/{pid}")), (HOST_ID, HOST_ID), "{handler}");
            let pause = node.shell(&id, "cat /proc/1/comm; stat -c %u:%g /proc/1").await?;
            assert_eq!(pause, "pause\n0:0", "pause is the pod's too");

            let owners = "stat -c %u:%g / /bin /etc /new /new/place /etc/resolv.conf /etc/hostname /dev/shm";
            assert_eq!(node.shell(&id, owners).await?, ["0:0"; 8].join("\n"), "{handler}");
            assert_eq!(node.shell(&id, "hostname").await?, handler);
            node.shell(&id, "echo x >/bin/new; rm /bin/false; chown 1:2 /etc/passwd; echo y >/dev/shm/y")
                .await?;
            assert_eq!(node.shell(&id, "stat -c %u:%g /bin/new /etc/passwd").await?, "0:0\n1:2");
            let upper = node.prefix().join("var/lib/linkspan/images/rootfs").join(&id).join("upper");
            assert_eq!(owner(upper.join("bin/new")), (HOST_ID, HOST_ID));
            assert_eq!(owner(upper.join("etc/passwd")), (HOST_ID + 1, HOST_ID + 2));
            assert_eq!(owner(&upper), (HOST_ID, HOST_ID));
        }
        assert_eq!(layers(node), before, "the layers are untouched");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_a_container_has_by_default_is_there() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let mut config = sandbox(node, handler, HOST_ID);
            let linux = config.linux.get_or_insert_default();
            linux.sysctls.insert("kernel.shm_rmid_forced".to_owned(), "1".to_owned());
            linux.sysctls.insert("kernel.msgmax".to_owned(), "4096".to_owned());
            linux.sysctls.insert("fs.mqueue.msg_max".to_owned(), "20".to_owned());
            linux.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "80".to_owned());
            linux.sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
            let sandbox_id = node.run_sandbox(&config, handler).await.context("RunPodSandbox")?;
            let mut container = requests::idle("c");
            container.devices = vec![v1::Device {
                container_path: "/dev/numbers".into(),
                host_path: "/dev/zero".into(),
                permissions: "rw".into(),
            }];
            let security = requests::security(&mut container);
            security.masked_paths = vec!["/proc/keys".into(), "/proc/kcore".into()];
            security.readonly_paths = vec!["/proc/sys".into()];
            security.capabilities = Some(v1::Capability {
                add_capabilities: vec!["NET_ADMIN".into(), "SYS_ADMIN".into()],
                ..Default::default()
            });
            let resources = requests::resources(&mut container);
            (resources.memory_limit_in_bytes, resources.oom_score_adj) = (64 << 20, 500);
            let id = node.run_container(&sandbox_id, &container, &config).await?;
            let sysctls = "cd /proc/sys; cat kernel/shm_rmid_forced kernel/msgmax fs/mqueue/msg_max \
                           net/ipv4/ip_unprivileged_port_start; tr '\\t' ' ' <net/ipv4/ping_group_range";
            assert_eq!(node.shell(&id, sysctls).await?, "1\n4096\n20\n80\n0 65535", "{handler}");
            let kinds = "awk '{ print $2, $3 }' /proc/mounts | \
                         grep -E '^/(proc|sys|dev/mqueue|dev/pts|dev/shm) ' | sort -u";
            let expected = "/dev/mqueue mqueue\n/dev/pts devpts\n/dev/shm tmpfs\n/proc proc\n/sys sysfs";
            assert_eq!(node.shell(&id, kinds).await?, expected, "{handler}");
            node.shell(&id, "test -d /sys/fs/cgroup && ls /sys/fs/cgroup >/dev/null").await?;
            assert_eq!(node.shell(&id, "head -c 3 /dev/numbers | od -An -tx1 | tr -d ' '").await?, "000000");
            assert_eq!(node.shell(&id, "cat /proc/keys | wc -c").await?, "0");
            node.shell(&id, "echo x >/dev/null; echo x >/dev/stdout").await?;
            assert_eq!(node.shell(&id, "cat /proc/1/oom_score_adj").await?, "500");
            // It owns its network, and no more.
            node.shell(&id, "ip link add b0 type bridge || ip addr add 127.0.0.9/8 dev lo").await?;
            node.shell(&id, "mount -t tmpfs none /mnt || mkdir /mnt && mount -t tmpfs none /mnt").await?;
            for refused in [
                "mknod /tmp/null c 1 3",
                "echo 1 >/proc/sys/kernel/printk",
                "hostname other && false",
                "chroot /proc/1/root true && dd if=/dev/kmsg count=1",
            ] {
                assert_ne!(
                    node.exec(&id, &["sh", "-c", refused]).await?.exit_code,
                    0,
                    "{handler}: {refused}"
                );
            }
            let address = node.address(&sandbox_id).await?;
            let seen = node.shell(&id, "ip -4 -o addr show dev eth0").await?;
            assert!(seen.contains(&address), "{handler}: {seen}");
            let mut stats = node.runtime.clone();
            let request = v1::ContainerStatsRequest { container_id: id };
            let stats = stats.container_stats(request).await?.into_inner().stats.context("statistics")?;
            assert!(
                stats.memory.is_some_and(|memory| memory.usage_bytes.is_some_and(|bytes| bytes.value > 0))
            );
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn volumes_are_seen_with_their_owners_where_that_is_asked_for() {
    need!(Runc);
    node::run(async |node| {
        let volumes = node.prefix().join("volumes");
        let (mapped, plain) = (volumes.join("mapped"), volumes.join("plain"));
        for dir in [&mapped, &plain] {
            fs::create_dir_all(dir)?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
            fs::write(dir.join("root"), "root")?;
            fs::write(dir.join("user"), "user")?;
            chown(dir.join("user"), Some(1000), Some(1001))?;
        }
        for handler in HANDLERS {
            let config = sandbox(node, handler, HOST_ID);
            let sandbox_id = node.run_sandbox(&config, handler).await.context("RunPodSandbox")?;
            let mut container = requests::idle("c");
            container.mounts = vec![
                v1::Mount {
                    container_path: "/mapped".into(),
                    host_path: mapped.display().to_string(),
                    uid_mappings: mapping(HOST_ID),
                    gid_mappings: mapping(HOST_ID),
                    ..Default::default()
                },
                v1::Mount {
                    container_path: "/plain".into(),
                    host_path: plain.display().to_string(),
                    ..Default::default()
                },
            ];
            let id = node.run_container(&sandbox_id, &container, &config).await?;
            let owners = "cd /mapped; stat -c %u:%g . root user";
            assert_eq!(node.shell(&id, owners).await?, "0:0\n0:0\n1000:1001", "{handler}");
            let line =
                format!("echo x >/mapped/{handler}; chown 5:6 /mapped/{handler}; echo more >>/mapped/root");
            node.shell(&id, &line).await?;
            assert_eq!(owner(mapped.join(handler)), (5, 6), "{handler}: on the disk");
            // Without a mapping, what is root's is nobody's, and stays so.
            assert_eq!(node.shell(&id, "stat -c %u:%g /plain/root").await?, "65534:65534");
            for refused in
                ["echo x >>/plain/root", "touch /plain/new", "chown 0 /plain/root", "rm /plain/user"]
            {
                assert_ne!(
                    node.exec(&id, &["sh", "-c", refused]).await?.exit_code,
                    0,
                    "{handler}: {refused}"
                );
            }
            assert_eq!(fs::read_to_string(plain.join("root"))?, "root");
            // Status gives back what was asked for.
            let status = node.container_status(&id).await?;
            assert_eq!(status.mounts[0].uid_mappings, mapping(HOST_ID));
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_volume_that_cannot_be_mapped_is_refused_by_its_field() {
    need!();
    node::run(async |node| {
        let config = sandbox(node, "refused", HOST_ID);
        let sandbox_id = node.run_sandbox(&config, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let mut container = requests::idle("c");
        // The kernel maps nobody's owners in proc.
        container.mounts = vec![v1::Mount {
            container_path: "/data".into(),
            host_path: "/proc/sys".into(),
            uid_mappings: mapping(HOST_ID),
            gid_mappings: mapping(HOST_ID),
            ..Default::default()
        }];
        let refused = node.create(&sandbox_id, &container, &config).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let message = refused.message();
        assert!(
            message.contains("config.mounts[0].uidMappings") && message.contains("/proc/sys"),
            "{message}"
        );
        container.mounts[0].gid_mappings.clear();
        let refused = node.create(&sandbox_id, &container, &config).await.unwrap_err();
        assert!(refused.message().contains("gidMappings"), "{refused}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn users_beyond_the_pods_range_are_refused_by_their_field() {
    need!();
    node::run(async |node| {
        let config = sandbox(node, "range", HOST_ID);
        let sandbox_id = node.run_sandbox(&config, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let mut container = requests::idle("c");
        requests::security(&mut container).run_as_user = Some(v1::Int64Value { value: i64::from(LENGTH) });
        let refused = node.create(&sandbox_id, &container, &config).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("run_as_user"), "{refused}");
        // And a container has the pod's users, or says nothing.
        let mut container = requests::idle("c");
        requests::security(&mut container).namespace_options.get_or_insert_default().userns_options =
            Some(users(HOST_ID + 1));
        let refused = node.create(&sandbox_id, &container, &config).await.unwrap_err();
        assert!(refused.message().contains("userns_options"), "{refused}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn options_that_no_pod_can_have_are_refused_by_their_field() {
    need!();
    node::run(async |node| {
        let good = sandbox(node, "bad", HOST_ID);
        type Change = dyn Fn(&mut v1::NamespaceOption, &mut v1::UserNamespace);
        let cases: [(&str, &Change); 8] = [
            ("uids", &|_, user| user.uids.clear()),
            ("uids", &|_, user| user.uids[0].container_id = 1),
            ("uids", &|_, user| user.uids[0].length = 0),
            ("uids", &|_, user| user.uids.extend(mapping(HOST_ID + LENGTH))),
            ("gids", &|_, user| user.gids[0].host_id += 1),
            ("mode", &|_, user| user.mode = v1::NamespaceMode::Container.into()),
            ("pid", &|options, _| options.pid = v1::NamespaceMode::Node.into()),
            ("ipc", &|options, _| options.ipc = v1::NamespaceMode::Node.into()),
        ];
        for (field, change) in cases {
            let mut config = good.clone();
            let mut user = users(HOST_ID);
            change(options(&mut config), &mut user);
            options(&mut config).userns_options = Some(user);
            let refused = node.run_sandbox(&config, "").await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{field}: {refused}");
            assert!(refused.message().contains(&format!(".{field}:")), "{field}: {refused}");
        }
        assert_eq!(node.leftovers(), Vec::<String>::new());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn pods_with_different_users_share_an_image() {
    need!(Runc);
    node::run(async |node| {
        let (one, other) = (HOST_ID, HOST_ID + LENGTH);
        let configs =
            [sandbox(node, "one", one), sandbox(node, "two", other), requests::sandbox(node, "plain")];
        let (_, first) = run_pod(node, "crun", &configs[0]).await?;
        let (_, second) = run_pod(node, "runc", &configs[1]).await?;
        let (_, plain) = run_pod(node, "crun", &configs[2]).await?;
        for (id, host_id) in [(&first, one), (&second, other), (&plain, 0)] {
            assert_eq!(node.shell(id, "stat -c %u:%g /bin/busybox /").await?, "0:0\n0:0");
            let pid = pid(node, id).await?;
            assert_eq!(owner(format!("/proc/{pid}/root/bin/busybox")), (host_id, host_id));
            assert_eq!(owner(format!("/proc/{pid}")), (host_id, host_id));
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_on_the_hosts_network_has_users_of_its_own() {
    need!(Runc);
    node::run(async |node| {
        let features = node.runtime.status(v1::StatusRequest::default()).await?.into_inner().features;
        assert!(features.is_some_and(|features| features.user_namespaces_host_network));
        for handler in HANDLERS {
            let mut config = sandbox(node, handler, HOST_ID);
            options(&mut config).network = v1::NamespaceMode::Node.into();
            let (_, id) = run_pod(node, handler, &config).await?;
            let pid = pid(node, &id).await?;
            let net = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
            assert_eq!(net(&pid), net("self"));
            assert_eq!(owner(format!("/proc/{pid}")), (HOST_ID, HOST_ID));
            node.shell(&id, "test -d /sys/class/net/lo").await?;
            for refused in ["ip link set lo mtu 1400", "touch /sys/x", "echo 1 >/sys/kernel/mm/ksm/run"] {
                assert_ne!(
                    node.exec(&id, &["sh", "-c", refused]).await?.exit_code,
                    0,
                    "{handler}: {refused}"
                );
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_images_volumes_belong_to_who_owns_them_in_the_image() {
    need!(Runc);
    node::run(async |node| {
        let layout = node.prefix().join("layout");
        layout_with_volumes(&layout)?;
        node.load(&layout).await?;
        for handler in HANDLERS {
            let config = sandbox(node, handler, HOST_ID);
            let sandbox_id = node.run_sandbox(&config, handler).await.context("RunPodSandbox")?;
            let mut container = requests::container("c", &["/bin/busybox", "sleep", "1000"]);
            container.image = Some(requests::image(IMAGE));
            let id = node.create(&sandbox_id, &container, &config).await.context("CreateContainer")?;
            node.start_container(&id).await?;
            let script =
                "/bin/busybox stat -c %u:%g /full /full/file /empty; echo x >>/full/file; echo x >/empty/new";
            let said = node.output(&id, &["/bin/busybox", "sh", "-c", script]).await?;
            assert_eq!(said, "7:8\n1000:1001\n0:0", "{handler}");
        }
        Ok(())
    })
    .await;
}

const IMAGE: &str = "registry.linkspan.test/volumes:latest";

#[tokio::test]
async fn an_image_as_a_volume_is_seen_with_its_owners() {
    need!(Runc);
    node::run(async |node| {
        let id = node.pull(requests::BUSYBOX).await?;
        for handler in ["crun", "runc"] {
            let config = sandbox(node, &format!("volume-{handler}"), HOST_ID);
            let sandbox_id = node.run_sandbox(&config, handler).await?;
            let mut container = requests::idle("c");
            container.mounts = vec![v1::Mount {
                container_path: "/volume".into(),
                image: Some(requests::image(&id)),
                readonly: true,
                ..Default::default()
            }];
            let before = layers(node);
            let container = node.run_container(&sandbox_id, &container, &config).await?;
            assert_eq!(node.shell(&container, "stat -c %u:%g /volume/etc/passwd").await?, "0:0", "{handler}");
            assert_ne!(node.exec(&container, &["touch", "/volume/etc/x"]).await?.exit_code, 0);
            assert_eq!(layers(node), before);
        }
        Ok(())
    })
    .await;
}

/// An OCI layout of one image with two volumes, one of which has content.
fn layout_with_volumes(dir: &Path) -> Result<()> {
    let mut layout = Layout::create(dir)?;
    let layer = layout.layer(&[
        Entry::directory("tmp", 0o1777),
        Entry::copy("bin/busybox", 0o755, tools::busybox()),
        Entry::directory("full", 0o700).owner(7, 8),
        Entry::file("full/file", 0o600, "content").owner(1000, 1001),
    ])?;
    layout.image(IMAGE, &[&layer], &json!({ "Volumes": { "/full": {}, "/empty": {} } }))?;
    layout.finish()?;
    Ok(())
}

#[tokio::test]
async fn a_restarted_daemon_knows_the_pods_users() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let config = sandbox(node, handler, HOST_ID);
            let (sandbox_id, id) = run_pod(node, handler, &config).await?;
            let told = |status: v1::PodSandboxStatus| {
                status.linux.and_then(|linux| linux.namespaces?.options?.userns_options)
            };
            assert_eq!(told(node.sandbox_status(&sandbox_id).await?), Some(users(HOST_ID)));
            node.kill()?;
            node.start_again().await?;
            assert_eq!(told(node.sandbox_status(&sandbox_id).await?), Some(users(HOST_ID)));
            assert_eq!(node.shell(&id, "id -u; echo x >/dev/stderr").await?, "0");
            let later = node.run_container(&sandbox_id, &requests::idle("later"), &config).await?;
            assert_eq!(node.shell(&later, "stat -c %u:%g /bin/busybox /").await?, "0:0\n0:0");
            let pid = pid(node, &later).await?;
            assert_eq!(owner(format!("/proc/{pid}")), (HOST_ID, HOST_ID));
            node.stop_sandbox(&sandbox_id).await?;
            node.remove_sandbox(&sandbox_id).await?;
        }
        assert_eq!(node.leftovers(), Vec::<String>::new());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_daemon_killed_amid_pods_leaves_nothing_of_them() {
    need!();
    node::run(async |node| {
        node.pull(requests::BUSYBOX).await?;
        for round in 0..6_u64 {
            let mut calls = Vec::new();
            for index in 0..3 {
                let name = format!("cut-{round}-{index}");
                let config = sandbox(node, &name, HOST_ID + index * LENGTH);
                let mut runtime = node.runtime.clone();
                calls.push(tokio::spawn(async move {
                    let request =
                        v1::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
                    let id = runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
                    let request = v1::CreateContainerRequest {
                        pod_sandbox_id: id,
                        config: Some(requests::idle("c")),
                        sandbox_config: Some(config),
                    };
                    runtime.create_container(request).await
                }));
            }
            // Each time a little later in it.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(15 + 40 * round), async {
                for call in &mut calls {
                    let _ = call.await;
                }
            })
            .await;
            node.kill()?;
            for call in calls {
                call.abort();
            }
            node.start_again().await?;
        }
        node.remove_pods().await?;
        linkspan_tests::wait::until("nothing is left", std::time::Duration::from_secs(20), async || {
            let left = node.leftovers();
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_runtime_without_id_mapped_mounts_says_so() {
    need!();
    let folder = tempfile::tempdir().expect("a folder");
    let old = tools::crun_without_features(folder.path()).expect("a script");
    let runtimes = vec![("crun".to_owned(), tools::crun()), ("old".to_owned(), old)];
    node::with(Options { runtimes, ..Options::default() }, async |node| {
        let status = node.runtime.status(v1::StatusRequest::default()).await?.into_inner();
        let able: Vec<(String, bool)> = status
            .runtime_handlers
            .into_iter()
            .map(|handler| (handler.name, handler.features.is_some_and(|features| features.user_namespaces)))
            .collect();
        let expected = [(String::new(), true), ("crun".to_owned(), true), ("old".to_owned(), false)];
        assert_eq!(able, expected);
        let refused = node.run_sandbox(&sandbox(node, "old", HOST_ID), "old").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let message = refused.message();
        assert!(message.contains("userns_options") && message.contains("features"), "{message}");

        let config = requests::sandbox(node, "plain");
        let sandbox_id = node.run_sandbox(&config, "old").await?;
        node.pull(requests::BUSYBOX).await?;
        let mut container = requests::idle("c");
        container.mounts = vec![v1::Mount {
            container_path: "/data".into(),
            host_path: node.logs().display().to_string(),
            uid_mappings: mapping(HOST_ID),
            gid_mappings: mapping(HOST_ID),
            ..Default::default()
        }];
        let refused = node.create(&sandbox_id, &container, &config).await.unwrap_err();
        assert!(refused.message().contains("config.mounts[0].uidMappings"), "{refused}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_bars_the_pods_users_is_named() {
    need!();
    node::run(async |node| {
        let prefix = node.prefix().to_owned();
        let mode = |mode| fs::set_permissions(&prefix, fs::Permissions::from_mode(mode));
        mode(0o700)?;
        let refused = node.run_sandbox(&sandbox(node, "barred", HOST_ID), "").await.unwrap_err();
        let able = async |node: &mut Node| -> Result<bool> {
            let status = node.runtime.status(v1::StatusRequest::default()).await?.into_inner();
            let features = status.runtime_handlers.into_iter().filter_map(|handler| handler.features);
            Ok(features.into_iter().any(|features| features.user_namespaces))
        };
        assert!(!able(node).await?);
        mode(0o711)?;
        assert!(able(node).await?);
        assert_eq!(refused.code(), Code::InvalidArgument);
        let advice = format!("chmod o+x {}", prefix.display());
        assert!(refused.message().contains(&advice), "{refused}");
        Ok(())
    })
    .await;
}
