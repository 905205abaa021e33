//! What a container may ask for: users, mounts, namespaces, devices, security.

use std::fs;

use linkspan_pod_sandbox::model::{ContainerConfig, Device, EnvVar, Mount, NamespaceMode, SecurityProfile};

use crate::node::{Node, node};

fn with(node: &Node, name: &str, change: impl FnOnce(&mut ContainerConfig)) -> ContainerConfig {
    let mut config = node.container_config(name, "exec sleep 3600");
    change(&mut config);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_is_found_in_the_image() {
    let node = node!();
    let sandbox = node.sandbox("users").await;
    let named = with(&node, "named", |config| {
        config.linux.security_context.run_as_username = "www".to_owned();
        config.linux.security_context.supplemental_groups = vec![1234];
    });
    let id = node.started(&sandbox, named).await;
    assert_eq!(node.exec(&id, "id -u; id -g; id -G; echo $HOME").await, "33\n34\n34 1234 50000\n/home/www");
    let user = node.status(&id).user;
    assert_eq!((user.uid, user.gid, user.supplemental_groups), (33, 34, vec![34, 50000, 1234]));
    let numeric = with(&node, "numeric", |config| {
        config.linux.security_context.run_as_user = Some(1000);
        config.linux.security_context.run_as_group = Some(2000);
    });
    let id = node.started(&sandbox, numeric).await;
    assert_eq!(node.exec(&id, "id -u; id -g").await, "1000\n2000");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_and_directory_are_the_image_s_unless_asked_for() {
    let node = node!();
    let sandbox = node.sandbox("env").await;
    let config = with(&node, "main", |config| {
        config.envs = vec![EnvVar { key: "FROM".to_owned(), value: "request".to_owned() }];
        config.working_dir = "/made/for/it".to_owned();
    });
    let id = node.started(&sandbox, config).await;
    assert_eq!(node.exec(&id, "echo $FROM; pwd").await, "request\n/made/for/it");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_and_volumes_are_there() {
    let node = node!();
    let sandbox = node.sandbox("mounts").await;
    let host = node.dir.path().join("host");
    fs::create_dir_all(host.join("real")).unwrap();
    fs::write(host.join("real/file"), "content").unwrap();
    std::os::unix::fs::symlink("real", host.join("link")).unwrap();
    let mount = |container_path: &str, host_path: &str, readonly| Mount {
        container_path: container_path.to_owned(),
        host_path: host.join(host_path).display().to_string(),
        readonly,
        ..Mount::default()
    };
    let config = with(&node, "main", |config| {
        config.mounts = vec![mount("/link", "link", true), mount("/new", "made", false)];
    });
    let id = node.started(&sandbox, config).await;
    assert_eq!(node.exec(&id, "cat /link/file").await, "content");
    assert_eq!(node.exec(&id, "touch /link/x 2>/dev/null || echo read-only").await, "read-only");
    node.exec(&id, "touch /new/x").await;
    assert!(host.join("made/x").exists());
    assert_eq!(node.status(&id).mounts[0].host_path, host.join("real").display().to_string());
    // The image's volume has its content, and what is written is not in the writable layer.
    assert_eq!(node.exec(&id, "cat /data/seed; stat -c %a /data/seed").await, "from the image640");
    assert!(node.exec(&id, "mount").await.contains(" on /data type "));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pid_namespaces_are_shared_as_asked_for() {
    let node = node!();
    let sandbox = node.sandbox("pids").await;
    let alone = node.started(&sandbox, with(&node, "alone", |_| {})).await;
    assert_eq!(node.exec(&alone, "cat /proc/1/comm").await, "sleep");
    let shared = with(&node, "shared", |config| {
        config.linux.security_context.namespace_options.pid = NamespaceMode::Pod;
    });
    let shared = node.started(&sandbox, shared).await;
    assert!(node.exec(&shared, "ps").await.contains("pause"), "pause is PID 1 of the pod");
    let target = with(&node, "target", |config| {
        config.linux.security_context.namespace_options.pid = NamespaceMode::Target;
        config.linux.security_context.namespace_options.target_id = alone.to_string();
    });
    let target = node.started(&sandbox, target).await;
    let namespace = "stat -L -c %i /proc/self/ns/pid";
    assert_eq!(node.exec(&target, namespace).await, node.exec(&alone, namespace).await);
    assert_ne!(node.exec(&target, namespace).await, node.exec(&shared, namespace).await);
    // What a container leaves in a shared PID namespace dies with it.
    let leaver = with(&node, "leaver", |config| {
        config.command = ["sh", "-c", "sleep 4321 & sleep 0.2"].map(str::to_owned).to_vec();
        config.linux.security_context.namespace_options.pid = NamespaceMode::Pod;
    });
    let leaver = node.started(&sandbox, leaver).await;
    node.exited(&leaver).await;
    node.pods.remove_container(leaver.as_str()).await.unwrap();
    assert!(!node.exec(&shared, "ps").await.contains("4321"));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_confined_as_asked_for() {
    let node = node!();
    let sandbox = node.sandbox("confined").await;
    let config = with(&node, "main", |config| {
        let context = &mut config.linux.security_context;
        context.readonly_rootfs = true;
        context.no_new_privs = true;
        context.masked_paths = vec!["/proc/version".to_owned()];
        context.seccomp = Some(SecurityProfile::RuntimeDefault);
        context.capabilities.drop_capabilities = vec!["ALL".to_owned()];
        context.capabilities.add_capabilities = vec!["NET_BIND_SERVICE".to_owned()];
    });
    let id = node.started(&sandbox, config).await;
    assert_eq!(node.exec(&id, "touch /x 2>/dev/null || echo read-only").await, "read-only");
    assert_eq!(node.exec(&id, "cat /proc/version").await, "");
    let status = node.exec(&id, "cat /proc/self/status").await;
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".to_owned(), "2".to_owned()));
    assert_eq!(u64::from_str_radix(&field("CapBnd:"), 16).unwrap(), 1 << 10);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_privileged_container_has_the_host_s_devices() {
    let node = node!();
    let mut config = node.sandbox_config("privileged");
    config.linux.security_context.privileged = true;
    let sandbox = node.pods.run_sandbox(config, "").await.unwrap();
    let config = with(&node, "main", |config| config.linux.security_context.privileged = true);
    let id = node.started(&sandbox, config).await;
    assert!(node.exec(&id, "ls /dev").await.contains("kmsg"));
    node.exec(&id, "head -c 1 /dev/kmsg > /dev/null || true; test -w /sys/kernel").await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_shown_where_asked_for() {
    let node = node!();
    let sandbox = node.sandbox("devices").await;
    let device = |host: &str, container: &str| Device {
        host_path: host.to_owned(),
        container_path: container.to_owned(),
        permissions: "r".to_owned(),
    };
    let config =
        with(&node, "main", |config| config.devices = vec![device("/dev/kmsg", "/dev/log-of-kernel")]);
    let id = node.started(&sandbox, config).await;
    assert_eq!(node.exec(&id, "stat -c %F /dev/log-of-kernel").await, "character special file");
    let missing = with(&node, "other", |config| config.devices = vec![device("/dev/no-such", "")]);
    let error = node.pods.create_container(sandbox.as_str(), missing).await.unwrap_err();
    assert!(error.to_string().contains("config.devices[0].host_path"), "{error}");
    node.end().await;
}
