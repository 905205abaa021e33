//! What a new container's plan depends on besides the request. Reads only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linkspan_runtime_oci::cgroup::Support;
use linkspan_runtime_oci::spec::{CapabilityInput, DeviceInput, granted_capabilities};
use linkspan_runtime_oci::user::{self, ResolvedUser, UserRequest};
use linkspan_runtime_oci::{CgroupMode, Features, host, seccomp};

use super::reserve::Reserved;
use crate::error::Error;
use crate::model::{
    ContainerConfig, NamespaceMode, SecurityContext, SecurityProfile, SupplementalGroupsPolicy,
};
use crate::mounts::{self, MountPoint};
use crate::pods::Inner;
use crate::sandbox::record::SandboxRecord;
use crate::table::{Snapshot, blocking};

#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) user: ResolvedUser,
    pub(super) home: Option<String>,
    /// Of each requested mount: where its host path really is; `None` if there is nothing.
    pub(super) sources: Vec<Option<PathBuf>>,
    pub(super) mount_table: Vec<MountPoint>,
    pub(super) devices: Vec<DeviceInput>,
    pub(super) features: Features,
    pub(super) seccomp: Option<seccomp::LinuxSeccomp>,
    pub(super) capabilities: CapabilityInput,
    /// PID of the pod's pause.
    pub(super) pause: i32,
    /// PID of the container whose PID namespace is asked for.
    pub(super) target: Option<i32>,
    pub(super) pod_files: PodFiles,
    pub(super) volumes_dir: PathBuf,
    pub(super) host_name: String,
    pub(super) oom_score_adj_floor: i32,
    pub(super) cgroup_mode: CgroupMode,
    pub(super) support: Support,
    pub(super) apparmor: bool,
    pub(super) selinux: bool,
}

/// The pod's files that its containers see.
#[derive(Clone, Debug)]
pub(super) struct PodFiles {
    pub(super) resolv_conf: PathBuf,
    pub(super) hostname: PathBuf,
    pub(super) shm: PathBuf,
}

pub(super) async fn read(
    inner: &Arc<Inner>,
    sandbox: &Arc<SandboxRecord>,
    reserved: &Reserved,
) -> Result<Facts, Error> {
    let features = inner.handler(&sandbox.handler)?.runtime.features().await?;
    let (inner, sandbox, reserved) = (Arc::clone(inner), Arc::clone(sandbox), reserved.clone());
    blocking("reading facts of a container", move || read_now(&inner, &sandbox, &reserved, features)).await
}

fn read_now(
    inner: &Inner,
    sandbox: &SandboxRecord,
    reserved: &Reserved,
    features: Features,
) -> Result<Facts, Error> {
    let config = &reserved.record.config;
    let context = &config.linux.security_context;
    let user = user::resolve(&reserved.rootfs, &user_request(context, &reserved.image.user))?;
    let capabilities = capabilities(inner, context);
    let pause = sandbox.state.pause().map(|pause| pause.pid);
    Ok(Facts {
        home: user::home(&reserved.rootfs, user.uid)?,
        user,
        sources: sources(config)?,
        mount_table: mounts::read()?,
        devices: devices(config)?,
        features,
        seccomp: seccomp(inner, context, &capabilities)?,
        capabilities,
        pause: pause.ok_or_else(|| Error::NoSuchSandbox(sandbox.id.to_string()))?,
        target: target(&inner.table.snapshot(), sandbox, context)?,
        pod_files: PodFiles {
            resolv_conf: inner.layout.resolv_conf(&sandbox.id),
            hostname: inner.layout.hostname(&sandbox.id),
            shm: inner.layout.shm(&sandbox.id),
        },
        volumes_dir: inner.layout.volumes(&reserved.record.id),
        host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        oom_score_adj_floor: inner.host.oom_score_adj_floor,
        cgroup_mode: inner.host.cgroup_mode,
        support: inner.cgroups.support(),
        apparmor: inner.host.apparmor,
        selinux: inner.host.selinux,
    })
}

fn user_request(context: &SecurityContext, image_user: &str) -> UserRequest {
    UserRequest {
        uid: context.run_as_user,
        username: Some(context.run_as_username.clone()).filter(|name| !name.is_empty()),
        gid: context.run_as_group,
        image_user: image_user.to_owned(),
        // Checked to be in range.
        supplemental: context.supplemental_groups.iter().filter_map(|gid| u32::try_from(*gid).ok()).collect(),
        policy: match context.supplemental_groups_policy {
            SupplementalGroupsPolicy::Merge => user::SupplementalGroupsPolicy::Merge,
            SupplementalGroupsPolicy::Strict => user::SupplementalGroupsPolicy::Strict,
        },
    }
}

fn capabilities(inner: &Inner, context: &SecurityContext) -> CapabilityInput {
    CapabilityInput {
        add: context.capabilities.add_capabilities.clone(),
        drop: context.capabilities.drop_capabilities.clone(),
        add_ambient: context.capabilities.add_ambient_capabilities.clone(),
        defaults: inner.settings.container.default_capabilities.clone(),
        bounding: inner.host.bounding.clone(),
    }
}

fn seccomp(
    inner: &Inner,
    context: &SecurityContext,
    capabilities: &CapabilityInput,
) -> Result<Option<seccomp::LinuxSeccomp>, Error> {
    let profile = match &context.seccomp {
        _ if context.privileged => return Ok(None),
        None | Some(SecurityProfile::Unconfined) => return Ok(None),
        Some(SecurityProfile::RuntimeDefault) => seccomp::Profile::RuntimeDefault,
        Some(SecurityProfile::Localhost(path)) => seccomp::Profile::Localhost(PathBuf::from(path)),
    };
    let facts = seccomp::Facts::of_host(granted_capabilities(capabilities, false)?);
    let filter = seccomp::load(&profile, &facts, inner.settings.container.seccomp_profile.as_deref());
    filter.map_err(|error| match profile {
        seccomp::Profile::Localhost(_) => {
            Error::bad("config.linux.security_context.seccomp.localhost_ref", error.to_string())
        }
        _ => error.into(),
    })
}

fn sources(config: &ContainerConfig) -> Result<Vec<Option<PathBuf>>, Error> {
    let source = |(index, mount): (usize, &crate::model::Mount)| match fs::canonicalize(&mount.host_path) {
        Ok(path) => Ok(Some(path)),
        // Somebody may be meant to make the target of a link that leads nowhere; a directory in its place helps nobody.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && !Path::new(&mount.host_path).is_symlink() =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::bad(
            format!("config.mounts[{index}].host_path"),
            format!("{}: {error}", mount.host_path),
        )),
    };
    config.mounts.iter().enumerate().map(source).collect()
}

/// A later device at the same place takes the earlier one's.
fn devices(config: &ContainerConfig) -> Result<Vec<DeviceInput>, Error> {
    let mut found = if config.linux.security_context.privileged { host::devices()? } else { Vec::new() };
    for (index, device) in config.devices.iter().enumerate() {
        let shown_as =
            if device.container_path.is_empty() { &device.host_path } else { &device.container_path };
        let refused = |error: linkspan_runtime_oci::Error| {
            Error::bad(format!("config.devices[{index}].host_path"), error.to_string())
        };
        let asked = host::device(Path::new(&device.host_path), Path::new(shown_as), &device.permissions)
            .map_err(refused)?;
        found.retain(|earlier| asked.iter().all(|device| device.path != earlier.path));
        found.extend(asked);
    }
    Ok(found)
}

fn target(
    snapshot: &Snapshot,
    sandbox: &SandboxRecord,
    context: &SecurityContext,
) -> Result<Option<i32>, Error> {
    let options = &context.namespace_options;
    if options.pid != NamespaceMode::Target {
        return Ok(None);
    }
    let bad = |reason: &str| {
        let field = "config.linux.security_context.namespace_options.target_id";
        Error::bad(field, format!("{:?} {reason}", options.target_id))
    };
    let target =
        crate::find::container(snapshot, &options.target_id).map_err(|_| bad("is not a container"))?;
    if target.sandbox_id != sandbox.id {
        return Err(bad("is in another sandbox"));
    }
    let process = target.state.process().filter(|process| process.is_alive());
    process.map(|process| Some(process.pid)).ok_or_else(|| bad("is not running"))
}
