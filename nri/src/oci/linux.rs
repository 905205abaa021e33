//! The Linux part of a spec.

use serde_json::{Map, Value, json};

use super::adjust::{check_version, entries};
use super::json::{array, object};
use super::{Host, Wishes, cgroup};
use crate::api::{
    Field, IoPrioClass, LinuxContainerAdjustment, LinuxDevice, LinuxIoPriority, LinuxMemoryPolicy,
    LinuxNamespace, LinuxRdt, LinuxScheduler, LinuxSchedulerPolicy, LinuxSeccomp, LinuxSyscall,
};
use crate::error::Error;

pub(super) fn adjust(
    spec: &mut Value,
    wishes: &Wishes<'_>,
    wanted: &LinuxContainerAdjustment,
    host: Host,
) -> Result<(), Error> {
    wanted.devices.iter().for_each(|wanted| device(spec, wanted));
    wanted.namespaces.iter().for_each(|wanted| namespace(spec, wanted));
    if !wanted.sysctl.is_empty() {
        entries(object(spec, &["linux", "sysctl"]), &wanted.sysctl);
    }
    net_devices(spec, wishes, wanted)?;
    if let Some(wanted) = &wanted.resources {
        cgroup::adjust(spec, wishes, wanted, host)?;
    }
    if !wanted.cgroups_path.is_empty() {
        cgroups_path(spec, wishes, &wanted.cgroups_path)?;
    }
    if let Some(wanted) = &wanted.oom_score_adj {
        object(spec, &["process"]).insert("oomScoreAdj".to_owned(), json!(wanted.value));
    }
    if let Some(wanted) = &wanted.seccomp_policy {
        object(spec, &["linux"]).insert("seccomp".to_owned(), seccomp(wanted));
    }
    if let Some(wanted) = &wanted.io_priority {
        io_priority(spec, wishes, wanted)?;
    }
    if let Some(wanted) = &wanted.scheduler {
        scheduler(spec, wishes, wanted)?;
    }
    if let Some(wanted) = &wanted.rdt {
        rdt(spec, wishes, wanted)?;
    }
    wanted.memory_policy.as_ref().map_or(Ok(()), |wanted| memory_policy(spec, wishes, wanted))
}

/// The node, and the leave to use it.
fn device(spec: &mut Value, wanted: &LinuxDevice) {
    let (path, removal) = match wanted.path.strip_prefix(crate::merge::REMOVAL) {
        Some(path) => (path, true),
        None => (wanted.path.as_str(), false),
    };
    let devices = array(spec, &["linux"], "devices");
    devices.retain(|known| known["path"].as_str() != Some(path));
    if removal {
        return;
    }
    let mut node =
        json!({ "path": path, "type": wanted.r#type, "major": wanted.major, "minor": wanted.minor });
    let fields = object(&mut node, &[]);
    let numbers = [
        ("fileMode", wanted.file_mode.as_ref().map(|mode| mode.value)),
        ("uid", wanted.uid.as_ref().map(|uid| uid.value)),
        ("gid", wanted.gid.as_ref().map(|gid| gid.value)),
    ];
    for (name, number) in numbers {
        number.map(|number| fields.insert(name.to_owned(), json!(number)));
    }
    devices.push(node);
    let access = if wanted.r#type == "b" { "rwm" } else { "rw" };
    array(spec, &["linux", "resources"], "devices").push(json!({
        "allow": true, "type": wanted.r#type, "major": wanted.major, "minor": wanted.minor, "access": access,
    }));
}

/// Without a path: a new one.
fn namespace(spec: &mut Value, wanted: &LinuxNamespace) {
    let (kind, removal) = match wanted.r#type.strip_prefix(crate::merge::REMOVAL) {
        Some(kind) => (kind, true),
        None => (wanted.r#type.as_str(), false),
    };
    let namespaces = array(spec, &["linux"], "namespaces");
    namespaces.retain(|known| known["type"].as_str() != Some(kind));
    match (removal, wanted.path.as_str()) {
        (true, _) => {}
        (false, "") => namespaces.push(json!({ "type": kind })),
        (false, path) => namespaces.push(json!({ "type": kind, "path": path })),
    }
}

fn net_devices(
    spec: &mut Value,
    wishes: &Wishes<'_>,
    wanted: &LinuxContainerAdjustment,
) -> Result<(), Error> {
    for (host, device) in &wanted.net_devices {
        match host.strip_prefix(crate::merge::REMOVAL) {
            Some(host) => drop(object(spec, &["linux", "netDevices"]).remove(host)),
            None => {
                let field = format!("linux.net_devices[{host:?}]");
                check_version(spec, wishes, (Field::LinuxNetDevices, Some(host)), &field, (1, 3))?;
                let mut value = Map::new();
                if !device.name.is_empty() {
                    value.insert("name".to_owned(), json!(device.name));
                }
                object(spec, &["linux", "netDevices"]).insert(host.clone(), Value::Object(value));
            }
        }
    }
    Ok(())
}

fn cgroups_path(spec: &mut Value, wishes: &Wishes<'_>, path: &str) -> Result<(), Error> {
    let clean =
        path.starts_with('/') && path.len() > 1 && !path.split('/').any(|part| part == ".." || part == ".");
    if !clean {
        let reason = format!("{path:?} is not a clean absolute path, which the cgroupfs driver needs");
        return Err(wishes.refuse(Field::CgroupsPath, None, "linux.cgroups_path", reason));
    }
    object(spec, &["linux"]).insert("cgroupsPath".to_owned(), json!(path));
    Ok(())
}

fn seccomp(wanted: &LinuxSeccomp) -> Value {
    let mut filter = json!({
        "defaultAction": wanted.default_action,
        "syscalls": wanted.syscalls.iter().map(syscall).collect::<Vec<_>>(),
    });
    let fields = object(&mut filter, &[]);
    for (name, list) in [("architectures", &wanted.architectures), ("flags", &wanted.flags)] {
        if !list.is_empty() {
            fields.insert(name.to_owned(), json!(list));
        }
    }
    let texts = [("listenerPath", &wanted.listener_path), ("listenerMetadata", &wanted.listener_metadata)];
    for (name, text) in texts {
        if !text.is_empty() {
            fields.insert(name.to_owned(), json!(text));
        }
    }
    if let Some(errno) = &wanted.default_errno {
        fields.insert("defaultErrnoRet".to_owned(), json!(errno.value));
    }
    filter
}

fn syscall(wanted: &LinuxSyscall) -> Value {
    let mut rule = json!({ "names": wanted.names, "action": wanted.action });
    let fields = object(&mut rule, &[]);
    if let Some(errno) = &wanted.errno_ret {
        fields.insert("errnoRet".to_owned(), json!(errno.value));
    }
    if !wanted.args.is_empty() {
        let args = wanted.args.iter().map(
            |arg| json!({ "index": arg.index, "value": arg.value, "valueTwo": arg.value_two, "op": arg.op }),
        );
        fields.insert("args".to_owned(), args.collect());
    }
    rule
}

/// Class "none" takes away what is there.
fn io_priority(spec: &mut Value, wishes: &Wishes<'_>, wanted: &LinuxIoPriority) -> Result<(), Error> {
    const FIELD: &str = "linux.io_priority";
    let process = object(spec, &["process"]);
    match IoPrioClass::try_from(wanted.class) {
        Ok(IoPrioClass::IoprioClassNone) => drop(process.remove("ioPriority")),
        Ok(class) => {
            process.insert(
                "ioPriority".to_owned(),
                json!({ "class": class.as_str_name(), "priority": wanted.priority }),
            );
            check_version(spec, wishes, (Field::IoPriority, None), FIELD, (1, 1))?;
        }
        Err(_) => {
            return Err(wishes.refuse(Field::IoPriority, None, FIELD, format!("no class {}", wanted.class)));
        }
    }
    Ok(())
}

/// Policy "none" takes away what is there.
fn scheduler(spec: &mut Value, wishes: &Wishes<'_>, wanted: &LinuxScheduler) -> Result<(), Error> {
    const FIELD: &str = "linux.scheduler";
    let refuse = |reason: String| Err(wishes.refuse(Field::LinuxSched, None, FIELD, reason));
    let policy = match LinuxSchedulerPolicy::try_from(wanted.policy) {
        Ok(LinuxSchedulerPolicy::SchedNone) => {
            object(spec, &["process"]).remove("scheduler");
            return Ok(());
        }
        Ok(policy) => policy.as_str_name(),
        Err(_) => return refuse(format!("no policy {}", wanted.policy)),
    };
    check_version(spec, wishes, (Field::LinuxSched, None), FIELD, (1, 1))?;
    if wanted.flags().count() != wanted.flags.len() {
        return refuse(format!("unknown flags among {:?}", wanted.flags));
    }
    let mut value = json!({ "policy": policy });
    let fields = object(&mut value, &[]);
    let numbers = [("nice", wanted.nice), ("priority", wanted.priority)];
    fields.extend(numbers.iter().filter(|(_, n)| *n != 0).map(|(name, n)| ((*name).to_owned(), json!(n))));
    let times = [("runtime", wanted.runtime), ("deadline", wanted.deadline), ("period", wanted.period)];
    fields.extend(times.iter().filter(|(_, n)| *n != 0).map(|(name, n)| ((*name).to_owned(), json!(n))));
    let flags: Vec<&str> = wanted.flags().map(|flag| flag.as_str_name()).collect();
    if !flags.is_empty() {
        fields.insert("flags".to_owned(), json!(flags));
    }
    object(spec, &["process"]).insert("scheduler".to_owned(), value);
    Ok(())
}

fn rdt(spec: &mut Value, wishes: &Wishes<'_>, wanted: &LinuxRdt) -> Result<(), Error> {
    if wanted.remove {
        object(spec, &["linux"]).remove("intelRdt");
    }
    if let Some(clos) = &wanted.clos_id {
        object(spec, &["linux", "intelRdt"]).insert("closID".to_owned(), json!(clos.value));
    }
    if let Some(schemata) = &wanted.schemata {
        check_version(spec, wishes, (Field::RdtSchemata, None), "linux.rdt.schemata", (1, 3))?;
        object(spec, &["linux", "intelRdt"]).insert("schemata".to_owned(), json!(schemata.value));
    }
    if let Some(on) = &wanted.enable_monitoring {
        check_version(
            spec,
            wishes,
            (Field::RdtEnableMonitoring, None),
            "linux.rdt.enable_monitoring",
            (1, 3),
        )?;
        object(spec, &["linux", "intelRdt"]).insert("enableMonitoring".to_owned(), json!(on.value));
    }
    Ok(())
}

fn memory_policy(spec: &mut Value, wishes: &Wishes<'_>, wanted: &LinuxMemoryPolicy) -> Result<(), Error> {
    const FIELD: &str = "linux.memory_policy";
    let claim = (Field::MemoryPolicy, None);
    check_version(spec, wishes, claim, FIELD, (1, 3))?;
    let mode = crate::api::MpolMode::try_from(wanted.mode)
        .map_err(|_| wishes.refuse(claim.0, None, FIELD, format!("no mode {}", wanted.mode)))?;
    if wanted.flags().count() != wanted.flags.len() {
        return Err(wishes.refuse(claim.0, None, FIELD, format!("unknown flags among {:?}", wanted.flags)));
    }
    let flags: Vec<&str> = wanted.flags().map(|flag| flag.as_str_name()).collect();
    let mut policy = json!({ "mode": mode.as_str_name(), "nodes": wanted.nodes });
    if !flags.is_empty() {
        object(&mut policy, &[]).insert("flags".to_owned(), json!(flags));
    }
    object(spec, &["linux"]).insert("memoryPolicy".to_owned(), policy);
    Ok(())
}
