mod shapes;

use std::path::PathBuf;

use linkspan_image::{ImageConfig, ImageId, Mappable};
use linkspan_runtime_oci::apparmor::Support;
use linkspan_runtime_oci::cgroup::Support as CgroupSupport;
use linkspan_runtime_oci::spec::{CapabilityInput, NamespaceInput};
use linkspan_runtime_oci::{CgroupMode, Features, Process, ResolvedUser, Timestamp};

use super::{ContainerPlan, decide};
use crate::apparmor_profile::AppArmor;
use crate::container::create::facts::{Devices, Facts, PodFiles};
use crate::container::create::reserve::Reserved;
use crate::container::record::ContainerRecord;
use crate::container::state::State;
use crate::error::Error;
use crate::golden;
use crate::model::{
    ContainerConfig, ContainerId, ContainerUser, EnvVar, IdMapping, Mount, NamespaceMode, Propagation,
    SandboxConfig, SandboxId, SecurityProfile, Signal, UserNamespace,
};
use crate::mounts::MountPoint;
use crate::namespaces::Pinned;
use crate::sandbox::record::{PodCgroup, SandboxRecord};
use crate::sandbox::state;
use crate::selinux::Labels;

/// A request with all that it depends on; tests change one thing of it.
struct Case {
    config: ContainerConfig,
    image: ImageConfig,
    sandbox: SandboxRecord,
    facts: Facts,
    labels: Option<Labels>,
}

impl Case {
    fn plan(self) -> Result<ContainerPlan, Error> {
        let image_id: ImageId = "1f".repeat(32).parse().unwrap();
        let record = ContainerRecord {
            entry: Default::default(),
            id: ContainerId::try_from("c0".repeat(32)).unwrap(),
            sandbox_id: self.sandbox.id.clone(),
            config: self.config,
            handler: "crun".to_owned(),
            image_id,
            image_ref: "docker.io/library/web@sha256:00".to_owned(),
            volume_images: Vec::new(),
            created_at: Timestamp(7),
            log_path: "/var/log/pods/p/main/0.log".to_owned(),
            cgroup_path: "/kubepods/podu1/c0".to_owned(),
            user: ContainerUser::default(),
            stop_signal: Signal::default(),
            evicted: None,
            state: State::Creating,
        };
        let bundle = PathBuf::from("/run/linkspan/pods/5a/containers/c0");
        let reserved = Reserved {
            record,
            image: self.image,
            rootfs: bundle.join("rootfs"),
            bundle,
            image_volumes: Default::default(),
            labels: self.labels,
            awaits_restore: false,
        };
        decide(reserved, &self.sandbox, &self.facts)
    }

    fn refused_field(self) -> String {
        match self.plan() {
            Err(Error::BadConfig { field, .. }) => field,
            other => panic!("not refused: {other:?}"),
        }
    }
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn case() -> Case {
    Case { config: config(), image: image(), sandbox: sandbox(), facts: facts(), labels: None }
}

fn config() -> ContainerConfig {
    let mut config = ContainerConfig {
        args: strings(&["-c", "serve"]),
        envs: vec![EnvVar { key: "MODE".to_owned(), value: "prod".to_owned() }],
        mounts: vec![Mount {
            container_path: "/etc/hosts".to_owned(),
            host_path: "/var/lib/kubelet/hosts".to_owned(),
            ..Mount::default()
        }],
        ..ContainerConfig::default()
    };
    config.metadata.name = "main".to_owned();
    config.image.image = "web:1".to_owned();
    config.linux.security_context.namespace_options.pid = NamespaceMode::Container;
    config.linux.security_context.no_new_privs = true;
    config.linux.security_context.masked_paths = strings(&["/proc/kcore"]);
    config.linux.resources.memory_limit_bytes = 64 << 20;
    config.linux.resources.oom_score_adj = 988;
    config
}

fn image() -> ImageConfig {
    ImageConfig {
        env: strings(&["PATH=/bin", "MODE=dev"]),
        entrypoint: strings(&["/bin/sh"]),
        cmd: strings(&["--help"]),
        working_dir: "/srv".to_owned(),
        volumes: strings(&["/data", "/etc/hosts"]),
        ..ImageConfig::default()
    }
}

fn sandbox() -> SandboxRecord {
    let mut config = SandboxConfig { hostname: "web".to_owned(), ..SandboxConfig::default() };
    config.metadata.name = "web".to_owned();
    config.annotations.insert("example.com/hook".to_owned(), "on".to_owned());
    config.annotations.insert("run.oci.keep_original_groups".to_owned(), "1".to_owned());
    config.annotations.insert("org.criu.config".to_owned(), "/tmp/criu.conf".to_owned());
    config.annotations.insert("com.example.trace".to_owned(), "/dev/kmsg".to_owned());
    let pin = |name: &str| Some(PathBuf::from("/run/linkspan/pods/5a/ns").join(name));
    SandboxRecord {
        entry: Default::default(),
        id: SandboxId::try_from("5a".repeat(32)).unwrap(),
        config,
        runtime_handler: String::new(),
        handler: "crun".to_owned(),
        runtime_path: None,
        kind: linkspan_config::SandboxKind::Native,
        created_at: Timestamp(5),
        cgroup: PodCgroup { parent: "/kubepods/podu1".to_owned(), ..PodCgroup::default() },
        selinux_level: None,
        namespaces: Pinned { user: None, network: pin("net"), ipc: pin("ipc"), uts: pin("uts") },
        attachment: None,
        network: None,
        state: state::State::Ready { pause: Process { pid: 41, start_time: 1 } },
    }
}

fn facts() -> Facts {
    let pod = PathBuf::from("/run/linkspan/pods/5a");
    Facts {
        user: ResolvedUser { uid: 33, gid: 34, additional_gids: vec![34, 50], umask: None },
        home: Some("/var/www".to_owned()),
        sources: vec![Some(PathBuf::from("/var/lib/kubelet/real-hosts"))],
        restrictions: Vec::new(),
        mappable: Vec::new(),
        mount_table: vec![
            MountPoint { path: "/".into(), shared: false, slave: false },
            MountPoint { path: "/shared".into(), shared: true, slave: false },
            MountPoint { path: "/slave".into(), shared: false, slave: true },
        ],
        devices: Devices::default(),
        cdi: Default::default(),
        hooks: Default::default(),
        handler: Default::default(),
        container: container_defaults(),
        features: Features { oci_version: "1.0.2".to_owned(), ..Features::default() },
        seccomp: None,
        capabilities: CapabilityInput { defaults: strings(&["CAP_CHOWN"]), ..CapabilityInput::default() },
        pause: Process { pid: 41, start_time: 1 },
        target: None,
        pod_files: PodFiles {
            resolv_conf: pod.join("resolv.conf"),
            hostname: pod.join("hostname"),
            hosts: Some(pod.join("hosts")),
            shm: pod.join("shm"),
        },
        volumes_dir: "/var/lib/linkspan/volumes/c0".into(),
        has_log: false,
        host_name: "node1".to_owned(),
        oom_score_adj_floor: 0,
        cgroup_mode: CgroupMode::V2,
        support: CgroupSupport::default(),
        apparmor: AppArmor { support: Support::Off, named_profile_loaded: false },
    }
}

/// As configured by nobody.
fn container_defaults() -> linkspan_config::Container {
    let sources =
        linkspan_config::Sources { place: linkspan_config::Place::below("/nowhere"), ..Default::default() };
    linkspan_config::load(&sources).unwrap().config.container
}

#[test]
fn an_ordinary_container() {
    golden::check("container/create/plan/golden/ordinary.json", &case().plan().unwrap());
}

#[test]
fn a_privileged_container_in_a_pod_of_the_host() {
    let mut case = case();
    case.config.linux.security_context.privileged = true;
    case.config.linux.security_context.namespace_options.pid = NamespaceMode::Node;
    case.config.mounts.clear();
    case.facts.sources.clear();
    case.config.tty = true;
    case.sandbox.namespaces = Pinned::default();
    let options = &mut case.sandbox.config.linux.security_context.namespace_options;
    (options.network, options.ipc, options.pid) =
        (NamespaceMode::Node, NamespaceMode::Node, NamespaceMode::Node);
    golden::check("container/create/plan/golden/privileged-host.json", &case.plan().unwrap());
}

/// A container of a pod with a user namespace, with a volume whose owners are mapped.
fn with_own_users() -> Case {
    let mut case = case();
    let mappings = vec![IdMapping { container_id: 0, host_id: 65_536, length: 65_536 }];
    let users = UserNamespace { mode: NamespaceMode::Pod, uids: mappings.clone(), gids: mappings.clone() };
    case.sandbox.config.linux.security_context.namespace_options.userns_options = Some(users);
    case.sandbox.namespaces.user = Some("/run/linkspan/pods/5a/ns/user".into());
    case.config.mounts.push(Mount {
        container_path: "/vol".to_owned(),
        host_path: "/var/lib/kubelet/vol".to_owned(),
        uid_mappings: mappings.clone(),
        gid_mappings: mappings,
        ..Mount::default()
    });
    case.facts.sources.push(Some("/var/lib/kubelet/vol".into()));
    case.facts.mappable = vec![None, Some(Ok(Mappable::Top))];
    case.facts.restrictions = vec![vec!["nosuid", "nodev"], Vec::new()];
    case.facts.features.idmapped_mounts = true;
    case.facts.features.mount_options = strings(&["idmap", "ridmap"]);
    case
}

#[test]
fn a_container_of_a_pod_with_users_of_its_own() {
    golden::check("container/create/plan/golden/user-namespace.json", &with_own_users().plan().unwrap());
}

#[test]
fn a_pod_with_users_of_its_own_on_the_hosts_network() {
    let mut case = with_own_users();
    case.sandbox.config.linux.security_context.namespace_options.network = NamespaceMode::Node;
    (case.sandbox.namespaces.network, case.sandbox.namespaces.uts) = (None, None);
    golden::check("container/create/plan/golden/user-namespace-host-network.json", &case.plan().unwrap());
}

#[test]
fn owners_are_mapped_as_far_as_host_and_runtime_can() {
    let option = |mappable: Option<Result<Mappable, String>>, known: &[&str]| {
        let mut case = with_own_users();
        case.facts.mappable[1] = mappable;
        case.facts.features.mount_options = strings(known);
        let mounts = case.plan().unwrap().spec.mounts;
        let owners = mounts.into_iter().find(|mount| mount.container_path == "/vol").unwrap().owners.unwrap();
        owners.option.unwrap_or_default()
    };
    assert_eq!(option(Some(Ok(Mappable::All)), &["idmap", "ridmap"]), "ridmap");
    assert_eq!(option(Some(Ok(Mappable::All)), &["idmap"]), "idmap");
    assert_eq!(option(Some(Ok(Mappable::Top)), &["idmap", "ridmap"]), "idmap");
    assert_eq!(option(None, &["rro"]), "");

    let field = "config.mounts[1].uidMappings";
    let mut case = with_own_users();
    case.facts.mappable[1] = Some(Err("no".to_owned()));
    assert_eq!(case.refused_field(), field);
    let mut case = with_own_users();
    case.facts.features.idmapped_mounts = false;
    assert_eq!(case.refused_field(), field);
}

#[test]
fn who_a_container_runs_as_is_somebody_in_its_pod() {
    let refused = |change: fn(&mut ResolvedUser)| {
        let mut case = with_own_users();
        change(&mut case.facts.user);
        case.refused_field()
    };
    let field = |name: &str| format!("config.linux.security_context.{name}");
    assert_eq!(refused(|user| user.uid = 65_536), field("run_as_user"));
    assert_eq!(refused(|user| user.gid = 70_000), field("run_as_group"));
    assert_eq!(refused(|user| user.additional_gids.push(70_000)), field("supplemental_groups"));
}

#[test]
fn a_home_is_always_told() {
    let check = |of_passwd: Option<&str>, of_image: &[&str], expected: &str| {
        let mut case = case();
        case.facts.home = of_passwd.map(str::to_owned);
        case.image.env.extend(strings(of_image));
        let env = case.plan().unwrap().spec.env;
        assert!(env.iter().any(|entry| entry == expected), "{env:?}");
    };
    check(Some("/var/www"), &[], "HOME=/var/www");
    check(None, &[], "HOME=/");
    check(None, &["HOME=/of/image"], "HOME=/of/image");
}

#[test]
fn command_and_arguments_are_merged_as_kubernetes_says() {
    let check = |command: &[&str], args: &[&str], expected: &[&str]| {
        let mut case = case();
        (case.config.command, case.config.args) = (strings(command), strings(args));
        assert_eq!(case.plan().unwrap().spec.args, strings(expected));
    };
    check(&[], &[], &["/bin/sh", "--help"]);
    check(&[], &["-x"], &["/bin/sh", "-x"]);
    check(&["top"], &[], &["top"]);
    check(&["top"], &["-b"], &["top", "-b"]);
}

#[test]
fn a_container_with_nothing_to_run_is_refused() {
    let mut case = case();
    case.config.args.clear();
    case.image = ImageConfig::default();
    assert_eq!(case.refused_field(), "config.command");
}

#[test]
fn the_pid_namespace_is_the_one_asked_for() {
    let check = |mode, target, expected: NamespaceInput| {
        let mut case = case();
        case.config.linux.security_context.namespace_options.pid = mode;
        case.facts.target = target;
        assert_eq!(case.plan().unwrap().spec.namespaces.pid, expected);
    };
    check(NamespaceMode::Container, None, NamespaceInput::New);
    // Held while the runtime looks: a number may be somebody else's by then.
    let pinned = || NamespaceInput::Path("/run/linkspan/pods/5a/containers/c0/pid-namespace".into());
    check(NamespaceMode::Pod, None, pinned());
    check(NamespaceMode::Target, Some(Process { pid: 77, start_time: 1 }), pinned());
    check(NamespaceMode::Node, None, NamespaceInput::Host);
}

#[test]
fn propagation_needs_a_source_that_passes_mounts_on() {
    let case_with = |propagation, source: &str| {
        let mut case = case();
        case.config.mounts[0].propagation = propagation;
        case.facts.sources[0] = Some(PathBuf::from(source));
        case
    };
    assert!(case_with(Propagation::Bidirectional, "/shared/a").plan().is_ok());
    assert!(case_with(Propagation::HostToContainer, "/slave/a").plan().is_ok());
    assert!(case_with(Propagation::Private, "/a").plan().is_ok());
    let field = "config.mounts[0].propagation";
    assert_eq!(case_with(Propagation::Bidirectional, "/slave/a").refused_field(), field);
    assert_eq!(case_with(Propagation::HostToContainer, "/a").refused_field(), field);
}

#[test]
fn a_missing_host_path_is_made_and_a_link_is_followed() {
    let mut case = case();
    case.config.mounts.push(Mount {
        container_path: "/new".to_owned(),
        host_path: "/srv/new".to_owned(),
        ..Mount::default()
    });
    case.facts.sources.push(None);
    let plan = case.plan().unwrap();
    assert_eq!(plan.host_dirs, [PathBuf::from("/srv/new")]);
    assert_eq!(plan.record.config.mounts[0].host_path, "/var/lib/kubelet/real-hosts");
}

#[test]
fn security_that_the_host_cannot_give_is_refused() {
    let with_profile = |profile| {
        let mut case = case();
        case.config.linux.security_context.apparmor = Some(profile);
        case
    };
    let named = with_profile(SecurityProfile::Localhost("localhost/strict".to_owned()));
    assert_eq!(named.refused_field(), "config.linux.security_context.apparmor");
    assert!(with_profile(SecurityProfile::RuntimeDefault).plan().is_ok());
    assert!(with_profile(SecurityProfile::Unconfined).plan().is_ok());
}

#[test]
fn labels_are_in_the_spec_and_on_the_volumes_that_ask_for_it() {
    let plan = |labels: Option<Labels>, change: &dyn Fn(&mut Mount)| {
        let mut case = case();
        case.labels = labels;
        case.config.mounts[0].selinux_relabel = true;
        change(&mut case.config.mounts[0]);
        case.plan()
    };
    let labels =
        || Some(Labels { process: Some("u:r:p:s0:c1,c2".to_owned()), mount: "u:r:f:s0:c1,c2".to_owned() });
    let with = plan(labels(), &|_| {}).unwrap();
    assert_eq!(with.spec.selinux_process_label.as_deref(), Some("u:r:p:s0:c1,c2"));
    assert_eq!(with.spec.selinux_mount_label.as_deref(), Some("u:r:f:s0:c1,c2"));
    assert_eq!(with.relabelled, [PathBuf::from("/var/lib/kubelet/real-hosts")]);
    assert!(plan(None, &|_| {}).unwrap().relabelled.is_empty());
    assert!(plan(labels(), &|mount| mount.selinux_relabel = false).unwrap().relabelled.is_empty());
}

#[test]
fn the_apparmor_profile_is_the_one_asked_for_else_the_default() {
    let on = |default_profile: Result<(), &str>| Support::On {
        default_profile: default_profile.map_err(str::to_owned),
    };
    let plan = |asked: Option<SecurityProfile>, change: &dyn Fn(&mut Case)| {
        let mut case = case();
        case.config.linux.security_context.apparmor = asked;
        case.facts.apparmor.support = on(Ok(()));
        change(&mut case);
        case.plan().map(|plan| plan.spec.apparmor_profile)
    };
    let named = || Some(SecurityProfile::Localhost("localhost/strict".to_owned()));
    let (default, none) = (Some("linkspan-default".to_owned()), None::<String>);
    let privileged = |case: &mut Case| case.config.linux.security_context.privileged = true;
    assert_eq!(plan(None, &|_| {}).unwrap(), default);
    assert_eq!(plan(Some(SecurityProfile::RuntimeDefault), &|_| {}).unwrap(), default);
    assert_eq!(plan(Some(SecurityProfile::Unconfined), &|_| {}).unwrap(), none);
    assert_eq!(plan(Some(SecurityProfile::RuntimeDefault), &privileged).unwrap(), none);
    let loaded = |case: &mut Case| case.facts.apparmor.named_profile_loaded = true;
    assert_eq!(plan(named(), &loaded).unwrap().as_deref(), Some("strict"));
    let refused = plan(named(), &|_| {}).unwrap_err().to_string();
    assert!(refused.contains("apparmor.localhost_ref: profile \"strict\" is not loaded"), "{refused}");
    let broken = |case: &mut Case| case.facts.apparmor.support = on(Err("no parser"));
    assert_eq!(plan(None, &broken).unwrap(), none);
    let refused = plan(Some(SecurityProfile::RuntimeDefault), &broken).unwrap_err().to_string();
    assert!(refused.contains("security_context.apparmor") && refused.contains("no parser"), "{refused}");
}
