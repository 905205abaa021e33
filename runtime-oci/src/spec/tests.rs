use super::*;
use std::collections::BTreeMap;
use std::path::Path;

use crate::cgroup::{CgroupMode, Support};
use crate::user::ResolvedUser;
use serde_json::Value;

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn map(items: &[(&str, &str)]) -> BTreeMap<String, String> {
    items.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A container as the kubelet asks for it in an ordinary pod.
fn ordinary() -> SpecInput {
    let pinned = |name: &str| NamespaceInput::Path(Path::new("/run/pods/p1/ns").join(name));
    SpecInput {
        oci_version: "1.0.2".to_owned(),
        args: strings(&["/bin/sh", "-c", "true"]),
        env: strings(&["PATH=/bin", "A=1", "B=2", "A=3"]),
        user: ResolvedUser { uid: 1000, gid: 1001, additional_gids: vec![1001, 50000], umask: None },
        capabilities: CapabilityInput {
            defaults: strings(&["CAP_CHOWN", "CAP_KILL"]),
            bounding: strings(&["CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN", "CAP_NET_RAW"]),
            ..CapabilityInput::default()
        },
        no_new_privileges: true,
        oom_score_adj: Some(1000),
        rootfs: "/run/pods/p1/c1/rootfs".into(),
        namespaces: Namespaces {
            network: pinned("net"),
            ipc: pinned("ipc"),
            uts: pinned("uts"),
            pid: NamespaceInput::New,
            mount: NamespaceInput::New,
            cgroup: NamespaceInput::New,
            user: NamespaceInput::Host,
        },
        mounts: vec![
            bind("/etc/hosts", "/var/lib/kubelet/hosts", false),
            bind("/dev/shm", "/run/pods/p1/shm", false),
            bind("/data", "/srv/data", true),
        ],
        resources: Resources {
            cpu_period: 100_000,
            cpu_quota: 20_000,
            cpu_shares: 204,
            memory_limit_bytes: 64 << 20,
            memory_swap_limit_bytes: 64 << 20,
            hugepage_limits: vec![HugepageLimit { page_size: "2MB".to_owned(), limit_bytes: 0 }],
            ..Resources::default()
        },
        support: Support { swap: true, hugetlb: true },
        cgroups_path: "/kubepods/burstable/pod1/c1".to_owned(),
        cgroup: CgroupMode::V2,
        masked_paths: strings(&["/proc/kcore", "/sys/firmware"]),
        readonly_paths: strings(&["/proc/sys"]),
        annotations: map(&[("io.kubernetes.cri.container-type", "container")]),
        ..SpecInput::default()
    }
}

fn bind(container_path: &str, host_path: &str, readonly: bool) -> MountInput {
    let (container_path, host_path) = (container_path.to_owned(), host_path.into());
    MountInput { container_path, host_path, readonly, ..MountInput::default() }
}

/// As JSON with sorted capabilities: the crate keeps them in a hash set.
fn json(input: &SpecInput) -> Value {
    let mut value = serde_json::to_value(build(input).unwrap()).unwrap();
    for set in value["process"]["capabilities"].as_object_mut().unwrap().values_mut() {
        set.as_array_mut().unwrap().sort_by_key(ToString::to_string);
    }
    value
}

/// Compares with `golden/<name>.json`; `UPDATE_GOLDEN=1` writes it.
fn check(name: &str, input: &SpecInput) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/spec/golden/{name}.json"));
    let text = serde_json::to_string_pretty(&json(input)).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; UPDATE_GOLDEN=1 accepts it", path.display());
}

fn refused(change: impl FnOnce(&mut SpecInput)) -> String {
    let mut input = ordinary();
    change(&mut input);
    build(&input).unwrap_err().to_string()
}

fn mounted(input: &SpecInput) -> Vec<String> {
    let value = json(input);
    let mounts = value["mounts"].as_array().unwrap();
    mounts.iter().map(|mount| mount["destination"].as_str().unwrap().to_owned()).collect()
}

fn options(input: &SpecInput, destination: &str) -> String {
    let value = json(input);
    let mounts = value["mounts"].as_array().unwrap();
    let mount = mounts.iter().rfind(|mount| mount["destination"] == destination).unwrap();
    let options = mount["options"].as_array().unwrap();
    options.iter().map(|option| option.as_str().unwrap()).collect::<Vec<_>>().join(",")
}

fn granted(change: impl FnOnce(&mut SpecInput)) -> String {
    let mut input = ordinary();
    change(&mut input);
    let value = json(&input);
    let names = value["process"]["capabilities"]["effective"].as_array().unwrap();
    names.iter().map(|name| name.as_str().unwrap().trim_start_matches("CAP_")).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_ordinary_container() {
    check("ordinary", &ordinary());
}

#[test]
fn a_privileged_container() {
    let mut input = ordinary();
    input.privileged = true;
    input.all_devices = true;
    input.seccomp = Some(oci_spec::runtime::LinuxSeccomp::default());
    input.devices =
        vec![DeviceInput { path: "/dev/fuse".to_owned(), major: 10, minor: 229, ..DeviceInput::default() }];
    input.mounts.push(MountInput { propagation: Propagation::Bidirectional, ..bind("/host", "/", false) });
    check("privileged", &input);
}

#[test]
fn a_container_of_a_user_namespaced_pod_on_the_host_network() {
    let mut input = ordinary();
    input.namespaces.network = NamespaceInput::Host;
    input.namespaces.user = NamespaceInput::New;
    input.uid_mappings = vec![IdMapping { container_id: 0, host_id: 65536, size: 65536 }];
    input.gid_mappings = input.uid_mappings.clone();
    check("user-namespace", &input);
}

#[test]
fn a_container_of_a_pod_with_users_of_its_own_a_mapped_volume_and_a_device_under_another_name() {
    let mut input = ordinary();
    input.namespaces.user = NamespaceInput::Path("/run/pods/p1/ns/user".into());
    let users = vec![IdMapping { container_id: 0, host_id: 65536, size: 65536 }];
    (input.uid_mappings, input.gid_mappings) = (users.clone(), users.clone());
    let option = Some("idmap".to_owned());
    input.mounts.push(MountInput {
        owners: Some(MountOwners { uid_mappings: users.clone(), gid_mappings: users, option }),
        ..bind("/vol", "/var/lib/kubelet/vol", false)
    });
    let device = |path: &str, host_path: &str, minor| DeviceInput {
        path: path.to_owned(),
        host_path: host_path.into(),
        major: 10,
        minor,
        ..DeviceInput::default()
    };
    input.devices = vec![device("/dev/fuse", "/dev/fuse", 229), device("/dev/tunnel", "/dev/net/tun", 200)];
    check("user-namespace-volume", &input);
}

#[test]
fn a_container_with_everything_else() {
    let mut input = ordinary();
    input.hostname = Some("own".to_owned());
    input.namespaces.uts = NamespaceInput::New;
    input.terminal = true;
    input.cwd = "/work".to_owned();
    input.env.clear();
    input.readonly_rootfs = true;
    input.recursive_read_only_supported = true;
    input.user.umask = Some(0o27);
    input.rlimits = vec![Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: 1024, hard: 4096 }];
    input.sysctls = map(&[("net.ipv4.ip_unprivileged_port_start", "0")]);
    input.resources.unified = map(&[("memory.high", "1000000")]);
    input.resources.pids_limit = 100;
    input.resources.cpuset_cpus = "0-1".to_owned();
    input.mounts = vec![
        MountInput { recursive_read_only: true, ..bind("/vol/sub", "/srv/sub", true) },
        MountInput {
            options: strings(&["noexec"]),
            propagation: Propagation::HostToContainer,
            ..bind("/vol", "/srv/vol", false)
        },
    ];
    input.devices = vec![DeviceInput {
        path: "/dev/loop7".to_owned(),
        host_path: "/dev/loop7".into(),
        kind: DeviceKind::Block,
        major: 7,
        minor: 7,
        file_mode: Some(0o660),
        uid: Some(0),
        gid: Some(6),
        permissions: "r".to_owned(),
    }];
    check("everything", &input);
}

#[test]
fn capabilities_follow_all_then_names() {
    let with = |add: &[&str], drop: &[&str]| {
        granted(|input| {
            input.capabilities.add = strings(add);
            input.capabilities.drop = strings(drop);
        })
    };
    assert_eq!(with(&[], &[]), "CHOWN KILL");
    assert_eq!(with(&["NET_RAW"], &["kill"]), "CHOWN NET_RAW");
    assert_eq!(with(&["ALL"], &[]), "CHOWN KILL NET_ADMIN NET_RAW");
    assert_eq!(with(&["ALL"], &["CAP_CHOWN"]), "KILL NET_ADMIN NET_RAW");
    assert_eq!(with(&["NET_RAW"], &["ALL"]), "NET_RAW");
    assert_eq!(with(&["ALL"], &["ALL"]), "");
    assert_eq!(granted(|input| input.privileged = true), "CHOWN KILL NET_ADMIN NET_RAW");
}

#[test]
fn a_capability_that_the_daemon_lacks_is_told_and_left_out() {
    let mut input = ordinary();
    input.capabilities.add = strings(&["SYS_RESOURCE", "NET_RAW"]);
    assert_eq!(lacking_capabilities(&input.capabilities), ["CAP_SYS_RESOURCE"]);
    input.capabilities.add = strings(&["ALL", "NET_RAW"]);
    assert!(lacking_capabilities(&input.capabilities).is_empty());
    input.capabilities.add = strings(&["NET_RAW"]);
    input.capabilities.defaults.push("CAP_SYS_RESOURCE".to_owned());
    assert_eq!(
        warnings(&input),
        ["capability CAP_SYS_RESOURCE is outside the daemon's bounding set: left out"]
    );
    assert_eq!(
        granted_capabilities(&input.capabilities, false).unwrap(),
        ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]
    );
}

#[test]
fn ambient_capabilities_are_in_every_set() {
    let mut input = ordinary();
    input.capabilities.add_ambient = strings(&["NET_ADMIN"]);
    let value = json(&input);
    for set in ["ambient", "inheritable"] {
        assert_eq!(value["process"]["capabilities"][set], serde_json::json!(["CAP_NET_ADMIN"]));
    }
    assert_eq!(granted_capabilities(&input.capabilities, false).unwrap().len(), 3);
}

#[test]
fn an_unknown_capability_is_refused() {
    let error = refused(|input| input.capabilities.add = strings(&["FLY"]));
    let field = "config.linux.security_context.capabilities.add_capabilities";
    assert_eq!(error, format!("{field}: unknown capability \"FLY\""));
}

#[test]
fn parents_are_mounted_before_children() {
    let mut input = ordinary();
    input.mounts = vec![bind("/a/b/c", "/1", false), bind("/a", "/2", false), bind("/a/b", "/3", false)];
    let mounts = mounted(&input);
    let place = |path: &str| mounts.iter().position(|other| other == path).unwrap();
    assert!(place("/a") < place("/a/b") && place("/a/b") < place("/a/b/c"));
}

#[test]
fn a_users_mount_replaces_the_default_and_what_is_below() {
    let mut input = ordinary();
    input.mounts = vec![bind("/sys/", "/sys", true)];
    let mounts = mounted(&input);
    assert!(!mounts.contains(&"/sys/fs/cgroup".to_owned()));
    assert_eq!(mounts.iter().filter(|path| *path == "/sys").count(), 1);
    assert_eq!(options(&input, "/sys"), "rbind,rprivate,ro");
    assert!(mounts.contains(&"/dev/shm".to_owned()));
}

#[test]
fn only_a_privileged_container_may_write_sysfs_and_cgroups() {
    let mut input = ordinary();
    assert!(options(&input, "/sys").ends_with(",ro") && options(&input, "/sys/fs/cgroup").ends_with(",ro"));
    input.privileged = true;
    assert!(options(&input, "/sys").ends_with(",rw") && options(&input, "/sys/fs/cgroup").ends_with(",rw"));
}

#[test]
fn the_root_file_system_propagates_as_widely_as_its_mounts() {
    let with = |propagation| {
        let mut input = ordinary();
        input.mounts.push(MountInput { propagation, ..bind("/p", "/p", false) });
        json(&input)["linux"]["rootfsPropagation"].clone()
    };
    assert_eq!(with(Propagation::Private), Value::Null);
    assert_eq!(with(Propagation::HostToContainer), "slave");
    assert_eq!(with(Propagation::Bidirectional), "shared");
}

#[test]
fn recursive_read_only_needs_the_runtime_and_its_conditions() {
    let rro = |change: fn(&mut MountInput)| {
        refused(|input| {
            input.recursive_read_only_supported = true;
            let mut mount = MountInput { recursive_read_only: true, ..bind("/r", "/r", true) };
            change(&mut mount);
            input.mounts = vec![mount];
        })
    };
    assert_eq!(rro(|mount| mount.readonly = false), "mounts[0].recursive_read_only: needs readonly");
    assert!(
        rro(|mount| mount.propagation = Propagation::Bidirectional).ends_with("needs private propagation")
    );
    let mount = MountInput { recursive_read_only: true, ..bind("/r", "/r", true) };
    let error = refused(|input| input.mounts = vec![mount]);
    assert_eq!(
        error,
        "mounts.recursive_read_only of /r: the runtime does not support recursive read-only mounts (among the mount \
         options that its `features` names, there is no `rro`)"
    );
}

#[test]
fn what_no_spec_can_express_is_refused_by_field() {
    assert!(refused(|input| input.args.clear()).starts_with("command: "));
    assert!(refused(|input| input.cwd = "work".to_owned()).starts_with("working_dir: "));
    assert!(
        refused(|input| input.mounts = vec![bind("data", "/x", false)])
            .starts_with("mounts[0].container_path: ")
    );
    assert!(refused(|input| input.mounts = vec![bind("/..", "/x", false)]).contains("mounted over"));
    assert!(
        refused(|input| input.mounts = vec![bind("/x", "x", false)]).starts_with("mounts[0].host_path: ")
    );
    assert!(refused(|input| input.cgroups_path = "pod/c".to_owned()).starts_with("cgroups_path: "));
    assert!(refused(|input| input.resources.cpu_shares = -1).starts_with("cpu_shares: "));
    assert!(
        refused(|input| input.resources.memory_swap_limit_bytes = 1)
            .starts_with("memory_swap_limit_in_bytes: ")
    );
    let fuse = DeviceInput { path: "/dev/fuse".to_owned(), ..DeviceInput::default() };
    assert!(refused(|input| input.devices = vec![fuse.clone(), fuse]).contains("/dev/fuse is there twice"));
    let odd =
        DeviceInput { path: "/dev/x".to_owned(), permissions: "rx".to_owned(), ..DeviceInput::default() };
    assert!(refused(|input| input.devices = vec![odd]).starts_with("devices[0].permissions: "));
    let limit = |soft| Rlimit { kind: "RLIMIT_CORE".to_owned(), soft, hard: 1 };
    assert!(refused(|input| input.rlimits = vec![limit(2)]).contains("above hard limit"));
    let unknown = Rlimit { kind: "RLIMIT_FUN".to_owned(), soft: 1, hard: 1 };
    assert!(refused(|input| input.rlimits = vec![unknown]).contains("RLIMIT_FUN"));
}

#[test]
fn limits_that_the_host_cannot_set_are_refused_or_missed_by_nobody() {
    let mut input = ordinary();
    input.support = Support::default();
    input.cgroup = CgroupMode::V1;
    input.resources.unified = map(&[("memory.high", "1")]);
    let refused = |input: &SpecInput| {
        check_support("linux", &input.resources, input.support, input.cgroup).unwrap_err().to_string()
    };
    assert!(refused(&input).starts_with("linux.unified: names files of cgroup v2"));
    let resources = json(&input)["linux"]["resources"].clone();
    assert_eq!(resources["memory"], serde_json::json!({"limit": 64 << 20}));
    assert!(resources.get("unified").is_none() && resources.get("hugepageLimits").is_none());
    input.resources.unified.clear();
    assert!(
        check_support("linux", &input.resources, input.support, input.cgroup).is_ok(),
        "no swap, no huge pages"
    );
    input.resources.memory_swap_limit_bytes += 1;
    assert!(refused(&input).starts_with("linux.memory_swap_limit_in_bytes: this host does not count swap"));
    input.resources.hugepage_limits[0].limit_bytes = 1;
    assert!(refused(&input).starts_with("linux.hugepage_limits: this host has no hugetlb"));
}

#[test]
fn a_memory_limit_without_a_swap_limit_allows_no_swap() {
    let mut input = ordinary();
    input.resources.memory_swap_limit_bytes = 0;
    assert_eq!(json(&input)["linux"]["resources"]["memory"]["swap"], 64 << 20);
    input.resources.memory_limit_bytes = 0;
    assert_eq!(json(&input)["linux"]["resources"].get("memory"), None);
}

#[test]
fn an_exec_inherits_all_but_its_arguments() {
    let spec = build(&ordinary()).unwrap();
    let process = exec_process(&spec, strings(&["id"]), true).unwrap();
    let own = spec.process().as_ref().unwrap();
    assert_eq!(process.args().as_deref(), Some(&strings(&["id"])[..]));
    assert_eq!(process.env().as_deref(), Some(&strings(&["TERM=xterm", "PATH=/bin", "B=2", "A=3"])[..]));
    assert_eq!((process.terminal(), process.user(), process.cwd()), (Some(true), own.user(), own.cwd()));
    assert_eq!((process.capabilities(), process.no_new_privileges()), (own.capabilities(), Some(true)));
    assert!(exec_process(&spec, Vec::new(), false).is_err());
}

#[test]
fn oom_scores_stay_within_what_the_daemon_may_set() {
    assert_eq!(clamp_oom_score_adj(-998, 0), 0);
    assert_eq!(clamp_oom_score_adj(-998, -1000), -998);
    assert_eq!(clamp_oom_score_adj(5000, -1000), 1000);
}
