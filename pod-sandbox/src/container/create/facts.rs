//! What a new container's plan depends on besides the request. Reads only.

mod devices;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linkspan_image::Mappable;
use linkspan_runtime_oci::cdi;
use linkspan_runtime_oci::cgroup::Support;
use linkspan_runtime_oci::oci_hooks::OciHooks;
use linkspan_runtime_oci::spec::{CapabilityInput, granted_capabilities};
use linkspan_runtime_oci::user::{self, ResolvedUser, UserRequest};
use linkspan_runtime_oci::{CgroupMode, Features, Process, seccomp};

use super::image_volumes::ImageVolumes;
use super::reserve::Reserved;
use rustix::fs::StatVfsMountFlags;

use crate::apparmor_profile::AppArmor;
use crate::error::Error;
use crate::handler::HandlerOptions;
use crate::host_files::{HostAccess, Step};
use crate::model::{ContainerConfig, NamespaceMode, Propagation, SecurityContext, SupplementalGroupsPolicy};
use crate::mounts::{self, MountPoint};
use crate::pods::Inner;
use crate::sandbox::record::SandboxRecord;
use crate::seccomp_filter;
use crate::table::Snapshot;

pub(super) use devices::Devices;

#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) user: ResolvedUser,
    pub(super) home: Option<String>,
    /// Of each requested mount: where its host path really is, or its image is mounted; `None` if there is nothing.
    pub(super) sources: Vec<Option<PathBuf>>,
    /// Of each requested mount with ID mappings: how much of it can be mapped, or why nothing.
    pub(super) mappable: Vec<Option<Result<Mappable, String>>>,
    /// Of each requested mount of a pod with a user namespace: the options of the mount that its source is on.
    pub(super) restrictions: Vec<Vec<&'static str>>,
    /// Read only where a mount asks to pass others on: on a node of many pods it is long.
    pub(super) mount_table: Vec<MountPoint>,
    pub(super) devices: Devices,
    pub(super) cdi: cdi::Edits,
    pub(super) hooks: OciHooks,
    pub(super) handler: Arc<HandlerOptions>,
    /// The configured defaults.
    pub(super) container: linkspan_config::Container,
    pub(super) features: Features,
    pub(super) seccomp: Option<seccomp::LinuxSeccomp>,
    pub(super) capabilities: CapabilityInput,
    /// The pod's pause.
    pub(super) pause: Process,
    /// The first process of the container whose PID namespace is asked for.
    pub(super) target: Option<Process>,
    pub(super) pod_files: PodFiles,
    pub(super) volumes_dir: PathBuf,
    /// Whether the log's file, or whatever has its name, is there already.
    pub(super) has_log: bool,
    pub(super) host_name: String,
    pub(super) oom_score_adj_floor: i32,
    pub(super) cgroup_mode: CgroupMode,
    pub(super) support: Support,
    pub(super) apparmor: AppArmor,
}

/// The pod's files that its containers see.
#[derive(Clone, Debug)]
pub(super) struct PodFiles {
    pub(super) resolv_conf: PathBuf,
    pub(super) hostname: PathBuf,
    /// `None` for a pod that was made when there was none.
    pub(super) hosts: Option<PathBuf>,
    pub(super) shm: PathBuf,
}

pub(super) async fn read(
    inner: &Arc<Inner>,
    sandbox: &Arc<SandboxRecord>,
    reserved: &Reserved,
    features: Features,
) -> Result<Facts, Error> {
    let (task_inner, task_sandbox, reserved) = (Arc::clone(inner), Arc::clone(sandbox), reserved.clone());
    let access = HostAccess::of(sandbox, "looking into the root file system", &reserved.rootfs);
    let read = move |step: &Step| read_now(&task_inner, &task_sandbox, &reserved, features, step);
    inner.host_files.run(access, read).await
}

fn read_now(
    inner: &Inner,
    sandbox: &SandboxRecord,
    reserved: &Reserved,
    features: Features,
    step: &Step,
) -> Result<Facts, Error> {
    let config = &reserved.record.config;
    let context = &config.linux.security_context;
    let user = user::resolve(&reserved.rootfs, &user_request(context, &reserved.image.user))?;
    let capabilities = capabilities(inner, context);
    let handler = Arc::clone(&inner.handler(&sandbox.handler)?.options);
    let pause = sandbox.state.pause().copied();
    let home = user::home(&reserved.rootfs, user.uid)?;
    let sources = sources(config, &reserved.image_volumes, step)?;
    let container = defaults(&inner.settings.container, step)?;
    Ok(Facts {
        home,
        user,
        restrictions: restrictions(&sources, sandbox, step)?,
        mappable: mappable(config, &sources, sandbox, step)?,
        sources,
        mount_table: match config.mounts.iter().any(|mount| mount.propagation != Propagation::Private) {
            true => mounts::read()?,
            false => Vec::new(),
        },
        devices: devices::read(
            config,
            context.privileged && !handler.privileged_without_host_devices,
            &inner.settings.container.default_devices,
            step,
        )?,
        cdi: devices::cdi(config, &inner.settings.container.cdi_spec_dirs, step)?,
        hooks: hooks(inner, step)?,
        handler,
        container,
        features,
        seccomp: seccomp(inner, context, &capabilities)?,
        capabilities,
        pause: pause.ok_or_else(|| Error::NoSuchSandbox(sandbox.id.to_string()))?,
        target: target(&inner.table.snapshot(), sandbox, context)?,
        pod_files: PodFiles {
            resolv_conf: inner.layout.resolv_conf(&sandbox.id),
            hostname: inner.layout.hostname(&sandbox.id),
            hosts: Some(inner.layout.hosts(&sandbox.id)).filter(|path| path.exists()),
            shm: inner.layout.shm(&sandbox.id),
        },
        volumes_dir: inner.layout.volumes(&reserved.record.id),
        has_log: has_log(reserved.record.log_file(), step)?,
        host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        oom_score_adj_floor: inner.host.oom_score_adj_floor,
        cgroup_mode: inner.host.cgroup_mode,
        support: inner.cgroups.support(),
        apparmor: AppArmor::read(inner, context.apparmor.as_ref())?,
    })
}

fn has_log(path: Option<PathBuf>, step: &Step) -> Result<bool, Error> {
    let Some(path) = path else { return Ok(false) };
    step.next("looking at log", &path)?;
    Ok(fs::symlink_metadata(&path).is_ok())
}

fn hooks(inner: &Inner, step: &Step) -> Result<OciHooks, Error> {
    inner.settings.hooks_dirs.iter().try_for_each(|dir| step.ask("looking at hooks directory", dir))?;
    Ok(OciHooks::read(&inner.settings.hooks_dirs)?)
}

/// With the sources of mounts as they really are.
fn defaults(
    configured: &linkspan_config::Container,
    step: &Step,
) -> Result<linkspan_config::Container, Error> {
    let mut defaults = configured.clone();
    for mount in &mut defaults.default_mounts {
        step.next("looking at default mount source", &mount.host_path)?;
        let missing = Error::store("container.default_mounts", &mount.host_path);
        mount.host_path = fs::canonicalize(&mount.host_path).map_err(missing)?;
    }
    Ok(defaults)
}

fn user_request(context: &SecurityContext, image_user: &str) -> UserRequest {
    UserRequest {
        uid: context.run_as_user,
        username: Some(context.run_as_username.clone()).filter(|name| !name.is_empty()),
        gid: context.run_as_group,
        image_user: image_user.to_owned(),
        supplemental: context.supplemental_groups.clone(),
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
    let profile = context.seccomp.as_ref().filter(|_| !context.privileged);
    seccomp_filter::read(inner, profile, || Ok(granted_capabilities(capabilities, false)?))
}

fn sources(
    config: &ContainerConfig,
    volumes: &ImageVolumes,
    step: &Step,
) -> Result<Vec<Option<PathBuf>>, Error> {
    let source = |(index, mount): (usize, &crate::model::Mount)| {
        if mount.image.is_some() {
            return Ok(volumes.get(&index).cloned());
        }
        let host_path = Path::new(&mount.host_path);
        step.next("looking at mount source", host_path)?;
        match fs::canonicalize(host_path) {
            Ok(path) => {
                // A path is known without a word from the file system that is mounted there; the runtime asks that, and
                // what it may not know is no matter here.
                let _ = fs::metadata(&path);
                Ok(Some(path))
            }
            // Somebody may be meant to make the target of a link that leads nowhere; a directory in its place helps
            // nobody.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !host_path.is_symlink() => Ok(None),
            Err(error) => Err(Error::bad(
                format!("config.mounts[{index}].host_path"),
                format!("{}: {error}", mount.host_path),
            )),
        }
    };
    config.mounts.iter().enumerate().map(source).collect()
}

/// Looked at with the pod's own user namespace. Without one, or for a source that is still to be made, the runtime will
/// tell.
fn mappable(
    config: &ContainerConfig,
    sources: &[Option<PathBuf>],
    sandbox: &SandboxRecord,
    step: &Step,
) -> Result<Vec<Option<Result<Mappable, String>>>, Error> {
    let look = |(mount, source): (&crate::model::Mount, &Option<PathBuf>)| {
        let (Some(source), Some(userns)) = (source, &sandbox.namespaces.user) else { return Ok(None) };
        if mount.uid_mappings.is_empty() {
            return Ok(None);
        }
        step.next("trying to map the users of mount source", source)?;
        Ok(Some(linkspan_image::mappable(source, userns).map_err(|error| error.to_string())))
    };
    config.mounts.iter().zip(sources).map(look).collect()
}

/// The kernel lets no user namespace take them off (man 7 mount_namespaces, "Restrictions on mount namespaces"), so that
/// a runtime must not be asked to.
fn restrictions(
    sources: &[Option<PathBuf>],
    sandbox: &SandboxRecord,
    step: &Step,
) -> Result<Vec<Vec<&'static str>>, Error> {
    if sandbox.namespaces.user.is_none() {
        return Ok(Vec::new());
    }
    let known = [
        (StatVfsMountFlags::RDONLY, "ro"),
        (StatVfsMountFlags::NOSUID, "nosuid"),
        (StatVfsMountFlags::NODEV, "nodev"),
        (StatVfsMountFlags::NOEXEC, "noexec"),
    ];
    let read = |source: &Option<PathBuf>| {
        let Some(source) = source else { return Ok(Vec::new()) };
        step.next("examining the mount of", source)?;
        let flags = rustix::fs::statvfs(source).map_err(Error::sys("examining", source))?.f_flag;
        Ok(known.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, option)| *option).collect())
    };
    sources.iter().map(read).collect()
}

fn target(
    snapshot: &Snapshot,
    sandbox: &SandboxRecord,
    context: &SecurityContext,
) -> Result<Option<Process>, Error> {
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
    process.map(|process| Some(*process)).ok_or_else(|| bad("is not running"))
}
