//! The first phase of a create: its record, and its root file system, mounted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use linkspan_files::Access;
use linkspan_image::{Image, ImageConfig, MountOptions};
use linkspan_runtime_oci::{Timestamp, crash_point};

use super::image_volumes::{self, ImageVolumes};
use crate::checkpoint::restore;
use crate::container::record::ContainerRecord;
use crate::container::state::State;
use crate::entry::ContainerEntry;
use crate::error::Error;
use crate::model::{ContainerConfig, ContainerId, ContainerUser, NamespaceMode, Signal};
use crate::mounts;
use crate::operations;
use crate::own_files::make_dir;
use crate::pods::Inner;
use crate::sandbox::record::SandboxRecord;
use crate::selinux::{self, Labels};
use crate::table::blocking;
use crate::undo::Undo;
use crate::unfinished::Unfinished;
use crate::user_namespace;

/// What later phases build on.
#[derive(Clone, Debug)]
pub(super) struct Reserved {
    /// In the state `Creating`; its user is not known yet.
    pub(super) record: ContainerRecord,
    /// What the image says about its processes.
    pub(super) image: ImageConfig,
    pub(super) bundle: PathBuf,
    /// Mounted.
    pub(super) rootfs: PathBuf,
    /// Mounted too.
    pub(super) image_volumes: ImageVolumes,
    /// `None` where there is no SELinux.
    pub(super) labels: Option<Labels>,
    /// Made of a checkpoint: the runtime's restore takes the place of its create and start.
    pub(super) awaits_restore: bool,
}

pub(super) async fn run(
    inner: &Arc<Inner>,
    sandbox: &SandboxRecord,
    mut config: ContainerConfig,
    archive: Option<PathBuf>,
    undo: &mut Undo,
) -> Result<Reserved, Error> {
    let id = ContainerId::generate();
    let _reserved = inner.table.reserve(&id);
    let volumes = inner.layout.volumes(&id);
    let archive = if archive.is_some() { archive } else { restore::requested(inner, &config)? };
    let checkpoint = match archive {
        Some(archive) => {
            remove_volumes(&volumes, undo);
            Some(restore::unpack(inner, sandbox, archive, &volumes).await?)
        }
        None => None,
    };
    let image = image(inner, checkpoint.as_ref(), &config)?;
    let labels = labels(inner, sandbox, &config)?;
    let volume_images = image_volumes::resolve(&inner.images, &mut config)?;
    let bundle = inner.layout.bundle(&sandbox.id, &id);
    let rootfs = bundle.join("rootfs");
    let record = ContainerRecord { volume_images, ..draft(sandbox, config, &image, id)? };
    let key = record.id.to_string();

    operations::is_about(&record.id);
    Unfinished::Container(Box::new(record.clone())).goes_with(undo, inner);
    inner.table.announce(&record).await?;
    crash_point("container-announced");

    let (images, removed) = (inner.images.clone(), key.clone());
    undo.push("remove root file system", move || async move { Ok(images.remove_rootfs(&removed).await?) });
    let users = user_namespace::of(&sandbox.config);
    inner.images.prepare_mapped_rootfs(&image.id, &key, users).await?;

    let dirs = [bundle.clone(), inner.layout.volumes(&record.id)];
    undo.push("remove bundle", move || {
        blocking("removing a bundle", move || dirs.iter().try_for_each(|dir| mounts::remove_tree(dir)))
    });
    let access = user_namespace::access(users.map(|users| users.host_id));
    let dirs = [
        (inner.layout.bundles_dir(&sandbox.id), access),
        (bundle.clone(), access),
        (rootfs.clone(), Access::Private),
    ];
    blocking("making a bundle", move || dirs.iter().try_for_each(|(dir, access)| make_dir(dir, *access)))
        .await?;

    let (images, unmounted) = (inner.images.clone(), rootfs.clone());
    undo.push(
        "unmount root file system",
        move || async move { Ok(images.unmount_rootfs(&unmounted).await?) },
    );
    let options = MountOptions {
        selinux_label: labels.as_ref().map(|labels| labels.mount.clone()),
        user_namespace: sandbox.namespaces.user.clone(),
        ..MountOptions::default()
    };
    inner.images.mount_rootfs(&key, &rootfs, &options).await?;
    crash_point("container-mounted");
    let reserved = Reserved {
        image: image.config.clone(),
        image_volumes: image_volumes::mount(inner, &record, &bundle, &options).await?,
        awaits_restore: checkpoint.is_some(),
        record,
        bundle,
        rootfs,
        labels,
    };
    restored(inner, sandbox, reserved, checkpoint, &options).await
}

/// What is run: the checkpoint's image, or the one asked for, which may hold a checkpoint itself.
fn image(
    inner: &Inner,
    checkpoint: Option<&restore::Unpacked>,
    config: &ContainerConfig,
) -> Result<Arc<Image>, Error> {
    if let Some(checkpoint) = checkpoint {
        return checkpoint.image(inner);
    }
    let wanted = &config.image.image;
    let image = inner.images.find(wanted).ok_or_else(|| Error::NoSuchImage(wanted.clone()))?;
    match &image.artifact_type {
        Some(kind) => {
            let reason = format!("is an artifact ({kind}): it can be a volume, it cannot be run");
            Err(Error::bad("config.image.image", reason))
        }
        None => Ok(image),
    }
}

/// With the checkpoint's files in the root file system, if there is one.
async fn restored(
    inner: &Inner,
    sandbox: &SandboxRecord,
    mut reserved: Reserved,
    checkpoint: Option<restore::Unpacked>,
    options: &MountOptions,
) -> Result<Reserved, Error> {
    let volumes = inner.layout.volumes(&reserved.record.id);
    let checkpoint = match checkpoint {
        Some(checkpoint) => Some(checkpoint),
        None => restore::of_image(inner, &reserved.rootfs, &volumes).await?,
    };
    let Some(checkpoint) = checkpoint else { return Ok(reserved) };
    if !reserved.awaits_restore {
        // What is mounted is the checkpoint itself: the image that it was made in goes in its place.
        let (image, key) = (checkpoint.image(inner)?, reserved.record.id.to_string());
        inner.images.unmount_rootfs(&reserved.rootfs).await?;
        inner.images.remove_rootfs(&key).await?;
        let users = user_namespace::of(&sandbox.config);
        inner.images.prepare_mapped_rootfs(&image.id, &key, users).await?;
        inner.images.mount_rootfs(&key, &reserved.rootfs, options).await?;
        reserved.record.image_id = image.id.clone();
        inner.table.announce(&reserved.record).await?;
        reserved = Reserved { image: image.config.clone(), awaits_restore: true, ..reserved };
    }
    checkpoint.apply(inner, &reserved.rootfs).await?;
    Ok(reserved)
}

fn remove_volumes(volumes: &Path, undo: &mut Undo) {
    let dir = volumes.to_owned();
    undo.push("remove checkpoint", move || {
        blocking("removing a checkpoint", move || mounts::remove_tree(&dir))
    });
}

fn draft(
    sandbox: &SandboxRecord,
    config: ContainerConfig,
    image: &Image,
    id: ContainerId,
) -> Result<ContainerRecord, Error> {
    Ok(ContainerRecord {
        sandbox_id: sandbox.id.clone(),
        handler: sandbox.handler.clone(),
        image_id: image.id.clone(),
        image_ref: image_ref(image, &config.image.image),
        volume_images: Vec::new(),
        created_at: Timestamp::now(),
        log_path: log_path(sandbox, &config, &id),
        cgroup_path: format!("{}/{id}", sandbox.cgroup.parent),
        user: ContainerUser::default(),
        stop_signal: stop_signal(&config, image),
        evicted: None,
        state: State::Creating,
        entry: ContainerEntry::default(),
        config,
        id,
    })
}

/// A container that is privileged, or that sees what is not its pod's, is not confined to its pod's label: processes
/// could not even be looked at.
fn labels(inner: &Inner, sandbox: &SandboxRecord, config: &ContainerConfig) -> Result<Option<Labels>, Error> {
    let context = &config.linux.security_context;
    let options = context.selinux_options.as_ref();
    let field = "config.linux.security_context.selinux_options";
    let policy = selinux::policy(&inner.host.selinux, options, field)?;
    let (Some(policy), Some(level)) = (policy, &sandbox.selinux_level) else { return Ok(None) };
    let of_host = |mode| mode == NamespaceMode::Node;
    let namespaces = &context.namespace_options;
    let confined = !context.privileged && !of_host(namespaces.pid) && !of_host(namespaces.ipc);
    let of_pod = sandbox.config.linux.security_context.selinux_options.as_ref();
    let options = options.filter(|options| !options.is_empty()).or(of_pod);
    Ok(Some(selinux::labels(policy, options, level, confined)))
}

/// The digest that was asked for, else the first one, else the ID.
pub(super) fn image_ref(image: &Image, wanted: &str) -> String {
    let asked = image.repo_digests.iter().find(|digest| *digest == wanted);
    asked.or(image.repo_digests.first()).cloned().unwrap_or_else(|| image.id.to_string())
}

fn log_path(sandbox: &SandboxRecord, config: &ContainerConfig, id: &ContainerId) -> String {
    let dir = sandbox.config.log_directory.trim_end_matches('/');
    match (dir, config.log_path.as_str()) {
        ("", _) => String::new(),
        (dir, "") => format!("{dir}/{id}.log"),
        (dir, path) => format!("{dir}/{path}"),
    }
}

/// A request's has been checked. An image's that is none costs the container nothing, as with CRI-O: it is asked to end by
/// the usual one.
fn stop_signal(config: &ContainerConfig, image: &Image) -> Signal {
    let of_image = || {
        let text = image.config.stop_signal.as_deref().filter(|text| !text.is_empty())?;
        let parsed = text.parse();
        if let Err(error) = &parsed {
            tracing::warn!(image = %image.id, %error, instead = %Signal::default(), "the image's StopSignal is none");
        }
        parsed.ok()
    };
    config.stop_signal.or_else(of_image).unwrap_or_default()
}
