use std::fs;

use serde_json::{Value, json};

use super::{Host, adjust, describe, refused_in_updates};
use crate::api::{
    Container, ContainerAdjustment, ContainerUpdate, Hook, Hooks, HugepageLimit, KeyValue, LinuxContainer,
    LinuxContainerAdjustment, LinuxContainerUpdate, LinuxCpu, LinuxDevice, LinuxIoPriority, LinuxMemory,
    LinuxMemoryPolicy, LinuxNamespace, LinuxNetDevice, LinuxPids, LinuxRdt, LinuxResources, LinuxScheduler,
    LinuxSeccomp, Mount, OptionalBool, OptionalFileMode, OptionalInt, OptionalInt64, OptionalRepeatedString,
    OptionalString, OptionalUInt32, OptionalUInt64, PosixRlimit,
};
use crate::error::Error;
use crate::merge::{Adjusting, Owners};

const V2: Host = Host { cgroup_v2: true, swap: true, hugetlb: true };
const V1: Host = Host { cgroup_v2: false, swap: true, hugetlb: true };

fn spec(version: &str) -> Value {
    json!({
        "ociVersion": version,
        "annotations": { "given": "x", "taken": "x" },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/taken", "type": "bind", "source": "/x", "options": ["rbind"] }],
        "process": { "args": ["given"], "env": ["PATH=/bin", "TAKEN=x"], "oomScoreAdj": 1,
            "user": { "uid": 1, "gid": 2, "additionalGids": [3] },
            "rlimits": [{ "type": "RLIMIT_CORE", "hard": 1, "soft": 1 }] },
        "linux": { "cgroupsPath": "/pod/c", "namespaces": [{ "type": "pid" }, { "type": "ipc", "path": "/ipc" }],
            "resources": { "memory": { "limit": 10, "swap": 10 }, "cpu": { "shares": 2 } } },
    })
}

/// What plugin `p` makes of the spec.
fn apply(version: &str, wanted: ContainerAdjustment, host: Host) -> Result<Value, Error> {
    let mut spec = spec(version);
    let container = Container { id: "c".to_owned(), ..describe(&spec) };
    let (mut adjusting, mut owners) = (Adjusting::new(container), Owners::default());
    adjusting.take(&mut owners, "p", wanted)?;
    adjust(&mut spec, "c", &adjusting.adjust, &owners, host)?;
    Ok(spec)
}

fn linux(linux: LinuxContainerAdjustment) -> ContainerAdjustment {
    ContainerAdjustment { linux: Some(linux), ..ContainerAdjustment::default() }
}

fn resources(resources: LinuxResources) -> ContainerAdjustment {
    linux(LinuxContainerAdjustment { resources: Some(resources), ..Default::default() })
}

fn text(value: &str) -> Option<OptionalString> {
    Some(OptionalString { value: value.to_owned() })
}

fn mount(destination: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        r#type: "bind".to_owned(),
        source: "/source".to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    }
}

/// Everything that an adjustment can say and this host and runtime can do.
fn everything() -> ContainerAdjustment {
    let key_value = |key: &str, value: &str| KeyValue { key: key.to_owned(), value: value.to_owned() };
    ContainerAdjustment {
        annotations: [("added".to_owned(), "y".to_owned()), ("-taken".to_owned(), String::new())].into(),
        mounts: vec![
            mount("/a/b", &["rbind", "rslave", "relabel"]),
            mount("-/taken", &[]),
            mount("/a", &["bind"]),
        ],
        env: vec![key_value("PATH", "/usr/bin"), key_value("-TAKEN", ""), key_value("NEW", "a=b")],
        args: vec!["other".to_owned(), "program".to_owned()],
        hooks: Some(Hooks {
            create_runtime: vec![Hook {
                path: "/hook".to_owned(),
                args: vec!["hook".to_owned()],
                env: vec!["A=1".to_owned()],
                timeout: Some(OptionalInt { value: 3 }),
            }],
            ..Hooks::default()
        }),
        rlimits: vec![PosixRlimit { r#type: "RLIMIT_CORE".to_owned(), hard: 5, soft: 4 }],
        cdi_devices: Vec::new(),
        linux: Some(everything_of_linux()),
    }
}

fn everything_of_linux() -> LinuxContainerAdjustment {
    LinuxContainerAdjustment {
        devices: vec![LinuxDevice {
            path: "/dev/x".to_owned(),
            r#type: "b".to_owned(),
            major: 7,
            minor: 0,
            file_mode: Some(OptionalFileMode { value: 0o600 }),
            uid: Some(OptionalUInt32 { value: 1 }),
            gid: None,
        }],
        resources: Some(limits()),
        cgroups_path: "/other/group".to_owned(),
        oom_score_adj: Some(OptionalInt { value: 500 }),
        io_priority: Some(LinuxIoPriority { class: 1, priority: 2 }),
        seccomp_policy: Some(LinuxSeccomp {
            default_action: "SCMP_ACT_ALLOW".to_owned(),
            default_errno: Some(OptionalUInt32 { value: 38 }),
            flags: vec!["SECCOMP_FILTER_FLAG_LOG".to_owned()],
            listener_path: "/listener".to_owned(),
            ..LinuxSeccomp::default()
        }),
        namespaces: vec![
            LinuxNamespace { r#type: "-ipc".to_owned(), path: String::new() },
            LinuxNamespace { r#type: "cgroup".to_owned(), path: String::new() },
            LinuxNamespace { r#type: "network".to_owned(), path: "/net".to_owned() },
        ],
        sysctl: [("net.a".to_owned(), "1".to_owned())].into(),
        net_devices: [("eth5".to_owned(), LinuxNetDevice { name: "eth1".to_owned() })].into(),
        scheduler: Some(LinuxScheduler {
            policy: 7,
            runtime: 1,
            deadline: 2,
            period: 3,
            flags: vec![0],
            ..Default::default()
        }),
        rdt: Some(LinuxRdt {
            clos_id: text("gold"),
            schemata: Some(OptionalRepeatedString { value: vec!["L3:0=f".to_owned()] }),
            enable_monitoring: Some(OptionalBool { value: true }),
            remove: false,
        }),
        memory_policy: Some(LinuxMemoryPolicy { mode: 2, nodes: "0".to_owned(), flags: vec![0] }),
    }
}

fn limits() -> LinuxResources {
    LinuxResources {
        memory: Some(LinuxMemory {
            limit: Some(OptionalInt64 { value: 20 }),
            reservation: Some(OptionalInt64 { value: 15 }),
            ..LinuxMemory::default()
        }),
        cpu: Some(LinuxCpu {
            quota: Some(OptionalInt64 { value: -1 }),
            period: Some(OptionalUInt64 { value: 100_000 }),
            cpus: "0-1".to_owned(),
            mems: "0".to_owned(),
            ..LinuxCpu::default()
        }),
        hugepage_limits: vec![HugepageLimit { page_size: "2MB".to_owned(), limit: 9 }],
        unified: [("memory.high".to_owned(), "7".to_owned())].into(),
        pids: Some(LinuxPids { limit: 11 }),
        ..LinuxResources::default()
    }
}

#[test]
fn every_field_is_applied() {
    let spec = apply("1.3.0", everything(), V2).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/oci/golden/everything.json");
    let text = serde_json::to_string_pretty(&spec).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        fs::write(path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(path).unwrap_or_default(), "UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn what_is_applied_is_what_later_plugins_saw() {
    let mut spec = spec("1.3.0");
    let container = Container { id: "c".to_owned(), ..describe(&spec) };
    let (mut adjusting, mut owners) = (Adjusting::new(container), Owners::default());
    adjusting.take(&mut owners, "p", everything()).unwrap();
    adjust(&mut spec, "c", &adjusting.adjust, &owners, V2).unwrap();
    let described = describe(&spec);
    let sorted = |container: &Container| {
        let mut linux = container.linux.clone().unwrap();
        linux.namespaces.sort_by(|a, b| a.r#type.cmp(&b.r#type));
        // The swap limit and the rule of a device come with what was asked for.
        let limits = linux.resources.get_or_insert_default();
        limits.devices.clear();
        limits.memory.get_or_insert_default().swap = None;
        LinuxContainer { resources: linux.resources.clone(), ..linux }
    };
    assert_eq!(sorted(&described), sorted(&adjusting.container));
    assert_eq!(
        (&described.args, &described.annotations),
        (&adjusting.container.args, &adjusting.container.annotations)
    );
    assert_eq!(
        (&described.hooks, &described.rlimits),
        (&adjusting.container.hooks, &adjusting.container.rlimits)
    );
    let mut env = (described.env, adjusting.container.env);
    env.0.sort();
    env.1.sort();
    assert_eq!(env.0, env.1);
}

/// The refusal names the plugin and the field.
fn check(version: &str, wanted: ContainerAdjustment, host: Host, field: &str) {
    match apply(version, wanted, host) {
        Err(Error::Refused { plugin, field: named, .. }) => {
            assert_eq!(plugin, "p", "{field}");
            assert!(named.contains(field), "{named} does not name {field}");
        }
        other => panic!("{field} is not refused: {other:?}"),
    }
}

#[test]
fn limits_that_the_host_does_not_have_are_refused() {
    let memory =
        |memory: LinuxMemory| resources(LinuxResources { memory: Some(memory), ..LinuxResources::default() });
    let number = || Some(OptionalInt64 { value: 1 });
    check("1.3.0", memory(LinuxMemory { kernel: number(), ..Default::default() }), V1, "memory.kernel");
    check(
        "1.3.0",
        memory(LinuxMemory { kernel_tcp: number(), ..Default::default() }),
        V2,
        "memory.kernel_tcp",
    );
    check(
        "1.3.0",
        memory(LinuxMemory { swappiness: Some(OptionalUInt64 { value: 1 }), ..Default::default() }),
        V2,
        "memory.swappiness",
    );
    check(
        "1.3.0",
        memory(LinuxMemory { swap: number(), ..Default::default() }),
        Host { swap: false, ..V2 },
        "memory.swap",
    );
    let off = || Some(OptionalBool { value: false });
    check(
        "1.3.0",
        memory(LinuxMemory { use_hierarchy: off(), ..Default::default() }),
        V1,
        "memory.use_hierarchy",
    );
    check(
        "1.3.0",
        memory(LinuxMemory { disable_oom_killer: off(), ..Default::default() }),
        V2,
        "disable_oom_killer",
    );
    let cpu = LinuxCpu { realtime_runtime: number(), ..LinuxCpu::default() };
    check(
        "1.3.0",
        resources(LinuxResources { cpu: Some(cpu), ..Default::default() }),
        V2,
        "realtime_runtime",
    );
    let unified = [("memory.high".to_owned(), "1".to_owned())].into();
    check("1.3.0", resources(LinuxResources { unified, ..Default::default() }), V1, "unified");
    let pages = vec![HugepageLimit { page_size: "2MB".to_owned(), limit: 1 }];
    let without = Host { hugetlb: false, ..V2 };
    check(
        "1.3.0",
        resources(LinuxResources { hugepage_limits: pages, ..Default::default() }),
        without,
        "hugepage_limits",
    );
    check(
        "1.3.0",
        resources(LinuxResources { blockio_class: text("x"), ..Default::default() }),
        V2,
        "blockio_class",
    );
    check("1.3.0", resources(LinuxResources { rdt_class: text("x"), ..Default::default() }), V2, "rdt_class");
}

#[test]
fn what_the_runtime_does_not_know_is_refused() {
    for path in ["relative", "/a/../b", "/", "kubepods.slice:cri:c"] {
        let wanted = linux(LinuxContainerAdjustment { cgroups_path: path.to_owned(), ..Default::default() });
        check("1.3.0", wanted, V2, "cgroups_path");
    }
    let all = everything().linux.unwrap();
    let newest = LinuxContainerAdjustment { net_devices: all.net_devices, ..Default::default() };
    check("1.2.0", linux(newest), V2, "net_devices");
    let newest = LinuxContainerAdjustment { memory_policy: all.memory_policy, ..Default::default() };
    check("1.2.1-dev", linux(newest), V2, "memory_policy");
    let newest = LinuxContainerAdjustment { rdt: all.rdt, ..Default::default() };
    check("1.1.0", linux(newest), V2, "rdt.schemata");
    let newer = LinuxContainerAdjustment { scheduler: all.scheduler, ..Default::default() };
    check("1.0.2", linux(newer), V2, "scheduler");
    let newer = LinuxContainerAdjustment { io_priority: all.io_priority, ..Default::default() };
    check("1.0.2", linux(newer), V2, "io_priority");
    let unknown = LinuxContainerAdjustment {
        scheduler: Some(LinuxScheduler { policy: 99, ..Default::default() }),
        ..Default::default()
    };
    check("1.3.0", linux(unknown), V2, "scheduler");
    check("1.3.0", ContainerAdjustment { mounts: vec![mount("x", &[])], ..Default::default() }, V2, "mounts");
}

#[test]
fn classes_none_take_away() {
    let wanted = LinuxContainerAdjustment {
        resources: Some(LinuxResources {
            blockio_class: text(""),
            rdt_class: text(""),
            ..Default::default()
        }),
        io_priority: Some(LinuxIoPriority::default()),
        scheduler: Some(LinuxScheduler::default()),
        rdt: Some(LinuxRdt { remove: true, ..Default::default() }),
        ..Default::default()
    };
    let spec = apply("1.0.2", linux(wanted), V1).unwrap();
    assert!(spec["linux"].get("intelRdt").is_none() && spec["process"].get("scheduler").is_none());
}

#[test]
fn an_update_is_refused_for_what_it_cannot_change() {
    let update = |resources: LinuxResources| ContainerUpdate {
        container_id: "c".to_owned(),
        linux: Some(LinuxContainerUpdate { resources: Some(resources) }),
        ignore_failure: false,
    };
    let pids = LinuxResources { pids: Some(LinuxPids { limit: 1 }), ..Default::default() };
    assert_eq!(refused_in_updates(&update(pids)), None);
    let class = LinuxResources { rdt_class: text("x"), ..Default::default() };
    assert!(refused_in_updates(&update(class)).unwrap().contains("rdt_class"));
}
