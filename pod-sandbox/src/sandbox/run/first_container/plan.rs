//! The container that a sandbox of kind `oci` is. Pure.

use std::path::PathBuf;

use linkspan_runtime_oci::spec::{MountInput, NamespaceInput, Namespaces, SpecInput};
use linkspan_runtime_oci::{CgroupMode, ResolvedUser, Resources, user};
use serde::Serialize;

use super::facts::Facts;
use crate::error::Error;
use crate::model::SandboxSecurityContext;
use crate::sandbox::annotations;
use crate::sandbox::run::plan::SandboxPlan;

/// Where our pause is in it.
const PROGRAM: &str = "/pause";
/// Who it runs as where the pod does not say: nobody, as a native pause does.
const NOBODY: u32 = 65535;
/// The least that there is: it sleeps.
const CPU_SHARES: i64 = 2;
/// What containers of Kubernetes do not see (k8s.io/kubernetes, `pkg/securitycontext`, the default proc mount).
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

#[derive(Clone, Debug, Serialize)]
pub(in crate::sandbox::run) struct FirstContainerPlan {
    pub(super) id: String,
    pub(super) handler: String,
    pub(super) bundle: PathBuf,
    /// Where the program is put, in the root file system.
    pub(super) program: PathBuf,
    pub(super) spec: SpecInput,
    /// A sandboxed runtime's own kernel has no other way to know it.
    pub(super) hostname: Option<String>,
}

pub(in crate::sandbox::run) fn decide(
    plan: &SandboxPlan,
    facts: &Facts,
) -> Result<FirstContainerPlan, Error> {
    let record = &plan.record;
    let context = &record.config.linux.security_context;
    let labels = plan.selinux_labels.as_ref();
    let bundle = plan.pod_dir.join("sandbox");
    let rootfs = bundle.join("rootfs");
    let spec = SpecInput {
        oci_version: facts.features.oci_version.clone(),
        args: vec![PROGRAM.to_owned()],
        cwd: "/".to_owned(),
        user: user(context),
        no_new_privileges: true,
        oom_score_adj: Some(plan.pause_oom_score_adj),
        apparmor_profile: facts.apparmor.choose(context.apparmor.as_ref(), false)?,
        rootfs: rootfs.clone(),
        readonly_rootfs: true,
        namespaces: namespaces(plan, facts),
        mounts: mounts(plan),
        resources: Resources { cpu_shares: CPU_SHARES, ..Resources::default() },
        support: facts.support,
        cgroups_path: record.cgroup.pause.clone(),
        cgroup: facts.cgroup_mode,
        selinux_process_label: labels.and_then(|labels| labels.process.clone()),
        selinux_mount_label: labels.map(|labels| labels.mount.clone()),
        masked_paths: MASKED.map(str::to_owned).to_vec(),
        readonly_paths: READ_ONLY.map(str::to_owned).to_vec(),
        sysctls: plan.namespaces.sysctls.clone(),
        annotations: annotations::of_sandbox(record, &facts.handler, &facts.features),
        seccomp: facts.seccomp.clone(),
        ..SpecInput::default()
    };
    Ok(FirstContainerPlan {
        id: record.id.to_string(),
        handler: record.handler.clone(),
        program: rootfs.join(PROGRAM.trim_start_matches('/')),
        bundle,
        spec,
        hostname: plan.namespaces.hostname.clone(),
    })
}

/// By number: there is no passwd in its root file system.
fn user(context: &SandboxSecurityContext) -> ResolvedUser {
    // Checked to be in range.
    let number = |id: i64| user::id(id).ok();
    let uid = context.run_as_user.and_then(number).unwrap_or(NOBODY);
    ResolvedUser {
        uid,
        gid: context.run_as_group.and_then(number).unwrap_or(NOBODY),
        additional_gids: context.supplemental_groups.iter().copied().filter_map(number).collect(),
        umask: None,
    }
}

/// Those that we have pinned, as paths; its PID namespace is the one that containers of the pod may share.
fn namespaces(plan: &SandboxPlan, facts: &Facts) -> Namespaces {
    let pinned = plan.namespaces.pins();
    let join = |path: Option<PathBuf>| path.map_or(NamespaceInput::Host, NamespaceInput::Path);
    Namespaces {
        network: join(pinned.network),
        ipc: join(pinned.ipc),
        uts: join(pinned.uts),
        pid: if plan.new_pid_namespace { NamespaceInput::New } else { NamespaceInput::Host },
        mount: NamespaceInput::New,
        cgroup: match facts.cgroup_mode {
            CgroupMode::V2 => NamespaceInput::New,
            CgroupMode::V1 | CgroupMode::Hybrid => NamespaceInput::Host,
        },
        user: NamespaceInput::Host,
    }
}

/// What containers of the pod share: a runtime with a kernel of its own takes it from here.
fn mounts(plan: &SandboxPlan) -> Vec<MountInput> {
    let input = |container_path: &str, host_path: PathBuf, readonly| MountInput {
        container_path: container_path.to_owned(),
        host_path,
        readonly,
        ..MountInput::default()
    };
    let shm = plan.shm.as_ref().map_or_else(|| PathBuf::from("/dev/shm"), |shm| shm.path.clone());
    vec![input("/dev/shm", shm, false), input("/etc/resolv.conf", plan.resolv_conf.path.clone(), true)]
}

#[cfg(test)]
mod tests;
