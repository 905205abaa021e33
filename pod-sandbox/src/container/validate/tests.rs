use super::check;
use crate::error::Error;
use crate::model::{ContainerConfig, Device, EnvVar, Mount, NamespaceMode, Propagation, SandboxConfig};

fn good() -> ContainerConfig {
    let mut config = ContainerConfig::default();
    config.metadata.name = "main".to_owned();
    config.image.image = "busybox".to_owned();
    config.log_path = "main/0.log".to_owned();
    config
}

fn sandbox() -> SandboxConfig {
    SandboxConfig { log_directory: "/var/log/pods/p".to_owned(), ..SandboxConfig::default() }
}

/// Changes a good request and expects the field to be named.
fn refuses(field: &str, change: impl FnOnce(&mut ContainerConfig)) {
    let mut config = good();
    change(&mut config);
    match check(&config, &sandbox()) {
        Err(Error::BadConfig { field: named, .. }) => assert_eq!(named, format!("config.{field}")),
        other => panic!("{field}: {other:?}"),
    }
}

fn mount() -> Mount {
    Mount { container_path: "/c".to_owned(), host_path: "/h".to_owned(), ..Mount::default() }
}

#[test]
fn a_good_request_passes() {
    let mut config = good();
    config.mounts = vec![mount()];
    check(&config, &sandbox()).unwrap();
}

#[test]
fn each_bad_field_is_named() {
    refuses("metadata.name", |config| config.metadata.name.clear());
    refuses("metadata.name", |config| config.metadata.name = "x".repeat(1 << 20));
    refuses("image.image", |config| config.image.image.clear());
    refuses("working_dir", |config| config.working_dir = "tmp".to_owned());
    refuses("command[1]", |config| config.command = vec!["sh".to_owned(), "a\0b".to_owned()]);
    refuses("args[0]", |config| config.args = vec!["x".repeat(1 << 20)]);
    refuses("envs[0].key", |config| {
        config.envs = vec![EnvVar { key: "A=B".to_owned(), value: String::new() }]
    });
    refuses("log_path", |config| config.log_path = "/abs.log".to_owned());
    refuses("log_path", |config| config.log_path = "../../etc/passwd".to_owned());
    refuses("mounts[0].container_path", |config| {
        config.mounts = vec![Mount { container_path: "c".to_owned(), ..mount() }];
    });
    refuses("mounts[0].container_path", |config| {
        config.mounts = vec![Mount { container_path: "//".to_owned(), ..mount() }];
    });
    refuses("mounts[1].host_path", |config| {
        config.mounts = vec![mount(), Mount { host_path: "./h".to_owned(), ..mount() }];
    });
    refuses("mounts[0].recursive_read_only", |config| {
        config.mounts = vec![Mount { recursive_read_only: true, ..mount() }];
    });
    refuses("mounts[0].recursive_read_only", |config| {
        let propagation = Propagation::HostToContainer;
        config.mounts = vec![Mount { recursive_read_only: true, readonly: true, propagation, ..mount() }];
    });
    refuses("mounts[0].mount_options", |config| {
        config.mounts = vec![Mount { mount_options: vec!["upperdir=/".to_owned()], ..mount() }];
    });
    refuses("devices[0].host_path", |config| config.devices = vec![Device::default()]);
    refuses("devices[0].permissions", |config| {
        let (host_path, permissions) = ("/dev/null".to_owned(), "rwx".to_owned());
        config.devices = vec![Device { host_path, permissions, ..Device::default() }];
    });
    refuses("linux.resources.cpu_shares", |config| config.linux.resources.cpu_shares = -2);
}

#[test]
fn each_bad_field_of_the_security_context_is_named() {
    let refuses = |field: &str, change: fn(&mut ContainerConfig)| {
        refuses(&format!("linux.security_context.{field}"), change);
    };
    refuses("privileged", |config| config.linux.security_context.privileged = true);
    refuses("run_as_user", |config| config.linux.security_context.run_as_user = Some(-1));
    refuses("run_as_group", |config| config.linux.security_context.run_as_group = Some(5));
    refuses("run_as_username", |config| {
        config.linux.security_context.run_as_user = Some(1);
        config.linux.security_context.run_as_username = "www".to_owned();
    });
    refuses("run_as_username", |config| {
        config.linux.security_context.run_as_username = "4294967295".to_owned();
    });
    refuses("run_as_username", |config| {
        config.linux.security_context.run_as_username = "1000:-1".to_owned();
    });
    refuses("supplemental_groups[0]", |config| {
        config.linux.security_context.supplemental_groups = vec![1 << 40]
    });
    refuses("masked_paths[0]", |config| config.linux.security_context.masked_paths = vec!["proc".to_owned()]);
    refuses("namespace_options.network", |config| {
        config.linux.security_context.namespace_options.network = NamespaceMode::Node;
    });
    refuses("namespace_options.pid", |config| {
        config.linux.security_context.namespace_options.pid = NamespaceMode::Node;
    });
    refuses("namespace_options.target_id", |config| {
        config.linux.security_context.namespace_options.pid = NamespaceMode::Target;
    });
}
