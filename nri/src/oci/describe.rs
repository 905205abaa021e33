//! What plugins see of a container's OCI spec.

use std::collections::BTreeMap;

use serde_json::Value;

use super::json::{entries, list, text, texts, uint32};
use crate::api::{
    Container, Hook, Hooks, HugepageLimit, IoPrioClass, LinuxContainer, LinuxCpu, LinuxDevice,
    LinuxDeviceCgroup, LinuxIoPriority, LinuxMemory, LinuxNamespace, LinuxNetDevice, LinuxPids, LinuxRdt,
    LinuxResources, LinuxScheduler, LinuxSchedulerFlag, LinuxSchedulerPolicy, LinuxSeccomp, LinuxSeccompArg,
    LinuxSyscall, Mount, OptionalBool, OptionalFileMode, OptionalInt, OptionalInt64, OptionalRepeatedString,
    OptionalString, OptionalUInt32, OptionalUInt64, PosixRlimit, User,
};

/// The part of a container's message that its spec tells: all but who and how it is.
#[must_use]
pub fn describe(spec: &Value) -> Container {
    let process = &spec["process"];
    Container {
        args: texts(&process["args"]),
        env: texts(&process["env"]),
        annotations: strings(&spec["annotations"]),
        mounts: list(&spec["mounts"]).map(mount).collect(),
        hooks: spec["hooks"].is_object().then(|| hooks(&spec["hooks"])),
        rlimits: list(&process["rlimits"]).map(rlimit).collect(),
        user: process["user"].is_object().then(|| user(&process["user"])),
        linux: Some(linux(spec)),
        ..Container::default()
    }
}

fn linux(spec: &Value) -> LinuxContainer {
    let (process, linux) = (&spec["process"], &spec["linux"]);
    LinuxContainer {
        namespaces: list(&linux["namespaces"]).map(namespace).collect(),
        devices: list(&linux["devices"]).map(device).collect(),
        resources: linux["resources"].is_object().then(|| resources(&linux["resources"])),
        oom_score_adj: process["oomScoreAdj"].as_i64().map(|value| OptionalInt { value }),
        cgroups_path: text(linux, "cgroupsPath"),
        io_priority: process["ioPriority"].is_object().then(|| io_priority(&process["ioPriority"])),
        // A profile's kind is not in the spec.
        seccomp_profile: None,
        seccomp_policy: linux["seccomp"].is_object().then(|| seccomp(&linux["seccomp"])),
        sysctl: strings(&linux["sysctl"]),
        net_devices: entries(&linux["netDevices"])
            .map(|(host, device)| (host.clone(), LinuxNetDevice { name: text(device, "name") }))
            .collect(),
        scheduler: process["scheduler"].is_object().then(|| scheduler(&process["scheduler"])),
        rdt: linux["intelRdt"].is_object().then(|| rdt(&linux["intelRdt"])),
    }
}

/// Limits: `linux.resources` of a spec.
#[must_use]
pub fn resources(limits: &Value) -> LinuxResources {
    let memory = &limits["memory"];
    let cpu = &limits["cpu"];
    LinuxResources {
        memory: memory.is_object().then(|| LinuxMemory {
            limit: int64(&memory["limit"]),
            reservation: int64(&memory["reservation"]),
            swap: int64(&memory["swap"]),
            kernel: int64(&memory["kernel"]),
            kernel_tcp: int64(&memory["kernelTCP"]),
            swappiness: uint64(&memory["swappiness"]),
            disable_oom_killer: memory["disableOOMKiller"].as_bool().map(|value| OptionalBool { value }),
            use_hierarchy: memory["useHierarchy"].as_bool().map(|value| OptionalBool { value }),
        }),
        cpu: cpu.is_object().then(|| LinuxCpu {
            shares: uint64(&cpu["shares"]),
            quota: int64(&cpu["quota"]),
            period: uint64(&cpu["period"]),
            realtime_runtime: int64(&cpu["realtimeRuntime"]),
            realtime_period: uint64(&cpu["realtimePeriod"]),
            cpus: text(cpu, "cpus"),
            mems: text(cpu, "mems"),
        }),
        hugepage_limits: list(&limits["hugepageLimits"])
            .map(|limit| HugepageLimit {
                page_size: text(limit, "pageSize"),
                limit: limit["limit"].as_u64().unwrap_or_default(),
            })
            .collect(),
        blockio_class: None,
        rdt_class: None,
        unified: strings(&limits["unified"]),
        devices: list(&limits["devices"]).map(rule).collect(),
        pids: limits["pids"]["limit"].as_i64().map(|limit| LinuxPids { limit }),
    }
}

fn mount(mount: &Value) -> Mount {
    Mount {
        destination: text(mount, "destination"),
        r#type: text(mount, "type"),
        source: text(mount, "source"),
        options: texts(&mount["options"]),
    }
}

fn hooks(hooks: &Value) -> Hooks {
    let of = |stage: &str| list(&hooks[stage]).map(hook).collect();
    Hooks {
        prestart: of("prestart"),
        create_runtime: of("createRuntime"),
        create_container: of("createContainer"),
        start_container: of("startContainer"),
        poststart: of("poststart"),
        poststop: of("poststop"),
    }
}

fn hook(hook: &Value) -> Hook {
    Hook {
        path: text(hook, "path"),
        args: texts(&hook["args"]),
        env: texts(&hook["env"]),
        timeout: hook["timeout"].as_i64().map(|value| OptionalInt { value }),
    }
}

fn rlimit(limit: &Value) -> PosixRlimit {
    PosixRlimit {
        r#type: text(limit, "type"),
        hard: limit["hard"].as_u64().unwrap_or_default(),
        soft: limit["soft"].as_u64().unwrap_or_default(),
    }
}

fn user(user: &Value) -> User {
    User {
        uid: uint32(&user["uid"]).unwrap_or_default(),
        gid: uint32(&user["gid"]).unwrap_or_default(),
        additional_gids: list(&user["additionalGids"]).filter_map(uint32).collect(),
    }
}

fn namespace(namespace: &Value) -> LinuxNamespace {
    LinuxNamespace { r#type: text(namespace, "type"), path: text(namespace, "path") }
}

fn device(device: &Value) -> LinuxDevice {
    LinuxDevice {
        path: text(device, "path"),
        r#type: text(device, "type"),
        major: device["major"].as_i64().unwrap_or_default(),
        minor: device["minor"].as_i64().unwrap_or_default(),
        file_mode: uint32(&device["fileMode"]).map(|value| OptionalFileMode { value }),
        uid: uint32(&device["uid"]).map(|value| OptionalUInt32 { value }),
        gid: uint32(&device["gid"]).map(|value| OptionalUInt32 { value }),
    }
}

fn rule(rule: &Value) -> LinuxDeviceCgroup {
    LinuxDeviceCgroup {
        allow: rule["allow"].as_bool().unwrap_or_default(),
        r#type: text(rule, "type"),
        major: int64(&rule["major"]),
        minor: int64(&rule["minor"]),
        access: text(rule, "access"),
    }
}

fn seccomp(filter: &Value) -> LinuxSeccomp {
    let errno = |value: &Value| uint32(value).map(|value| OptionalUInt32 { value });
    LinuxSeccomp {
        default_action: text(filter, "defaultAction"),
        default_errno: errno(&filter["defaultErrnoRet"]),
        architectures: texts(&filter["architectures"]),
        flags: texts(&filter["flags"]),
        listener_path: text(filter, "listenerPath"),
        listener_metadata: text(filter, "listenerMetadata"),
        syscalls: list(&filter["syscalls"])
            .map(|rule| LinuxSyscall {
                names: texts(&rule["names"]),
                action: text(rule, "action"),
                errno_ret: errno(&rule["errnoRet"]),
                args: list(&rule["args"])
                    .map(|arg| LinuxSeccompArg {
                        index: uint32(&arg["index"]).unwrap_or_default(),
                        value: arg["value"].as_u64().unwrap_or_default(),
                        value_two: arg["valueTwo"].as_u64().unwrap_or_default(),
                        op: text(arg, "op"),
                    })
                    .collect(),
            })
            .collect(),
    }
}

fn io_priority(priority: &Value) -> LinuxIoPriority {
    let class = IoPrioClass::from_str_name(&text(priority, "class")).unwrap_or_default();
    LinuxIoPriority { class: class.into(), priority: int32(&priority["priority"]) }
}

fn scheduler(scheduler: &Value) -> LinuxScheduler {
    let policy = LinuxSchedulerPolicy::from_str_name(&text(scheduler, "policy")).unwrap_or_default();
    let flags = texts(&scheduler["flags"]);
    LinuxScheduler {
        policy: policy.into(),
        nice: int32(&scheduler["nice"]),
        priority: int32(&scheduler["priority"]),
        flags: flags
            .iter()
            .filter_map(|name| LinuxSchedulerFlag::from_str_name(name))
            .map(Into::into)
            .collect(),
        runtime: scheduler["runtime"].as_u64().unwrap_or_default(),
        deadline: scheduler["deadline"].as_u64().unwrap_or_default(),
        period: scheduler["period"].as_u64().unwrap_or_default(),
    }
}

fn rdt(rdt: &Value) -> LinuxRdt {
    LinuxRdt {
        clos_id: rdt["closID"].as_str().map(|value| OptionalString { value: value.to_owned() }),
        schemata: rdt["schemata"]
            .is_array()
            .then(|| OptionalRepeatedString { value: texts(&rdt["schemata"]) }),
        enable_monitoring: rdt["enableMonitoring"].as_bool().map(|value| OptionalBool { value }),
        remove: false,
    }
}

fn strings(value: &Value) -> BTreeMap<String, String> {
    entries(value).filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn int64(value: &Value) -> Option<OptionalInt64> {
    value.as_i64().map(|value| OptionalInt64 { value })
}

fn uint64(value: &Value) -> Option<OptionalUInt64> {
    value.as_u64().map(|value| OptionalUInt64 { value })
}

fn int32(value: &Value) -> i32 {
    value.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or_default()
}
