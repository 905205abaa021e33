//! The OCI specs of many shapes of pods, to be looked at: `golden/shapes/ordinary.txt` has a whole one, the others what
//! differs from it. `UPDATE_GOLDEN=1` writes them; `git diff` then shows what a change of the code does to pods.

mod lines;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use linkspan_runtime_oci::apparmor;
use linkspan_runtime_oci::cdi::Registry;
use linkspan_runtime_oci::cgroup::Support;
use linkspan_runtime_oci::oci_hooks::OciHooks;
use linkspan_runtime_oci::spec::{BaseSpec, DeviceInput, DeviceKind};
use linkspan_runtime_oci::{CgroupMode, HugepageLimit, Process, ResolvedUser};
use serde_json::json;

use super::{Case, case, strings};
use crate::apparmor_profile::AppArmor;
use crate::handler::HandlerOptions;
use crate::model::{EnvVar, Mount, NamespaceMode, Propagation, SecurityContext, SecurityProfile};

/// A name, what it is for, and what it changes of an ordinary container.
type Shape = (&'static str, &'static str, fn(&mut Case));

/// To add one: a line here, a function below, and `UPDATE_GOLDEN=1`. User namespaces, image volumes and plugins of NRI
/// have theirs at the end.
const SHAPES: &[Shape] = &[
    ("minimal", "that asks for nothing but an image's own command", minimal),
    ("privileged", "privileged: all devices and capabilities, nothing masked", privileged),
    (
        "privileged-without-host-devices",
        "privileged, by a handler that keeps the host's devices",
        kept_devices,
    ),
    ("host-network", "in a pod on the host's network", host_network),
    ("host-pid", "in a pod that sees the host's processes", host_pid),
    ("host-ipc", "in a pod with the host's IPC", host_ipc),
    ("shared-pid", "in a pod whose containers see each other's processes", shared_pid),
    ("target-pid", "an ephemeral container that debugs another one", target_pid),
    ("gpu-cdi", "with a GPU by CDI", gpu),
    ("hugepages", "with huge pages of two sizes", hugepages),
    ("init", "an init container that fills a volume, with limits of its own", init),
    ("readonly-rootfs", "with a read-only root file system", readonly_rootfs),
    ("tty", "interactive, with a terminal", tty),
    ("devices", "with two devices that belong to its user", devices),
    ("seccomp-localhost", "with a seccomp profile of the node", seccomp),
    ("apparmor-localhost", "with an AppArmor profile of the node", apparmor_profile),
    ("ambient-capabilities", "not root, yet with a capability", ambient),
    ("drop-all", "restricted as Kubernetes' Pod Security has it", drop_all),
    ("proc-unmasked", "procMount Unmasked: the kubelet masks nothing", unmasked),
    ("groups", "with supplemental groups and a user by number", groups),
    ("sysctls", "in a pod with sysctls, which its namespaces have had from the start", sysctls),
    ("hooks", "with hooks of the node's directories", hooks),
    ("base-spec", "by a handler with a base_spec", base_spec),
    ("handler-annotations", "by a handler with default and allowed annotations", annotations),
    ("unsafe-annotations", "of a runtime that calls one of the pod's annotations unsafe", unsafe_annotations),
    ("configured-defaults", "on a node that gives limits, variables, mounts and devices", defaults),
    ("cgroup-v1", "on a host with cgroup v1", cgroup_v1),
    ("cgroup-writable", "by a handler that lets containers make cgroups", cgroup_writable),
    ("propagation", "with a volume of each propagation", propagation),
    ("readonly-volumes", "with read-only, recursively read-only and noexec volumes", readonly_volumes),
    ("burstable", "of QoS class Burstable", burstable),
    ("guaranteed", "of QoS class Guaranteed, with cores of its own", guaranteed),
];

#[test]
fn shapes_of_pods() {
    let whole = lines::of(&ordinary().plan().unwrap().oci_spec().unwrap());
    let mut differing = Vec::new();
    compare("ordinary", "# An ordinary container, whole.", &whole, &mut differing);
    for (name, meaning, change) in SHAPES {
        let mut case = ordinary();
        change(&mut case);
        let spec = case.plan().unwrap_or_else(|error| panic!("{name}: {error}")).oci_spec().unwrap();
        let title = format!("# A container {meaning}: what differs from an ordinary one.");
        compare(name, &title, &lines::difference(&whole, &lines::of(&spec)), &mut differing);
    }
    assert!(
        differing.is_empty(),
        "look at them with UPDATE_GOLDEN=1 and git diff:\n{}",
        differing.join("\n")
    );
}

fn compare(name: &str, title: &str, lines: &[String], differing: &mut Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("src/container/create/plan/golden/shapes/{name}.txt"));
    let actual =
        format!("{title}\n\n{}\n", if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") });
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &actual).unwrap();
    }
    if fs::read_to_string(&path).unwrap_or_default() != actual {
        differing.push(format!("{}:\n{actual}", path.display()));
    }
}

/// With enough for shapes to take something away.
fn ordinary() -> Case {
    let mut case = case();
    case.facts.capabilities.bounding =
        strings(&["CAP_CHOWN", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN"]);
    case.config.linux.security_context.readonly_paths = strings(&["/proc/sys"]);
    case.image.volumes = strings(&["/data"]);
    case
}

fn context(case: &mut Case) -> &mut SecurityContext {
    &mut case.config.linux.security_context
}

/// A volume; its source is there.
fn volume(case: &mut Case, host_path: &str, container_path: &str, change: impl FnOnce(&mut Mount)) {
    let mut mount = Mount {
        host_path: host_path.to_owned(),
        container_path: container_path.to_owned(),
        ..Mount::default()
    };
    change(&mut mount);
    case.config.mounts.push(mount);
    case.facts.sources.push(Some(host_path.into()));
}

fn node(path: &str, minor: i64) -> DeviceInput {
    DeviceInput {
        path: path.to_owned(),
        host_path: path.into(),
        kind: DeviceKind::Char,
        major: 10,
        minor,
        file_mode: Some(0o600),
        uid: Some(0),
        gid: Some(0),
        permissions: "rwm".to_owned(),
    }
}

fn minimal(case: &mut Case) {
    case.config.args.clear();
    case.config.envs.clear();
    case.config.mounts.clear();
    case.facts.sources.clear();
    case.config.linux.resources = Default::default();
    let pid = case.config.linux.security_context.namespace_options.pid;
    *context(case) = SecurityContext::default();
    context(case).namespace_options.pid = pid;
    case.facts.user = ResolvedUser::default();
    case.facts.home = None;
}

fn privileged(case: &mut Case) {
    context(case).privileged = true;
    unmasked(case);
    case.sandbox.config.linux.security_context.privileged = true;
    case.facts.devices.host = vec![node("/dev/fuse", 229), node("/dev/loop-control", 237)];
}

fn kept_devices(case: &mut Case) {
    privileged(case);
    // The facts have read none.
    case.facts.devices.host.clear();
    case.facts.devices.requested = vec![vec![node("/dev/fuse", 229)]];
    let options = HandlerOptions { privileged_without_host_devices: true, ..HandlerOptions::default() };
    case.facts.handler = Arc::new(options);
}

fn host_network(case: &mut Case) {
    case.sandbox.namespaces.network = None;
    case.sandbox.namespaces.uts = None;
    case.sandbox.config.hostname.clear();
    case.sandbox.config.linux.security_context.namespace_options.network = NamespaceMode::Node;
    context(case).namespace_options.network = NamespaceMode::Node;
    case.config.mounts.clear();
    case.facts.sources.clear();
}

fn host_pid(case: &mut Case) {
    case.sandbox.config.linux.security_context.namespace_options.pid = NamespaceMode::Node;
    context(case).namespace_options.pid = NamespaceMode::Node;
}

fn host_ipc(case: &mut Case) {
    case.sandbox.namespaces.ipc = None;
    case.sandbox.config.linux.security_context.namespace_options.ipc = NamespaceMode::Node;
    context(case).namespace_options.ipc = NamespaceMode::Node;
}

fn shared_pid(case: &mut Case) {
    context(case).namespace_options.pid = NamespaceMode::Pod;
}

fn target_pid(case: &mut Case) {
    context(case).namespace_options.pid = NamespaceMode::Target;
    case.facts.target = Some(Process { pid: 77, start_time: 1 });
}

fn gpu(case: &mut Case) {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"
cdiVersion: "0.7.0"
kind: vendor.example/gpu
devices:
  - name: "0"
    containerEdits:
      env: [ "GPU_VISIBLE=0" ]
      deviceNodes: [ { path: /dev/gpu0, type: c, major: 195, minor: 7, permissions: rw } ]
containerEdits:
  env: [ "GPU_VENDOR=example" ]
  deviceNodes: [ { path: /dev/gpuctl, type: c, major: 195, minor: 255, fileMode: 0o666, uid: 0, gid: 0 } ]
  mounts: [ { hostPath: /usr/lib/libgpu.so, containerPath: /usr/lib/libgpu.so, options: [ ro, nosuid, nodev, bind ] } ]
  hooks: [ { hookName: createContainer, path: /usr/bin/gpu-hook, args: [ gpu-hook, update-ldcache ] } ]
  additionalGids: [ 44 ]
"#;
    fs::write(folder.path().join("gpu.yaml"), text).unwrap();
    case.config.cdi_devices = strings(&["vendor.example/gpu=0"]);
    let names = crate::container::cdi::names(&case.config).unwrap();
    case.facts.cdi = Registry::read(&[folder.path().to_owned()]).resolve(&names).unwrap();
}

fn hugepages(case: &mut Case) {
    case.facts.support = Support { hugetlb: true, ..case.facts.support };
    let limit = |page_size: &str, limit_bytes| HugepageLimit { page_size: page_size.to_owned(), limit_bytes };
    case.config.linux.resources.hugepage_limits = vec![limit("2MB", 64 << 20), limit("1GB", 0)];
    volume(case, "/var/lib/kubelet/huge", "/hugepages", |_| {});
}

fn init(case: &mut Case) {
    case.config.metadata.name = "init".to_owned();
    case.config.command = strings(&["sh", "-c", "cp -r /seed/. /work"]);
    case.config.args.clear();
    case.config.linux.resources.memory_limit_bytes = 32 << 20;
    case.config.linux.resources.cpu_shares = 102;
    volume(case, "/var/lib/kubelet/empty", "/work", |_| {});
    volume(case, "/var/lib/kubelet/seed", "/seed", |mount| mount.readonly = true);
}

fn readonly_rootfs(case: &mut Case) {
    context(case).readonly_rootfs = true;
}

fn tty(case: &mut Case) {
    (case.config.tty, case.config.stdin) = (true, true);
}

fn devices(case: &mut Case) {
    let mut control = node("/dev/control", 237);
    control.permissions = "r".to_owned();
    case.facts.devices.requested = vec![vec![node("/dev/fuse", 229)], vec![control]];
    case.facts.container.device_ownership_from_security_context = true;
    context(case).run_as_user = Some(33);
    context(case).run_as_group = Some(34);
}

fn seccomp(case: &mut Case) {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW" }],
    });
    context(case).seccomp =
        Some(SecurityProfile::Localhost("/var/lib/kubelet/seccomp/strict.json".to_owned()));
    case.facts.seccomp = Some(serde_json::from_value(profile).unwrap());
}

fn apparmor_profile(case: &mut Case) {
    let support = apparmor::Support::On { default_profile: Ok(()) };
    case.facts.apparmor = AppArmor { support, named_profile_loaded: true };
    context(case).apparmor = Some(SecurityProfile::Localhost("strict".to_owned()));
}

fn ambient(case: &mut Case) {
    case.facts.capabilities.add_ambient = strings(&["NET_BIND_SERVICE"]);
}

fn drop_all(case: &mut Case) {
    case.facts.capabilities.drop = strings(&["ALL"]);
    case.facts.capabilities.add = strings(&["NET_BIND_SERVICE"]);
    context(case).no_new_privs = true;
}

fn unmasked(case: &mut Case) {
    context(case).masked_paths.clear();
    context(case).readonly_paths.clear();
}

fn groups(case: &mut Case) {
    context(case).run_as_user = Some(1000);
    case.facts.user =
        ResolvedUser { uid: 1000, gid: 2000, additional_gids: vec![2000, 3000, 4000], umask: None };
}

fn sysctls(case: &mut Case) {
    case.sandbox.config.linux.sysctls.insert("net.core.somaxconn".to_owned(), "1024".to_owned());
}

fn hooks(case: &mut Case) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, when: serde_json::Value, stages: &[&str]| {
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", name], "timeout": 10 });
        let text = json!({ "version": "1.0.0", "hook": hook, "when": when, "stages": stages }).to_string();
        fs::write(folder.path().join(format!("{name}.json")), text).unwrap();
    };
    file("10-always", json!({ "always": true }), &["createRuntime", "poststop"]);
    file("20-annotated", json!({ "annotations": { "^example\\.com/hook$": "^on$" } }), &["createContainer"]);
    file("30-other", json!({ "commands": ["^/never$"] }), &["createRuntime"]);
    file("40-mounts", json!({ "hasBindMounts": true }), &["startContainer"]);
    case.facts.hooks = OciHooks::read(&[folder.path().to_owned()]).unwrap();
}

fn base_spec(case: &mut Case) {
    let folder = tempfile::tempdir().unwrap();
    let base = json!({
        "process": {
            "args": ["never"], "env": ["MODE=base", "AGENT=on"],
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096 }],
        },
        "mounts": [{ "destination": "/opt/agent", "type": "bind", "source": "/opt/agent", "options": ["rbind", "ro"] }],
        "annotations": { "example.com/base": "yes", "example.com/hook": "off" },
        "linux": {
            "maskedPaths": ["/proc/keys"],
            "resources": { "devices": [{ "allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw" }] },
        },
    });
    let path = folder.path().join("base.json");
    fs::write(&path, base.to_string()).unwrap();
    let options =
        HandlerOptions { base_spec: Some(Arc::new(BaseSpec::read(&path).unwrap())), ..Default::default() };
    case.facts.handler = Arc::new(options);
}

fn annotations(case: &mut Case) {
    let defaults = [("example.com/hook", "handler"), ("example.com/zone", "a")];
    case.facts.handler = Arc::new(HandlerOptions {
        default_annotations: defaults.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        allowed_annotations: ["run.oci.keep_*", "org.criu.config"]
            .map(|p| glob::Pattern::new(p).unwrap())
            .into(),
        ..HandlerOptions::default()
    });
}

fn unsafe_annotations(case: &mut Case) {
    case.facts.features.unsafe_annotations = strings(&["com.example."]);
}

fn defaults(case: &mut Case) {
    let container = &mut case.facts.container;
    container.default_ulimits = ["nofile=1024:4096", "core=0"].map(|limit| limit.parse().unwrap()).into();
    container.default_env =
        ["PROXY=http://proxy:3128", "MODE=node"].map(|entry| entry.parse().unwrap()).into();
    container.default_mounts = vec!["/etc/pki/ca:/etc/ssl/certs:ro".parse().unwrap()];
    case.facts.devices.defaults = vec![node("/dev/fuse", 229)];
}

fn cgroup_v1(case: &mut Case) {
    case.facts.cgroup_mode = CgroupMode::V1;
}

fn cgroup_writable(case: &mut Case) {
    case.facts.handler = Arc::new(HandlerOptions { cgroup_writable: true, ..HandlerOptions::default() });
}

fn propagation(case: &mut Case) {
    volume(case, "/srv/private", "/private", |_| {});
    volume(case, "/slave/a", "/slave", |mount| mount.propagation = Propagation::HostToContainer);
    volume(case, "/shared/a", "/shared", |mount| mount.propagation = Propagation::Bidirectional);
}

fn readonly_volumes(case: &mut Case) {
    case.facts.features.mount_options = strings(&["rro", "noexec", "nosuid"]);
    volume(case, "/srv/a", "/a", |mount| mount.readonly = true);
    volume(case, "/srv/b", "/b", |mount| (mount.readonly, mount.recursive_read_only) = (true, true));
    volume(case, "/srv/c", "/c", |mount| mount.mount_options = strings(&["noexec", "nosuid"]));
}

fn burstable(case: &mut Case) {
    let resources = &mut case.config.linux.resources;
    resources.cpu_shares = 102;
    resources.memory_limit_bytes = 256 << 20;
    resources.oom_score_adj = 968;
    case.config.envs.push(EnvVar { key: "GOMEMLIMIT".to_owned(), value: "200MiB".to_owned() });
}

fn guaranteed(case: &mut Case) {
    let resources = &mut case.config.linux.resources;
    (resources.cpu_period, resources.cpu_quota, resources.cpu_shares) = (100_000, 200_000, 2048);
    (resources.memory_limit_bytes, resources.memory_swap_limit_bytes) = (512 << 20, 512 << 20);
    (resources.cpuset_cpus, resources.cpuset_mems) = ("2-3".to_owned(), "0".to_owned());
    resources.unified = [("memory.min".to_owned(), (512 << 20).to_string())].into();
    resources.oom_score_adj = -997;
    case.facts.oom_score_adj_floor = -1000;
    case.facts.support = Support { swap: true, ..case.facts.support };
}
