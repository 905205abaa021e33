use std::collections::BTreeMap;
use std::path::Path;

use linkspan_config::SandboxKind;
use linkspan_runtime_oci::apparmor::Support;
use linkspan_runtime_oci::cgroup;
use linkspan_runtime_oci::{CgroupMode, Features, Resources, Timestamp};

use super::decide;
use crate::apparmor_profile::AppArmor;
use crate::golden;
use crate::layout::Layout;
use crate::model::{NamespaceMode, SandboxConfig, SandboxId, SecurityProfile};
use crate::sandbox::run::facts::Facts as SandboxFacts;
use crate::sandbox::run::first_container::facts::Facts;
use crate::sandbox::run::plan::{SandboxPlan, decide as decide_sandbox};
use crate::selinux::{Label, Policy};

fn sandbox(change: impl FnOnce(&mut SandboxConfig)) -> SandboxPlan {
    sandbox_on(|_| {}, change)
}

fn sandbox_on(host: impl FnOnce(&mut SandboxFacts), change: impl FnOnce(&mut SandboxConfig)) -> SandboxPlan {
    let mut config = SandboxConfig { hostname: "web".to_owned(), ..SandboxConfig::default() };
    config.metadata.name = "web".to_owned();
    config.metadata.namespace = "default".to_owned();
    config.metadata.uid = "u1".to_owned();
    config.annotations.insert("note".to_owned(), "kept".to_owned());
    config.annotations.insert("run.oci.keep_original_groups".to_owned(), "1".to_owned());
    config.annotations.insert("org.criu.config".to_owned(), "/tmp/criu.conf".to_owned());
    config
        .annotations
        .insert("io.kubernetes.cri.sandbox-image".to_owned(), "not the pod's to say".to_owned());
    config.linux.security_context.run_as_user = Some(1000);
    config.linux.resources = Some(Resources { memory_limit_bytes: 1 << 30, ..Resources::default() });
    change(&mut config);
    let mut facts = SandboxFacts {
        id: SandboxId::try_from("5a".repeat(32)).unwrap(),
        now: Timestamp(1_700_000_000_000_000_000),
        layout: Layout::new(Path::new("/var/lib/linkspan"), Path::new("/run/linkspan")),
        runtime_handler: "gvisor".to_owned(),
        handler: "gvisor".to_owned(),
        runtime_path: "/usr/bin/runsc".into(),
        kind: SandboxKind::Oci,
        host_name: "node1".to_owned(),
        host_resolv_conf: String::new(),
        host_hosts: String::new(),
        oom_score_adj_floor: -1000,
        cgroup_name: "linkspan".to_owned(),
        missing_groups: Vec::new(),
        default_sysctls: BTreeMap::new(),
        no_user_namespaces: None,
        selinux: crate::selinux::Support::Off,
        selinux_level: None,
        cgroup_mode: CgroupMode::V2,
        support: cgroup::Support::default(),
    };
    host(&mut facts);
    decide_sandbox(config, &facts).unwrap()
}

fn facts() -> Facts {
    Facts {
        features: Features::default(),
        seccomp: None,
        cgroup_mode: CgroupMode::V2,
        support: cgroup::Support::default(),
        apparmor: AppArmor { support: Support::Off, named_profile_loaded: false },
        handler: Default::default(),
    }
}

#[test]
fn an_ordinary_sandbox_is_a_container_with_the_pod_s_namespaces_and_the_annotations_of_a_sandbox() {
    let plan = decide(&sandbox(|_| {}), &facts()).unwrap();
    golden::check("sandbox/run/first_container/plan/golden/ordinary.json", &plan);
}

#[test]
fn a_profile_that_is_not_loaded_is_refused_for_the_sandbox_too() {
    let plan = sandbox(|config| {
        config.linux.security_context.apparmor = Some(SecurityProfile::Localhost("localhost/strict".into()));
    });
    let mut facts = facts();
    facts.apparmor.support = Support::On { default_profile: Ok(()) };
    let refused = decide(&plan, &facts).unwrap_err().to_string();
    assert!(refused.contains("apparmor.localhost_ref: profile \"strict\" is not loaded"), "{refused}");
    facts.apparmor.named_profile_loaded = true;
    assert_eq!(decide(&plan, &facts).unwrap().spec.apparmor_profile.as_deref(), Some("strict"));
}

#[test]
fn selinux_confines_the_sandbox_s_container_like_the_pod_s_others() {
    let host = |facts: &mut SandboxFacts| {
        let label = |kind: &str| Label::parse(&format!("system_u:system_r:{kind}:s0")).unwrap();
        let policy = Policy { process: label("container_t"), file: label("container_file_t") };
        facts.selinux = crate::selinux::Support::On(Ok(policy));
        facts.selinux_level = Some("s0:c1,c2".to_owned());
    };
    let spec = decide(&sandbox_on(host, |_| {}), &facts()).unwrap().spec;
    assert_eq!(spec.selinux_process_label.as_deref(), Some("system_u:system_r:container_t:s0:c1,c2"));
    assert_eq!(spec.selinux_mount_label.as_deref(), Some("system_u:system_r:container_file_t:s0:c1,c2"));
}

#[test]
fn a_pod_of_the_host_has_the_host_s_namespaces_and_name() {
    let plan = sandbox(|config| {
        let options = &mut config.linux.security_context.namespace_options;
        (options.network, options.ipc, options.pid) =
            (NamespaceMode::Node, NamespaceMode::Node, NamespaceMode::Node);
    });
    let plan = decide(&plan, &facts()).unwrap();
    let namespaces = serde_json::to_value(&plan.spec.namespaces).unwrap();
    for kind in ["network", "ipc", "uts", "pid"] {
        assert_eq!(namespaces[kind], "Host", "{kind}");
    }
    assert_eq!(plan.hostname, None);
}
