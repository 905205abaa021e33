use std::collections::BTreeMap;
use std::path::Path;

use linkspan_config::SandboxKind;
use linkspan_runtime_oci::cgroup::Support;
use linkspan_runtime_oci::{CgroupMode, Timestamp};

use super::{SandboxPlan, decide};
use crate::golden;
use crate::layout::Layout;
use crate::model::{
    DnsConfig, IdMapping, NamespaceMode, PortMapping, Protocol, SandboxConfig, SandboxId, UserNamespace,
};
use crate::sandbox::run::facts::Facts;

fn facts() -> Facts {
    Facts {
        id: SandboxId::try_from("5a".repeat(32)).unwrap(),
        now: Timestamp(1_700_000_000_000_000_000),
        layout: Layout::new(Path::new("/var/lib/linkspan"), Path::new("/run/linkspan")),
        runtime_handler: String::new(),
        handler: "crun".to_owned(),
        runtime_path: "/usr/bin/crun".into(),
        kind: SandboxKind::Native,
        host_name: "node1".to_owned(),
        host_resolv_conf: "nameserver 192.0.2.53\n".to_owned(),
        host_hosts: "127.0.0.1 localhost\n".to_owned(),
        oom_score_adj_floor: -1000,
        cgroup_name: "linkspan".to_owned(),
        missing_groups: Vec::new(),
        selinux: crate::selinux::Support::Off,
        selinux_level: None,
        default_sysctls: BTreeMap::from([("net.ipv4.ping_group_range".to_owned(), "0 0".to_owned())]),
        no_user_namespaces: None,
        cgroup_mode: CgroupMode::V2,
        support: Support { swap: true, hugetlb: true },
    }
}

fn config() -> SandboxConfig {
    let mut config = SandboxConfig {
        hostname: "web".to_owned(),
        log_directory: "/var/log/pods/default_web_u1".to_owned(),
        dns_config: Some(DnsConfig {
            servers: vec!["10.96.0.10".to_owned(), "1.1.1.1".to_owned()],
            searches: vec!["default.svc.cluster.local".to_owned(), "cluster.local".to_owned()],
            options: vec!["ndots:5".to_owned()],
        }),
        port_mappings: vec![PortMapping {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_port: 8080,
            host_ip: None,
        }],
        ..SandboxConfig::default()
    };
    config.metadata.name = "web".to_owned();
    config.metadata.namespace = "default".to_owned();
    config.metadata.uid = "u1".to_owned();
    config.annotations.insert("kubernetes.io/ingress-bandwidth".to_owned(), "1M".to_owned());
    config.linux.cgroup_parent = "/kubepods/burstable/podu1".to_owned();
    config.linux.sysctls.insert("kernel.shm_rmid_forced".to_owned(), "1".to_owned());
    config
}

fn plan(change: impl FnOnce(&mut SandboxConfig)) -> SandboxPlan {
    let mut config = config();
    change(&mut config);
    decide(config, &facts()).unwrap()
}

#[test]
fn an_ordinary_pod() {
    golden::check("sandbox/run/plan/golden/ordinary.json", &plan(|_| {}));
}

#[test]
fn a_pod_of_the_host_has_no_namespaces_of_its_own() {
    let plan = plan(|config| {
        let options = &mut config.linux.security_context.namespace_options;
        (options.network, options.ipc, options.pid) =
            (NamespaceMode::Node, NamespaceMode::Node, NamespaceMode::Node);
        config.linux.sysctls.clear();
        config.linux.cgroup_parent.clear();
        config.hostname.clear();
        config.dns_config = None;
    });
    golden::check("sandbox/run/plan/golden/host.json", &plan);
}

fn with_own_users(config: &mut SandboxConfig) {
    let mappings = vec![IdMapping { container_id: 0, host_id: 65_536, length: 65_536 }];
    let users = UserNamespace { mode: NamespaceMode::Pod, uids: mappings.clone(), gids: mappings };
    config.linux.security_context.namespace_options.userns_options = Some(users);
}

#[test]
fn a_pod_with_users_of_its_own() {
    golden::check("sandbox/run/plan/golden/user-namespace.json", &plan(with_own_users));
}

#[test]
fn a_host_without_user_namespaces_says_so_to_those_who_want_one() {
    let facts = Facts { no_user_namespaces: Some("for a reason".to_owned()), ..facts() };
    assert!(decide(config(), &facts).is_ok());
    let mut config = config();
    with_own_users(&mut config);
    let refused = decide(config, &facts).unwrap_err().to_string();
    assert_eq!(refused, "config.linux.security_context.namespace_options.userns_options: for a reason");
}

#[test]
fn a_pod_that_asks_for_no_name_server_has_the_hosts() {
    let of_host = plan(|config| config.dns_config = None).resolv_conf;
    assert_eq!(of_host.content, facts().host_resolv_conf);
    assert_eq!(plan(|config| config.dns_config = Some(DnsConfig::default())).resolv_conf, of_host);
}

#[test]
fn a_cgroup_parent_without_a_leading_slash_is_the_same() {
    let check = |given: &str, expected: &str| {
        let plan = plan(|config| given.clone_into(&mut config.linux.cgroup_parent));
        assert_eq!(plan.record.cgroup.parent, expected);
    };
    check("kubepods/pod1", "/kubepods/pod1");
    check("/kubepods/pod1/", "/kubepods/pod1");
    check("", &format!("/linkspan/{}", "5a".repeat(32)));
}
