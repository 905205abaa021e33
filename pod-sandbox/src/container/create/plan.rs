//! What a container is to be: its OCI spec, and what has to be there before the runtime is called. Pure.

mod annotations;
mod mounts;
mod process;
mod security;

use std::path::PathBuf;

use linkspan_runtime_oci::CgroupMode;
use linkspan_runtime_oci::spec::{NamespaceInput, Namespaces, SpecInput, clamp_oom_score_adj};

use serde::Serialize;

use super::facts::Facts;
use super::reserve::Reserved;
use crate::container::record::ContainerRecord;
use crate::error::Error;
use crate::model::{ContainerUser, NamespaceMode};
use crate::sandbox::record::SandboxRecord;

#[derive(Clone, Debug, Serialize)]
pub(super) struct ContainerPlan {
    /// Still in the state `Creating`.
    pub(super) record: ContainerRecord,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    pub(super) spec: SpecInput,
    /// Contract: a host path that is missing is made, as a directory.
    pub(super) host_dirs: Vec<PathBuf>,
    pub(super) volumes: Vec<VolumePlan>,
    /// Inside the root file system; made if missing.
    pub(super) working_dir: PathBuf,
    pub(super) log_path: Option<PathBuf>,
}

/// An image's `VOLUME` that the request mounts nothing on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct VolumePlan {
    /// Inside the root file system: what is there is copied.
    pub(super) container_path: PathBuf,
    pub(super) host_path: PathBuf,
}

pub(super) fn decide(
    reserved: Reserved,
    sandbox: &SandboxRecord,
    facts: &Facts,
) -> Result<ContainerPlan, Error> {
    let Reserved { mut record, image, bundle, rootfs } = reserved;
    let hostname = match sandbox.config.hostname.as_str() {
        "" => facts.host_name.as_str(),
        hostname => hostname,
    };
    let process = process::decide(&record.config, &image, hostname, facts.home.as_deref())?;
    let volumes = mounts::volumes(&record.config, &image, facts);
    let mounts = mounts::decide(&record.config, sandbox, facts, &volumes)?;
    let context = &record.config.linux.security_context;
    let spec = SpecInput {
        oci_version: facts.features.oci_version.clone(),
        args: process.args,
        cwd: process.cwd.clone(),
        env: process.env,
        terminal: record.config.tty,
        user: facts.user.clone(),
        capabilities: facts.capabilities.clone(),
        privileged: context.privileged,
        no_new_privileges: context.no_new_privs,
        oom_score_adj: Some(clamp_oom_score_adj(record.resources().oom_score_adj, facts.oom_score_adj_floor)),
        apparmor_profile: security::apparmor(context, facts)?,
        rootfs: rootfs.clone(),
        readonly_rootfs: context.readonly_rootfs,
        namespaces: namespaces(context.namespace_options.pid, context.privileged, sandbox, facts),
        mounts: mounts.inputs,
        recursive_read_only_supported: facts.features.mount_options.iter().any(|option| option == "rro"),
        devices: facts.devices.clone(),
        all_devices: context.privileged,
        resources: record.resources().clone(),
        support: facts.support,
        cgroups_path: record.cgroup_path.clone(),
        cgroup: facts.cgroup_mode,
        masked_paths: context.masked_paths.clone(),
        readonly_paths: context.readonly_paths.clone(),
        annotations: annotations::decide(&record, sandbox),
        seccomp: facts.seccomp.clone(),
        ..SpecInput::default()
    };
    security::selinux(context, facts)?;
    record.config.mounts = mounts.reported;
    record.user = ContainerUser {
        uid: i64::from(facts.user.uid),
        gid: i64::from(facts.user.gid),
        supplemental_groups: facts.user.additional_gids.iter().map(|gid| i64::from(*gid)).collect(),
    };
    Ok(ContainerPlan {
        log_path: Some(PathBuf::from(&record.log_path)).filter(|path| !path.as_os_str().is_empty()),
        working_dir: PathBuf::from(process.cwd),
        host_dirs: mounts.missing,
        record,
        bundle,
        rootfs,
        spec,
        volumes,
    })
}

fn namespaces(pid: NamespaceMode, privileged: bool, sandbox: &SandboxRecord, facts: &Facts) -> Namespaces {
    let pinned = &sandbox.namespaces;
    let join = |path: &Option<PathBuf>| path.clone().map_or(NamespaceInput::Host, NamespaceInput::Path);
    let of_process = |pid: i32| NamespaceInput::Path(format!("/proc/{pid}/ns/pid").into());
    Namespaces {
        network: join(&pinned.network),
        ipc: join(&pinned.ipc),
        uts: join(&pinned.uts),
        pid: match (pid, facts.target) {
            (NamespaceMode::Container, _) | (NamespaceMode::Target, None) => NamespaceInput::New,
            (NamespaceMode::Target, Some(target)) => of_process(target),
            (NamespaceMode::Pod, _) => of_process(facts.pause),
            (NamespaceMode::Node, _) => NamespaceInput::Host,
        },
        mount: NamespaceInput::New,
        // On v1 the host's tree is what tools inside expect to see.
        cgroup: match (facts.cgroup_mode, privileged) {
            (CgroupMode::V2, false) => NamespaceInput::New,
            _ => NamespaceInput::Host,
        },
        user: NamespaceInput::Host,
    }
}

#[cfg(test)]
mod tests;
