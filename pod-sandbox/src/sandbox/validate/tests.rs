use super::check;
use crate::error::Error;
use crate::model::{
    DnsConfig, NamespaceMode, PortMapping, Protocol, Resources, SandboxConfig, SandboxMetadata,
    SecurityProfile,
};

fn good() -> SandboxConfig {
    SandboxConfig {
        metadata: SandboxMetadata {
            name: "pod".to_owned(),
            uid: "uid".to_owned(),
            namespace: "default".to_owned(),
            attempt: 0,
        },
        ..SandboxConfig::default()
    }
}

/// Changes a good request and expects the field to be named.
fn refuses(field: &str, change: impl FnOnce(&mut SandboxConfig)) {
    let mut config = good();
    change(&mut config);
    match check(&config) {
        Err(Error::BadConfig { field: named, .. }) => assert_eq!(named, field),
        other => panic!("{field}: {other:?}"),
    }
}

#[test]
fn a_good_request_passes() {
    check(&good()).unwrap();
}

#[test]
fn a_name_that_no_plugin_is_told_may_be_odd() {
    let mut config = good();
    config.metadata.name = "a=b".to_owned();
    config.linux.security_context.namespace_options.network = NamespaceMode::Node;
    check(&config).unwrap();
}

#[test]
fn each_bad_field_is_named() {
    refuses("config.metadata.name", |config| config.metadata.name.clear());
    refuses("config.metadata.uid", |config| config.metadata.uid.clear());
    refuses("config.metadata.namespace", |config| config.metadata.namespace = "x".repeat(1 << 20));
    refuses("config.log_directory", |config| config.log_directory = "var/log".to_owned());
    refuses("config.log_directory", |config| config.log_directory = "/var/../etc".to_owned());
    refuses("config.hostname", |config| config.hostname = "a".repeat(65));
    refuses("config.hostname", |config| config.hostname = "a b".to_owned());
    refuses("config.labels[\"k\"]", |config| drop(config.labels.insert("k".to_owned(), "v".repeat(5000))));
    refuses("config.annotations", |config| {
        drop(config.annotations.insert("k".to_owned(), "v".repeat(1 << 20)))
    });
    refuses("config.dns_config.servers[0]", |config| {
        config.dns_config =
            Some(DnsConfig { servers: vec!["1.1.1.1\nfoo".to_owned()], ..DnsConfig::default() });
    });
    // What a fuzzer sent: the CNI plugin refused it in ADD, and in every DEL.
    refuses("config.metadata.name", |config| config.metadata.name = "a=b".to_owned());
    refuses("config.metadata.namespace", |config| config.metadata.namespace = "a;b".to_owned());
    refuses("config.metadata.uid", |config| config.metadata.uid = "a=b".to_owned());
    // What a fuzzer sent: the CNI plugin refused it, in words of its own.
    refuses("config.port_mappings[1].container_port", |config| {
        let mapping =
            |host_port| PortMapping { protocol: Protocol::Tcp, container_port: 0, host_port, host_ip: None };
        config.port_mappings = vec![mapping(0), mapping(8080)];
    });
    refuses("config.linux.cgroup_parent", |config| config.linux.cgroup_parent = "/a/../..".to_owned());
    refuses("config.linux.cgroup_parent", |config| config.linux.cgroup_parent = "/".to_owned());
    refuses("config.linux.resources.memory_limit_in_bytes", |config| {
        config.linux.resources = Some(Resources { memory_limit_bytes: -7, ..Resources::default() });
    });
    let context = "config.linux.security_context";
    refuses(&format!("{context}.namespace_options.network"), |config| {
        config.linux.security_context.namespace_options.network = NamespaceMode::Target;
    });
    refuses(&format!("{context}.namespace_options.pid"), |config| {
        config.linux.security_context.namespace_options.pid = NamespaceMode::Target;
    });
    refuses(&format!("{context}.seccomp.localhost_ref"), |config| {
        config.linux.security_context.seccomp = Some(SecurityProfile::Localhost("relative.json".to_owned()));
    });
    refuses(&format!("{context}.run_as_user"), |config| config.linux.security_context.run_as_user = Some(-1));
    refuses(&format!("{context}.run_as_group"), |config| {
        config.linux.security_context.run_as_group = Some(1)
    });
    refuses(&format!("{context}.supplemental_groups[1]"), |config| {
        config.linux.security_context.supplemental_groups = vec![1, -4];
    });
}
