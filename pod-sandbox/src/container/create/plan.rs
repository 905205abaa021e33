//! What a container is to be: its OCI spec, and what has to be there before the runtime is called. Pure.

mod annotations;
mod defaults;
mod devices;
mod mounts;
mod process;
mod security;

use std::path::{Path, PathBuf};

use linkspan_runtime_oci::spec::{self, Layers, NamespaceInput, Namespaces, SpecInput, clamp_oom_score_adj};
use linkspan_runtime_oci::{CgroupMode, Process};
use serde::Serialize;

use super::facts::Facts;
use super::reserve::Reserved;
use crate::container::record::ContainerRecord;
use crate::error::Error;
use crate::model::{ContainerUser, NamespaceMode, SecurityContext};
use crate::sandbox::record::SandboxRecord;
use crate::user_namespace;

#[derive(Clone, Debug, Serialize)]
pub(super) struct ContainerPlan {
    /// Still in the state `Creating`.
    pub(super) record: ContainerRecord,
    pub(super) bundle: PathBuf,
    /// Whose PID namespace it joins. Pinned for the runtime at the path that the spec has: a number may be somebody else's by
    /// the time that the runtime looks.
    #[serde(skip)]
    pub(super) pid_namespace_of: Option<Process>,
    pub(super) rootfs: PathBuf,
    pub(super) spec: SpecInput,
    /// What goes under and over it; shown by the spec that comes of it.
    #[serde(skip)]
    pub(super) layers: Layers,
    /// Contract: a host path that is missing is made, as a directory.
    pub(super) host_dirs: Vec<PathBuf>,
    /// On the host: given the SELinux label of the container's mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) relabelled: Vec<PathBuf>,
    pub(super) volumes: Vec<VolumePlan>,
    /// Inside the root file system; made if missing.
    pub(super) working_dir: PathBuf,
    pub(super) log_path: Option<PathBuf>,
    /// Whether the log comes to be with the container.
    #[serde(skip)]
    pub(super) makes_log: bool,
    /// With a user namespace: who its root is to the host, and owns what is made for the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<u32>,
    /// The runtime is not called: its processes come with the start.
    #[serde(skip)]
    pub(super) awaits_restore: bool,
}

impl ContainerPlan {
    /// The spec as the runtime gets it: the handler's base, what the request and the image say, the devices' changes, the
    /// node's hooks. Pure.
    pub(super) fn oci_spec(&self) -> Result<spec::Spec, Error> {
        Ok(spec::compose(&self.spec, &self.layers)?)
    }
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
    let Reserved { mut record, image, bundle, rootfs, labels, awaits_restore, .. } = reserved;
    let hostname = match sandbox.config.hostname.as_str() {
        "" => facts.host_name.as_str(),
        hostname => hostname,
    };
    spec::check_support("config.linux.resources", record.resources(), facts.support, facts.cgroup_mode)?;
    let process = process::decide(&record.config, &image, hostname, facts)?;
    let volumes = mounts::volumes(&record.config, &image, facts);
    let mounts = mounts::decide(&record.config, sandbox, facts, &volumes)?;
    let context = &record.config.linux.security_context;
    let users = user_namespace::of(&sandbox.config);
    security::check(context, users, facts)?;
    let has_bind_mounts = !record.config.mounts.is_empty();
    let spec = SpecInput {
        args: process.args,
        cwd: process.cwd.clone(),
        env: process.env,
        terminal: record.config.tty,
        privileged: context.privileged,
        no_new_privileges: context.no_new_privs,
        oom_score_adj: Some(clamp_oom_score_adj(record.resources().oom_score_adj, facts.oom_score_adj_floor)),
        selinux_process_label: labels.as_ref().and_then(|labels| labels.process.clone()),
        selinux_mount_label: labels.as_ref().map(|labels| labels.mount.clone()),
        apparmor_profile: facts.apparmor.choose(context.apparmor.as_ref(), context.privileged)?,
        rootfs: rootfs.clone(),
        readonly_rootfs: context.readonly_rootfs,
        namespaces: namespaces(context, &bundle, sandbox, facts),
        mounts: mounts.inputs,
        devices: devices::decide(&record.config, facts)?,
        all_devices: context.privileged && !facts.handler.privileged_without_host_devices,
        resources: record.resources().clone(),
        cgroups_path: record.cgroup_path.clone(),
        cgroup_writable: security::cgroup_writable(facts)?,
        masked_paths: context.masked_paths.clone(),
        readonly_paths: context.readonly_paths.clone(),
        annotations: annotations::decide(&record, sandbox, facts),
        uid_mappings: users.iter().copied().map(mounts::whole).collect(),
        gid_mappings: users.iter().copied().map(mounts::whole).collect(),
        ..as_the_host_has_it(facts)
    };
    let relabelled = security::relabelled(&mounts.reported, labels.as_ref())?;
    record.config.mounts = mounts.reported;
    record.user = ContainerUser {
        uid: i64::from(facts.user.uid),
        gid: i64::from(facts.user.gid),
        supplemental_groups: supplemental_groups(facts),
    };
    Ok(ContainerPlan {
        owner: users.map(|users| users.host_id),
        log_path: record.log_file(),
        makes_log: !facts.has_log,
        working_dir: PathBuf::from(process.cwd),
        host_dirs: mounts.missing,
        relabelled,
        awaits_restore,
        pid_namespace_of: joined(record.config.linux.security_context.namespace_options.pid, facts),
        record,
        bundle,
        rootfs,
        layers: Layers {
            base: facts.handler.base_spec.clone(),
            cdi: facts.cdi.clone(),
            hooks: facts.hooks.clone(),
            has_bind_mounts,
        },
        spec,
        volumes,
    })
}

/// What of the spec is no matter of the request's: it stands in the facts.
fn as_the_host_has_it(facts: &Facts) -> SpecInput {
    SpecInput {
        oci_version: facts.features.oci_version.clone(),
        user: facts.user.clone(),
        capabilities: facts.capabilities.clone(),
        rlimits: defaults::rlimits(&facts.container),
        recursive_read_only_supported: facts.features.recursive_read_only(),
        support: facts.support,
        cgroup: facts.cgroup_mode,
        seccomp: facts.seccomp.clone(),
        ..SpecInput::default()
    }
}

/// With those that CDI devices bring.
fn supplemental_groups(facts: &Facts) -> Vec<i64> {
    let mut groups = facts.user.additional_gids.clone();
    groups.extend(facts.cdi.additional_gids().iter().filter(|gid| !facts.user.additional_gids.contains(gid)));
    groups.into_iter().map(i64::from).collect()
}

/// The process whose PID namespace is joined.
fn joined(mode: NamespaceMode, facts: &Facts) -> Option<Process> {
    match mode {
        NamespaceMode::Pod => Some(facts.pause),
        NamespaceMode::Target => facts.target,
        NamespaceMode::Container | NamespaceMode::Node => None,
    }
}

/// In the bundle.
pub(super) fn pid_pin(bundle: &Path) -> PathBuf {
    bundle.join("pid-namespace")
}

fn namespaces(
    context: &SecurityContext,
    bundle: &Path,
    sandbox: &SandboxRecord,
    facts: &Facts,
) -> Namespaces {
    let pinned = &sandbox.namespaces;
    let join = |path: &Option<PathBuf>| path.clone().map_or(NamespaceInput::Host, NamespaceInput::Path);
    let pid = context.namespace_options.pid;
    Namespaces {
        network: join(&pinned.network),
        ipc: join(&pinned.ipc),
        uts: join(&pinned.uts),
        pid: match (joined(pid, facts), pid) {
            (Some(_), _) => NamespaceInput::Path(pid_pin(bundle)),
            (None, NamespaceMode::Node) => NamespaceInput::Host,
            (None, _) => NamespaceInput::New,
        },
        mount: NamespaceInput::New,
        // On v1 the host's tree is what tools inside expect to see.
        cgroup: match (facts.cgroup_mode, context.privileged) {
            (CgroupMode::V2, false) => NamespaceInput::New,
            _ => NamespaceInput::Host,
        },
        user: join(&pinned.user),
    }
}

#[cfg(test)]
mod tests;
