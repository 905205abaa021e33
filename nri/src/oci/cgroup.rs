//! Limits of a spec. What this host's control groups cannot do is refused: runtimes would leave it out without a word.

use serde_json::{Value, json};

use super::json::{array, object};
use super::{Host, Wishes};
use crate::api::{ContainerUpdate, Field, LinuxCpu, LinuxMemory, LinuxResources};
use crate::error::Error;

const ONLY_V1: &str = "cgroup v2, which this host has, knows no such limit";

pub(super) fn adjust(
    spec: &mut Value,
    wishes: &Wishes<'_>,
    wanted: &LinuxResources,
    host: Host,
) -> Result<(), Error> {
    if let Some(wanted) = &wanted.memory {
        memory(spec, wishes, wanted, host)?;
    }
    if let Some(wanted) = &wanted.cpu {
        cpu(spec, wishes, wanted, host)?;
    }
    if let Some(wanted) = &wanted.pids {
        object(spec, &["linux", "resources", "pids"]).insert("limit".to_owned(), json!(wanted.limit));
    }
    for limit in &wanted.hugepage_limits {
        if !host.hugetlb {
            let (field, key) = ("linux.resources.hugepage_limits", Some(limit.page_size.as_str()));
            return Err(wishes.refuse(
                Field::HugepageLimits,
                key,
                field,
                "the host has no hugetlb controller",
            ));
        }
        let limits = array(spec, &["linux", "resources"], "hugepageLimits");
        limits.retain(|known| known["pageSize"].as_str() != Some(&limit.page_size));
        limits.push(json!({ "pageSize": limit.page_size, "limit": limit.limit }));
    }
    for (file, value) in &wanted.unified {
        if !host.cgroup_v2 {
            let field = format!("linux.resources.unified[{file:?}]");
            let reason = "the host's controllers are on cgroup v1: unified limits need cgroup v2";
            return Err(wishes.refuse(Field::CgroupsUnified, Some(file), &field, reason));
        }
        object(spec, &["linux", "resources", "unified"]).insert(file.clone(), json!(value));
    }
    for rule in &wanted.devices {
        let mut value = json!({ "allow": rule.allow });
        let fields = object(&mut value, &[]);
        let texts = [("type", &rule.r#type), ("access", &rule.access)];
        fields.extend(
            texts
                .iter()
                .filter(|(_, text)| !text.is_empty())
                .map(|(key, text)| ((*key).to_owned(), json!(text))),
        );
        let numbers = [("major", &rule.major), ("minor", &rule.minor)];
        fields.extend(
            numbers.iter().filter_map(|(key, n)| Some(((*key).to_owned(), json!(n.as_ref()?.value)))),
        );
        array(spec, &["linux", "resources"], "devices").push(value);
    }
    classes(spec, wishes, wanted)
}

/// Empty: none. Classes are defined by files that other runtimes read.
fn classes(spec: &mut Value, wishes: &Wishes<'_>, wanted: &LinuxResources) -> Result<(), Error> {
    const NO_CLASSES: &str = "Linkspan has no classes";
    match &wanted.blockio_class {
        Some(class) if class.value.is_empty() => {
            object(spec, &["linux", "resources"]).remove("blockIO");
        }
        Some(class) => {
            let reason =
                format!("{NO_CLASSES} of block I/O, {:?} neither: set limits by `unified`", class.value);
            return Err(wishes.refuse(Field::BlockioClass, None, "linux.resources.blockio_class", reason));
        }
        None => {}
    }
    match &wanted.rdt_class {
        Some(class) if class.value.is_empty() => drop(object(spec, &["linux"]).remove("intelRdt")),
        Some(class) => {
            let reason = format!("{NO_CLASSES} of RDT, {:?} neither: use `linux.rdt`", class.value);
            return Err(wishes.refuse(Field::RdtClass, None, "linux.resources.rdt_class", reason));
        }
        None => {}
    }
    Ok(())
}

fn memory(spec: &mut Value, wishes: &Wishes<'_>, wanted: &LinuxMemory, host: Host) -> Result<(), Error> {
    let refuse = |claim: Field, field: &str, reason: &str| {
        Err(wishes.refuse(claim, None, &format!("linux.resources.memory.{field}"), reason))
    };
    if wanted.kernel.is_some() {
        return refuse(Field::MemKernelLimit, "kernel", "kernels have no such limit any more");
    }
    if wanted.use_hierarchy.as_ref().is_some_and(|wanted| !wanted.value) {
        return refuse(Field::MemUseHierarchy, "use_hierarchy", "kernels always count what is below a group");
    }
    if wanted.swap.is_some() && !host.swap {
        return refuse(Field::MemSwapLimit, "swap", "the host does not account for swap");
    }
    if host.cgroup_v2 {
        let gone = [
            (wanted.kernel_tcp.is_some(), Field::MemTcpLimit, "kernel_tcp"),
            (wanted.swappiness.is_some(), Field::MemSwappiness, "swappiness"),
            (wanted.disable_oom_killer.is_some(), Field::MemDisableOomKiller, "disable_oom_killer"),
        ];
        if let Some((_, claim, field)) = gone.into_iter().find(|(set, ..)| *set) {
            return refuse(claim, field, ONLY_V1);
        }
    }
    let limits = object(spec, &["linux", "resources", "memory"]);
    if let Some(limit) = wanted.limit.as_ref().filter(|limit| limit.value != 0) {
        limits.insert("limit".to_owned(), json!(limit.value));
        // A limit without a word about swap means none: kernels would let it swap as much again.
        if host.swap && wanted.swap.is_none() {
            limits.insert("swap".to_owned(), json!(limit.value));
        }
    }
    let numbers = [
        ("swap", wanted.swap.as_ref().map(|swap| swap.value)),
        ("reservation", wanted.reservation.as_ref().map(|reservation| reservation.value)),
        ("kernelTCP", wanted.kernel_tcp.as_ref().map(|kernel| kernel.value)),
    ];
    limits.extend(numbers.iter().filter_map(|(key, n)| Some(((*key).to_owned(), json!((*n)?)))));
    if let Some(swappiness) = &wanted.swappiness {
        limits.insert("swappiness".to_owned(), json!(swappiness.value));
    }
    if let Some(off) = &wanted.disable_oom_killer {
        limits.insert("disableOOMKiller".to_owned(), json!(off.value));
    }
    Ok(())
}

fn cpu(spec: &mut Value, wishes: &Wishes<'_>, wanted: &LinuxCpu, host: Host) -> Result<(), Error> {
    let realtime = [
        (wanted.realtime_runtime.is_some(), Field::CpuRealtimeRuntime, "realtime_runtime"),
        (wanted.realtime_period.is_some(), Field::CpuRealtimePeriod, "realtime_period"),
    ];
    if let Some((_, claim, field)) = realtime.into_iter().find(|(set, ..)| *set && host.cgroup_v2) {
        return Err(wishes.refuse(claim, None, &format!("linux.resources.cpu.{field}"), ONLY_V1));
    }
    let limits = object(spec, &["linux", "resources", "cpu"]);
    let unsigned =
        [("shares", &wanted.shares), ("period", &wanted.period), ("realtimePeriod", &wanted.realtime_period)];
    limits.extend(unsigned.iter().filter_map(|(key, n)| Some(((*key).to_owned(), json!(n.as_ref()?.value)))));
    let signed = [("quota", &wanted.quota), ("realtimeRuntime", &wanted.realtime_runtime)];
    limits.extend(signed.iter().filter_map(|(key, n)| Some(((*key).to_owned(), json!(n.as_ref()?.value)))));
    let texts = [("cpus", &wanted.cpus), ("mems", &wanted.mems)];
    limits.extend(
        texts.iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| ((*key).to_owned(), json!(text))),
    );
    Ok(())
}

/// Why `update` cannot be done to a container that exists: its runtime's `update` knows the limits that CRI knows.
pub fn refused_in_updates(update: &ContainerUpdate) -> Option<String> {
    let limits = update.linux.as_ref()?.resources.as_ref()?;
    let (memory, cpu) = (limits.memory.unwrap_or_default(), limits.cpu.clone().unwrap_or_default());
    let set = [
        ("memory.reservation", memory.reservation.is_some()),
        ("memory.kernel", memory.kernel.is_some()),
        ("memory.kernel_tcp", memory.kernel_tcp.is_some()),
        ("memory.swappiness", memory.swappiness.is_some()),
        ("memory.disable_oom_killer", memory.disable_oom_killer.is_some()),
        ("memory.use_hierarchy", memory.use_hierarchy.is_some()),
        ("cpu.realtime_runtime", cpu.realtime_runtime.is_some()),
        ("cpu.realtime_period", cpu.realtime_period.is_some()),
        ("blockio_class", limits.blockio_class.is_some()),
        ("rdt_class", limits.rdt_class.is_some()),
        ("devices", !limits.devices.is_empty()),
    ];
    let (field, _) = set.into_iter().find(|(_, is_set)| *is_set)?;
    Some(format!("linux.resources.{field}: can be set when a container is created, and not changed later"))
}
