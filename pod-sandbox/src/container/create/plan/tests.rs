use std::path::PathBuf;

use linkspan_image::{ImageConfig, ImageId};
use linkspan_runtime_oci::cgroup::Support;
use linkspan_runtime_oci::spec::{CapabilityInput, NamespaceInput};
use linkspan_runtime_oci::{CgroupMode, Features, Process, ResolvedUser, Timestamp};

use super::{ContainerPlan, decide};
use crate::container::create::facts::{Facts, PodFiles};
use crate::container::create::reserve::Reserved;
use crate::container::record::ContainerRecord;
use crate::container::state::State;
use crate::error::Error;
use crate::golden;
use crate::model::{
    ContainerConfig, ContainerId, ContainerUser, EnvVar, Mount, NamespaceMode, Propagation, SandboxConfig,
    SandboxId, SecurityProfile, SelinuxOptions, Signal,
};
use crate::mounts::MountPoint;
use crate::namespaces::Pinned;
use crate::sandbox::record::{PodCgroup, SandboxRecord};
use crate::sandbox::state;

/// A request with all that it depends on; tests change one thing of it.
struct Case {
    config: ContainerConfig,
    image: ImageConfig,
    sandbox: SandboxRecord,
    facts: Facts,
}

impl Case {
    fn plan(self) -> Result<ContainerPlan, Error> {
        let image_id: ImageId = "1f".repeat(32).parse().unwrap();
        let record = ContainerRecord {
            id: ContainerId::try_from("c0".repeat(32)).unwrap(),
            sandbox_id: self.sandbox.id.clone(),
            config: self.config,
            handler: "crun".to_owned(),
            image_id,
            image_ref: "docker.io/library/web@sha256:00".to_owned(),
            created_at: Timestamp(7),
            log_path: "/var/log/pods/p/main/0.log".to_owned(),
            cgroup_path: "/kubepods/podu1/c0".to_owned(),
            user: ContainerUser::default(),
            stop_signal: Signal::default(),
            state: State::Creating,
        };
        let bundle = PathBuf::from("/run/linkspan/pods/5a/containers/c0");
        let reserved = Reserved { record, image: self.image, rootfs: bundle.join("rootfs"), bundle };
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
    Case { config: config(), image: image(), sandbox: sandbox(), facts: facts() }
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
    let pin = |name: &str| Some(PathBuf::from("/run/linkspan/pods/5a/ns").join(name));
    SandboxRecord {
        id: SandboxId::try_from("5a".repeat(32)).unwrap(),
        config,
        runtime_handler: String::new(),
        handler: "crun".to_owned(),
        created_at: Timestamp(5),
        cgroup: PodCgroup { parent: "/kubepods/podu1".to_owned(), ..PodCgroup::default() },
        namespaces: Pinned { network: pin("net"), ipc: pin("ipc"), uts: pin("uts") },
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
        mount_table: vec![
            MountPoint { path: "/".into(), shared: false, slave: false },
            MountPoint { path: "/shared".into(), shared: true, slave: false },
            MountPoint { path: "/slave".into(), shared: false, slave: true },
        ],
        devices: Vec::new(),
        features: Features { oci_version: "1.0.2".to_owned(), ..Features::default() },
        seccomp: None,
        capabilities: CapabilityInput { defaults: strings(&["CAP_CHOWN"]), ..CapabilityInput::default() },
        pause: 41,
        target: None,
        pod_files: PodFiles {
            resolv_conf: pod.join("resolv.conf"),
            hostname: pod.join("hostname"),
            shm: pod.join("shm"),
        },
        volumes_dir: "/var/lib/linkspan/volumes/c0".into(),
        host_name: "node1".to_owned(),
        oom_score_adj_floor: 0,
        cgroup_mode: CgroupMode::V2,
        support: Support::default(),
        apparmor: false,
        selinux: false,
    }
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
    check(NamespaceMode::Pod, None, NamespaceInput::Path("/proc/41/ns/pid".into()));
    check(NamespaceMode::Target, Some(77), NamespaceInput::Path("/proc/77/ns/pid".into()));
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
    let mut enforced = with_profile(SecurityProfile::Localhost("localhost/strict".to_owned()));
    enforced.facts.apparmor = true;
    assert_eq!(enforced.plan().unwrap().spec.apparmor_profile.as_deref(), Some("strict"));

    let with_labels = |selinux| {
        let mut case = case();
        case.facts.selinux = selinux;
        let level = "s0:c1".to_owned();
        case.config.linux.security_context.selinux_options =
            Some(SelinuxOptions { level, ..Default::default() });
        case.plan()
    };
    assert!(with_labels(false).is_ok());
    assert!(matches!(with_labels(true), Err(Error::Unimplemented(_))));
}
